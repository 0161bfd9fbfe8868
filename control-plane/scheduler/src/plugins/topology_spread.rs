//! PodTopologySpread: constraints of the pod, and a default preference that keeps siblings apart.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::TopologySpreadConstraint;

use super::{Local, Normalize, Prepared, Reason, SCORE_MAX, node_affinity, taint_toleration::tolerates};
use crate::{
    cluster::{Cluster, Node, Slot},
    pod::Requirements,
    selectors::labels_match,
};

/// Prefers nodes with fewer pods of the same controller, where a pod states no constraints of its own.
pub struct DefaultSpread;

impl Local for DefaultSpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn weight(&self) -> i64 {
        2
    }

    fn score(&self, pod: &Requirements, node: &Node) -> Option<i64> {
        if pod.controller.is_empty() || !pod.spread.is_empty() {
            return None;
        }
        let siblings = node.siblings.get(&pod.controller).copied().unwrap_or(0);
        Some(i64::try_from(siblings).unwrap_or(i64::MAX))
    }

    fn normalize(&self) -> Normalize {
        Normalize::Less
    }
}

struct Constraint {
    key: String,
    max_skew: i64,
    min_domains: usize,
    hard: bool,
    /// Matching pods per value of the topology key, over the nodes that count.
    domains: HashMap<String, i64>,
    counts_itself: i64,
}

/// The pod's own constraints, with matching pods counted per domain.
pub struct Spread {
    constraints: Vec<Constraint>,
}

impl Spread {
    /// Counts matching pods.
    pub fn prepare(pod: &Requirements, cluster: &Cluster) -> Self {
        Self { constraints: pod.spread.iter().map(|written| count(written, pod, cluster)).collect() }
    }
}

fn count(written: &TopologySpreadConstraint, pod: &Requirements, cluster: &Cluster) -> Constraint {
    let mut selector = written.label_selector.clone();
    if let Some(keys) = &written.match_label_keys {
        let fixed: &mut BTreeMap<_, _> =
            selector.get_or_insert_default().match_labels.get_or_insert_default();
        fixed.extend(keys.iter().filter_map(|key| Some((key.clone(), pod.labels.get(key)?.clone()))));
    }
    let honors = |policy: Option<&str>, default: &str| policy.unwrap_or(default) == "Honor";
    let affinity = honors(written.node_affinity_policy.as_deref(), "Honor");
    let taints = honors(written.node_taints_policy.as_deref(), "Ignore");
    let counts = |node: &Node| {
        let hard = |effect: &str| matches!(effect, "NoSchedule" | "NoExecute");
        node.known
            && (!affinity || node_affinity::matches(pod, node))
            && (!taints || node.taints.iter().all(|t| !hard(&t.effect) || tolerates(&pod.tolerations, t)))
    };
    let mut domains = HashMap::new();
    for node in cluster.nodes.iter().filter(|node| counts(node)) {
        let Some(domain) = node.labels.get(&written.topology_key) else { continue };
        let matching = node.pods.values().filter(|other| {
            other.namespace == pod.namespace && labels_match(selector.as_ref(), &other.labels)
        });
        *domains.entry(domain.clone()).or_insert(0) += i64::try_from(matching.count()).unwrap_or(i64::MAX);
    }
    Constraint {
        key: written.topology_key.clone(),
        max_skew: i64::from(written.max_skew),
        min_domains: usize::try_from(written.min_domains.unwrap_or(1)).unwrap_or(1),
        hard: written.when_unsatisfiable == "DoNotSchedule",
        domains,
        counts_itself: i64::from(labels_match(selector.as_ref(), &pod.labels)),
    }
}

impl Constraint {
    fn fewest(&self) -> i64 {
        if self.domains.len() < self.min_domains {
            0
        } else {
            self.domains.values().copied().min().unwrap_or(0)
        }
    }
}

impl Prepared for Spread {
    fn filter(&self, _slot: Slot, node: &Node) -> Option<Reason> {
        for constraint in self.constraints.iter().filter(|c| c.hard) {
            let Some(domain) = node.labels.get(&constraint.key) else {
                return Some(
                    "node(s) didn't match pod topology spread constraints (missing required label)".into(),
                );
            };
            let here = constraint.domains.get(domain).copied().unwrap_or(0);
            if here + constraint.counts_itself - constraint.fewest() > constraint.max_skew {
                return Some("node(s) didn't match pod topology spread constraints".into());
            }
        }
        None
    }

    fn score(&self, feasible: &[Slot], cluster: &Cluster) -> Option<Vec<i64>> {
        let soft: Vec<_> = self.constraints.iter().filter(|c| !c.hard).collect();
        if soft.is_empty() {
            return None;
        }
        let mut scores: Vec<i64> = feasible
            .iter()
            .map(|slot| {
                let node = &cluster.nodes[*slot];
                soft.iter()
                    .map(|c| {
                        node.labels.get(&c.key).and_then(|d| c.domains.get(d)).map_or(0, |n| n * SCORE_MAX)
                    })
                    .sum()
            })
            .collect();
        Normalize::Less.apply(&mut scores);
        Some(scores)
    }

    fn weight(&self) -> i64 {
        2
    }
}
