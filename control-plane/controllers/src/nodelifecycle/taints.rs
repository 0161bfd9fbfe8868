//! Which taints a node's conditions call for. Pure.

use client::clock::whole_seconds;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Taint};

use super::health;

pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub(super) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
pub(super) const NO_SCHEDULE: &str = "NoSchedule";
pub(super) const NO_EXECUTE: &str = "NoExecute";

/// Condition, its value, and the taint that goes with it.
const BY_CONDITION: [(&str, &str, &str); 6] = [
    (health::READY, "False", NOT_READY),
    (health::READY, "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];

/// The taints the node should have; `None` if it has them. With `evicting` false nothing is driven away: if no
/// node at all is ready, the fault is more likely ours than theirs.
pub(super) fn wanted(node: &Node, evicting: bool, now: Timestamp) -> Option<Vec<Taint>> {
    let current = node.spec.as_ref().and_then(|s| s.taints.clone()).unwrap_or_default();
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    for (condition, value, key) in BY_CONDITION {
        if health::condition(node, condition).map_or("", |c| c.status.as_str()) == value {
            wanted.push((key, NO_SCHEDULE));
            if evicting && condition == health::READY {
                wanted.push((key, NO_EXECUTE));
            }
        }
    }
    if node.spec.as_ref().and_then(|s| s.unschedulable) == Some(true) {
        wanted.push((UNSCHEDULABLE, NO_SCHEDULE));
    }
    let is_wanted = |taint: &Taint| wanted.contains(&(taint.key.as_str(), taint.effect.as_str()));
    let mut taints: Vec<Taint> = current.iter().filter(|t| !is_ours(t) || is_wanted(t)).cloned().collect();
    for (key, effect) in wanted {
        if !taints.iter().any(|t| t.key == key && t.effect == effect) {
            let time_added = Some(whole_seconds(now));
            taints.push(Taint { key: key.to_owned(), effect: effect.to_owned(), value: None, time_added });
        }
    }
    (taints != current).then_some(taints)
}

fn is_ours(taint: &Taint) -> bool {
    match taint.effect.as_str() {
        NO_SCHEDULE => taint.key == UNSCHEDULABLE || BY_CONDITION.iter().any(|(_, _, key)| *key == taint.key),
        NO_EXECUTE => taint.key == NOT_READY || taint.key == UNREACHABLE,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(ready: &str, unschedulable: bool, taints: Value, evicting: bool) -> Option<String> {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n"},
            "spec": {"unschedulable": unschedulable, "taints": taints},
            "status": {"conditions": [{"type": "Ready", "status": ready}]}
        }))
        .unwrap();
        let taints = wanted(&node, evicting, Timestamp::from_second(0).unwrap())?;
        let short = |t: &Taint| format!("{}:{}", t.key.rsplit('/').next().unwrap(), t.effect);
        Some(taints.iter().map(short).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn taints_follow_conditions_and_leave_others_alone() {
        let foreign = json!([{"key": "mine", "effect": "NoExecute"}]);
        let lost =
            json!([{"key": NOT_READY, "effect": "NoSchedule"}, {"key": NOT_READY, "effect": "NoExecute"}]);
        let cases = [
            (check("True", false, json!([]), true), None),
            (check("True", true, json!([]), true), Some("unschedulable:NoSchedule")),
            (
                check("False", false, foreign, true),
                Some("mine:NoExecute not-ready:NoSchedule not-ready:NoExecute"),
            ),
            (
                check("Unknown", false, lost.clone(), true),
                Some("unreachable:NoSchedule unreachable:NoExecute"),
            ),
            (check("Unknown", false, lost.clone(), false), Some("unreachable:NoSchedule")),
            (check("True", false, lost, true), Some("")),
        ];
        for (found, expect) in cases {
            assert_eq!(found.as_deref(), expect);
        }
    }
}
