//! One scheduling cycle: which node gets the pod, or why none can. Pure but for the cache of judgements.
//!
//! Equal pods form a class. For each class and node the local judgement (reasons or scores) is kept with the
//! node's generation, so scheduling the next pod of a class re-judges only nodes that changed meanwhile.

use std::collections::{BTreeMap, HashMap};

use crate::{
    cluster::{Cluster, Slot},
    plugins::{self, Local, Prepared, Reason},
    pod::Requirements,
};

/// Most classes whose judgements are kept; the least recently used goes first. Each costs about 100 bytes per node.
const CLASSES_MAX: usize = 64;

/// No node fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unschedulable {
    /// How many nodes were looked at.
    pub nodes: usize,
    /// How many nodes gave each reason.
    pub reasons: BTreeMap<String, usize>,
}

impl std::fmt::Display for Unschedulable {
    /// In kube-scheduler's words: `0/3 nodes are available: 1 Insufficient cpu, 2 Too many pods.`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        write!(f, "0/{} nodes are available: ", self.nodes)?;
        let mut reasons: Vec<String> =
            self.reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        reasons.sort();
        write!(f, "{}.", reasons.join(", "))
    }
}

#[derive(Default)]
struct Judgement {
    generation: u64,
    reasons: Vec<Reason>,
    /// Raw scores in the order of the local plugins.
    scores: Vec<Option<i64>>,
}

#[derive(Default)]
struct Class {
    used: u64,
    judgements: Vec<Judgement>,
}

/// The default plugins and what they judged so far.
pub struct Scheduler {
    locals: Vec<Box<dyn Local>>,
    classes: HashMap<u64, Class>,
    clock: u64,
}

impl Default for Scheduler {
    fn default() -> Self {
        Self { locals: plugins::locals(), classes: HashMap::new(), clock: 0 }
    }
}

impl Scheduler {
    /// Chooses a node for the pod.
    pub fn choose(&mut self, pod: &Requirements, cluster: &Cluster) -> Result<Slot, Unschedulable> {
        self.clock += 1;
        self.judge(pod, cluster);
        let class = &self.classes[&pod.class];
        let global = plugins::prepare(pod, cluster);
        let mut refused = Unschedulable { nodes: 0, reasons: BTreeMap::new() };
        let mut feasible = Vec::new();
        for (slot, node) in cluster.nodes.iter().enumerate().filter(|(_, node)| node.known) {
            refused.nodes += 1;
            let local = &class.judgements[slot].reasons;
            let reasons = match local.as_slice() {
                [] => {
                    global.iter().find_map(|plugin| plugin.filter(slot, node)).map_or(Vec::new(), |r| vec![r])
                }
                some => some.to_vec(),
            };
            if reasons.is_empty() {
                feasible.push(slot);
            }
            for reason in reasons {
                *refused.reasons.entry(reason.into_owned()).or_default() += 1;
            }
        }
        if feasible.is_empty() { Err(refused) } else { Ok(self.best(class, &global, &feasible, cluster)) }
    }

    fn best(
        &self,
        class: &Class,
        global: &[Box<dyn Prepared>],
        feasible: &[Slot],
        cluster: &Cluster,
    ) -> Slot {
        let mut totals = vec![0i64; feasible.len()];
        for (at, plugin) in self.locals.iter().enumerate() {
            let raw: Option<Vec<i64>> =
                feasible.iter().map(|slot| class.judgements[*slot].scores[at]).collect();
            if let Some(mut scores) = raw {
                plugin.normalize().apply(&mut scores);
                add(&mut totals, &scores, plugin.weight());
            }
        }
        for plugin in global {
            if let Some(scores) = plugin.score(feasible, cluster) {
                add(&mut totals, &scores, plugin.weight());
            }
        }
        let best = totals.iter().copied().max().unwrap_or(0);
        let ties: Vec<Slot> = feasible
            .iter()
            .zip(&totals)
            .filter(|(_, total)| **total == best)
            .map(|(slot, _)| *slot)
            .collect();
        // Equal nodes take turns; the clock stands in for a random choice and keeps runs repeatable.
        ties[usize::try_from(self.clock).unwrap_or(0) % ties.len()]
    }

    fn judge(&mut self, pod: &Requirements, cluster: &Cluster) {
        if !self.classes.contains_key(&pod.class) && self.classes.len() >= CLASSES_MAX {
            let oldest = self.classes.iter().min_by_key(|(_, class)| class.used).map(|(id, _)| *id);
            if let Some(oldest) = oldest {
                self.classes.remove(&oldest);
            }
        }
        let class = self.classes.entry(pod.class).or_default();
        class.used = self.clock;
        class.judgements.resize_with(cluster.nodes.len(), Judgement::default);
        for (judgement, node) in class.judgements.iter_mut().zip(&cluster.nodes) {
            if judgement.generation == node.generation || !node.known {
                continue;
            }
            judgement.generation = node.generation;
            judgement.reasons.clear();
            for plugin in &self.locals {
                plugin.filter(pod, node, &mut judgement.reasons);
                if !judgement.reasons.is_empty() {
                    break;
                }
            }
            let feasible = judgement.reasons.is_empty();
            let scores =
                self.locals.iter().map(|plugin| if feasible { plugin.score(pod, node) } else { None });
            judgement.scores = scores.collect();
        }
    }
}

fn add(totals: &mut [i64], scores: &[i64], weight: i64) {
    for (total, score) in totals.iter_mut().zip(scores) {
        *total += score * weight;
    }
}
