//! Which pods must leave a tainted node, and when. Pure.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};

use super::taints::NO_EXECUTE;
use crate::fit::tolerates;

/// Who leaves.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Evictions {
    /// Now.
    pub(super) now: Vec<Arc<Pod>>,
    /// When the next one leaves.
    pub(super) next: Option<Duration>,
}

/// Looks at each pod's tolerations of the node's NoExecute taints.
pub(super) fn plan(node: &Node, pods: &[Arc<Pod>], now: Timestamp) -> Evictions {
    let taints: Vec<&Taint> =
        node.spec.iter().flat_map(|s| s.taints.iter().flatten()).filter(|t| t.effect == NO_EXECUTE).collect();
    let mut evictions = Evictions::default();
    if taints.is_empty() {
        return evictions;
    }
    for pod in pods.iter().filter(|p| p.metadata.deletion_timestamp.is_none()) {
        match leaves_in(pod, &taints, now) {
            None => {}
            Some(seconds) if seconds <= 0 => evictions.now.push(pod.clone()),
            Some(seconds) => {
                let wait = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
                evictions.next = Some(evictions.next.map_or(wait, |next| next.min(wait)));
            }
        }
    }
    evictions
}

/// Seconds until the pod leaves; `None` if it may stay.
fn leaves_in(pod: &Pod, taints: &[&Taint], now: Timestamp) -> Option<i64> {
    let tolerations = pod.spec.as_ref().and_then(|s| s.tolerations.as_deref()).unwrap_or(&[]);
    let mut soonest: Option<i64> = None;
    for taint in taints {
        let mut fitting = tolerations.iter().filter(|t| tolerates(t, taint)).peekable();
        if fitting.peek().is_none() {
            return Some(0);
        }
        // Of several tolerations the shortest counts; one without a limit limits nothing.
        let Some(seconds) = fitting.filter_map(|t| t.toleration_seconds).min() else { continue };
        let since = taint.time_added.as_ref().map_or(now, |t| t.0);
        let left = since.as_second() + seconds.max(0) - now.as_second();
        soonest = Some(soonest.map_or(left, |s| s.min(left)));
    }
    soonest
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(tolerations: Value) -> Option<i64> {
        let pod: Pod =
            serde_json::from_value(json!({"spec": {"containers": [], "tolerations": tolerations}})).unwrap();
        let taint = |key: &str, added: &str| {
            serde_json::from_value::<Taint>(json!({"key": key, "effect": "NoExecute", "timeAdded": added}))
                .unwrap()
        };
        let taints = [taint("a", "2026-01-01T00:00:00Z"), taint("b", "2026-01-01T00:00:10Z")];
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        leaves_in(&pod, &taints.iter().collect::<Vec<_>>(), now)
    }

    #[test]
    fn a_pod_stays_as_long_as_it_tolerates_every_taint() {
        let exists = |key: &str, seconds: Value| json!({"key": key, "operator": "Exists", "tolerationSeconds": seconds});
        let cases = [
            (json!([]), Some(0)),
            (json!([exists("a", Value::Null)]), Some(0)),
            (json!([exists("a", Value::Null), exists("b", Value::Null)]), None),
            (json!([exists("a", json!(300)), exists("b", json!(100))]), Some(50)),
            (json!([exists("", json!(30))]), Some(-30)),
            (json!([{"operator": "Exists"}]), None),
            (json!([{"key": "a", "value": "x"}, exists("b", Value::Null)]), Some(0)),
            (json!([{"operator": "Exists", "effect": "NoSchedule"}]), Some(0)),
        ];
        for (tolerations, expect) in cases {
            assert_eq!(check(tolerations.clone()), expect, "{tolerations}");
        }
    }
}
