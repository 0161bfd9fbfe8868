//! Which nodes get a pod, which pods go, and how an update proceeds. Pure.

use std::{collections::BTreeMap, sync::Arc};

use client::refs;
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, DaemonSetStatus},
        core::v1::{Node, Pod, Toleration},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::{fit, history, limits, pods};

/// Taints that do not keep daemons away, with their effects.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
const NETWORK_UNAVAILABLE: &str = "node.kubernetes.io/network-unavailable";

/// What to do.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Nodes that need a pod.
    pub(super) create: Vec<String>,
    pub(super) delete: Vec<Arc<Pod>>,
    pub(super) status: DaemonSetStatus,
}

/// All tolerations of a pod of this set.
pub(super) fn tolerations(set: &DaemonSet) -> Vec<Toleration> {
    let spec = set.spec.as_ref().and_then(|s| s.template.spec.as_ref());
    let mut all = spec.and_then(|s| s.tolerations.clone()).unwrap_or_default();
    let host_network = spec.and_then(|s| s.host_network) == Some(true);
    let extra = host_network.then_some((NETWORK_UNAVAILABLE, "NoSchedule"));
    for (key, effect) in TOLERATED.into_iter().chain(extra) {
        all.push(Toleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        });
    }
    all
}

/// The node a pod is on, or is meant for.
pub(super) fn node_of(pod: &Pod) -> &str {
    let bound = pods::node_name(pod);
    if !bound.is_empty() {
        return bound;
    }
    let affinity = pod.spec.as_ref().and_then(|s| s.affinity.as_ref()).and_then(|a| a.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    let mut fields =
        required.iter().flat_map(|r| &r.node_selector_terms).flat_map(|t| t.match_fields.iter().flatten());
    fields
        .find(|f| f.key == "metadata.name")
        .and_then(|f| f.values.as_ref()?.first())
        .map_or("", String::as_str)
}

/// The bounds of an update: how many nodes may miss their pod, and how many may have two.
fn update_bounds(set: &DaemonSet, desired: usize) -> Option<(usize, usize)> {
    let strategy = set.spec.as_ref().and_then(|s| s.update_strategy.as_ref());
    if strategy.and_then(|s| s.type_.as_deref()) == Some("OnDelete") {
        return None;
    }
    let rolling = strategy.and_then(|s| s.rolling_update.clone()).unwrap_or_default();
    let scaled = |value: Option<IntOrString>, default: usize| match value {
        None => default,
        Some(IntOrString::Int(n)) => usize::try_from(n).unwrap_or(0),
        Some(IntOrString::String(text)) => {
            let percent = text.strip_suffix('%').and_then(|p| p.parse::<usize>().ok()).unwrap_or(0);
            (percent * desired).div_ceil(100)
        }
    };
    let surge = scaled(rolling.max_surge, 0);
    let unavailable = scaled(rolling.max_unavailable, usize::from(surge == 0));
    Some(if surge == 0 && unavailable == 0 { (1, 0) } else { (unavailable, surge) })
}

/// Decides; `hash` is the present revision's.
pub(super) fn plan(
    set: &DaemonSet,
    nodes: &[Arc<Node>],
    all: &[Arc<Pod>],
    hash: &str,
    now: Timestamp,
) -> Plan {
    let min_ready = set.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or(0);
    let mut by_node: BTreeMap<&str, Vec<Arc<Pod>>> = BTreeMap::new();
    for pod in all.iter().filter(|p| !refs::is_terminating(&***p) || !pods::is_terminal(p)) {
        by_node.entry(node_of(pod)).or_default().push(pod.clone());
    }
    let (mut plan, mut counts) = (Plan::default(), Counts::default());
    let mut rollout = Vec::new();
    let tolerations = tolerations(set);
    let is_new = |p: &Pod| {
        p.metadata.labels.as_ref().and_then(|l| l.get(history::HASH_LABEL)).is_some_and(|h| h == hash)
    };
    for node in nodes {
        let own = by_node.remove(refs::name(&**node)).unwrap_or_default();
        let selected =
            set.spec.as_ref().and_then(|s| s.template.spec.as_ref()).is_none_or(|s| fit::selects(s, node));
        let may_stay = selected && fit::tolerates_all(&tolerations, node, &["NoExecute"]);
        let may_run = may_stay && fit::tolerates_all(&tolerations, node, &["NoSchedule", "NoExecute"]);
        let (ended, mut own): (Vec<_>, Vec<_>) = own.into_iter().partition(|p| pods::is_terminal(p));
        // Ended pods are deleted, and replaced once they are gone.
        let replaced_later = !ended.is_empty();
        plan.delete.extend(ended.into_iter().filter(|p| !refs::is_terminating(&**p)));
        // The oldest of each revision counts; further ones are accidents.
        own.sort_by_key(|p| {
            (refs::is_terminating(&**p), p.metadata.creation_timestamp.clone(), p.metadata.name.clone())
        });
        counts.note(may_run, &own, min_ready, now, is_new);
        if !may_stay {
            plan.delete.extend(own.into_iter().filter(|p| !refs::is_terminating(&**p)));
            continue;
        }
        if own.is_empty() {
            if may_run && !replaced_later {
                plan.create.push(refs::name(&**node).to_owned());
            }
            continue;
        }
        let (new, old): (Vec<_>, Vec<_>) = own.into_iter().partition(|p| is_new(p));
        let extra = new.iter().skip(1).chain(old.iter().skip(1)).filter(|p| !refs::is_terminating(&***p));
        plan.delete.extend(extra.cloned());
        rollout.push((refs::name(&**node).to_owned(), new.into_iter().next(), old.into_iter().next()));
    }
    // Pods meant for nodes that are gone; those bound to them are the pod collector's.
    let lost = by_node.into_values().flatten();
    plan.delete.extend(lost.filter(|p| pods::node_name(p).is_empty() && !refs::is_terminating(&**p)));
    update(set, rollout, &counts, min_ready, now, &mut plan);
    plan.create.truncate(limits::BURST_PODS);
    plan.delete.truncate(limits::BURST_PODS);
    plan.status = counts.status(set);
    plan
}

type OnNode = (String, Option<Arc<Pod>>, Option<Arc<Pod>>);

/// Replaces pods of older revisions as far as the strategy allows.
fn update(
    set: &DaemonSet,
    nodes: Vec<OnNode>,
    counts: &Counts,
    min_ready: i32,
    now: Timestamp,
    plan: &mut Plan,
) {
    let Some((unavailable, surge)) = update_bounds(set, counts.desired) else { return };
    let available = |pod: &Arc<Pod>| pods::is_available(pod, min_ready, now) && !refs::is_terminating(&**pod);
    let mut surging = nodes.iter().filter(|(_, new, old)| new.is_some() && old.is_some()).count();
    let mut missing = counts.desired.saturating_sub(counts.available);
    for (node, new, old) in nodes {
        let Some(old) = old.filter(|p| !refs::is_terminating(&**p)) else { continue };
        match new {
            Some(new) if available(&new) => plan.delete.push(old),
            Some(_) => {}
            None if !available(&old) => {
                // It serves nobody: replacing it costs nothing.
                if surge > 0 { plan.create.push(node) } else { plan.delete.push(old) }
            }
            None if surge > 0 && surging < surge => {
                surging += 1;
                plan.create.push(node);
            }
            None if surge == 0 && missing < unavailable => {
                missing += 1;
                plan.delete.push(old);
            }
            None => {}
        }
    }
}

#[derive(Default)]
struct Counts {
    desired: usize,
    current: usize,
    misscheduled: usize,
    ready: usize,
    available: usize,
    updated: usize,
}

impl Counts {
    fn note(
        &mut self,
        may_run: bool,
        own: &[Arc<Pod>],
        min_ready: i32,
        now: Timestamp,
        is_new: impl Fn(&Pod) -> bool,
    ) {
        if !may_run {
            self.misscheduled += usize::from(!own.is_empty());
            return;
        }
        let alive: Vec<&Arc<Pod>> = own.iter().filter(|p| !refs::is_terminating(&***p)).collect();
        self.desired += 1;
        self.current += usize::from(!own.is_empty());
        self.ready += usize::from(alive.iter().any(|p| pods::is_ready(p)));
        self.available += usize::from(alive.iter().any(|p| pods::is_available(p, min_ready, now)));
        self.updated += usize::from(alive.iter().any(|p| is_new(p)));
    }

    fn status(&self, set: &DaemonSet) -> DaemonSetStatus {
        let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        let shown = |count: usize| Some(number(count)).filter(|n| *n > 0);
        let before = set.status.clone().unwrap_or_default();
        DaemonSetStatus {
            current_number_scheduled: number(self.current),
            desired_number_scheduled: number(self.desired),
            number_misscheduled: number(self.misscheduled),
            number_ready: number(self.ready),
            number_available: shown(self.available),
            number_unavailable: shown(self.desired.saturating_sub(self.available)),
            updated_number_scheduled: shown(self.updated),
            observed_generation: set.metadata.generation,
            collision_count: before.collision_count,
            conditions: before.conditions,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn set(strategy: Value) -> DaemonSet {
        serde_json::from_value(json!({
            "metadata": {"name": "d", "uid": "u"},
            "spec": {"selector": {"matchLabels": {"a": "b"}}, "updateStrategy": strategy,
                     "template": {"spec": {"containers": [], "nodeSelector": {"os": "linux"}}}}
        }))
        .unwrap()
    }

    fn node(name: &str, os: &str, taint: Option<(&str, &str)>) -> Arc<Node> {
        let taints: Vec<Value> =
            taint.iter().map(|(key, effect)| json!({"key": key, "effect": effect})).collect();
        let node = json!({"metadata": {"name": name, "labels": {"os": os}}, "spec": {"taints": taints}});
        Arc::new(serde_json::from_value(node).unwrap())
    }

    fn pod(name: &str, node: &str, hash: &str, ready: bool) -> Arc<Pod> {
        let ready = if ready { "True" } else { "False" };
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name, "uid": name, "labels": {"controller-revision-hash": hash}},
                "spec": {"nodeName": node, "containers": []},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}
            }))
            .unwrap(),
        )
    }

    fn check(strategy: Value, nodes: &[Arc<Node>], pods: &[Arc<Pod>]) -> (Vec<String>, Vec<String>) {
        let plan = plan(&set(strategy), nodes, pods, "new", Timestamp::UNIX_EPOCH);
        (plan.create, plan.delete.iter().map(|p| p.metadata.name.clone().unwrap()).collect())
    }

    #[test]
    fn every_node_that_fits_has_one_pod() {
        let nodes = [
            node("a", "linux", None),
            node("b", "other", None),
            node("c", "linux", Some(("mine", "NoSchedule"))),
            node("d", "linux", Some(("node.kubernetes.io/unreachable", "NoExecute"))),
            node("e", "linux", Some(("mine", "NoExecute"))),
        ];
        let (create, delete) = check(json!(null), &nodes, &[]);
        assert_eq!((create, delete), (vec!["a".to_owned(), "d".to_owned()], vec![]));
        let pods = [
            pod("b1", "b", "new", true),
            pod("c1", "c", "new", true),
            pod("e1", "e", "new", true),
            pod("a1", "a", "new", true),
            pod("a2", "a", "new", true),
        ];
        let (create, delete) = check(json!(null), &nodes, &pods);
        assert_eq!(
            (create, delete),
            (vec!["d".to_owned()], vec!["a2".to_owned(), "b1".to_owned(), "e1".to_owned()])
        );
    }

    #[test]
    fn an_update_keeps_within_its_bounds() {
        let nodes: Vec<_> = ["a", "b", "c"].map(|n| node(n, "linux", None)).into();
        let old =
            |ready| [pod("1", "a", "old", true), pod("2", "b", "old", true), pod("3", "c", "old", ready)];
        let rolling = |unavailable: i32, surge: i32| json!({"rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}});
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert_eq!(check(rolling(1, 0), &nodes, &old(true)), (vec![], names(&["1"])));
        assert_eq!(check(rolling(1, 0), &nodes, &old(false)), (vec![], names(&["3"])));
        assert_eq!(check(rolling(2, 0), &nodes, &old(true)), (vec![], names(&["1", "2"])));
        assert_eq!(check(rolling(0, 1), &nodes, &old(true)), (names(&["a"]), vec![]));
        assert_eq!(check(json!({"type": "OnDelete"}), &nodes, &old(false)), (vec![], vec![]));
        let mut surged = old(true).to_vec();
        surged.push(pod("4", "a", "new", true));
        assert_eq!(check(rolling(0, 1), &nodes, &surged), (vec![], names(&["1"])));
    }
}
