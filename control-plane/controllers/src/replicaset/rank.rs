//! Which pods go first when there are too many: those whose loss costs least. Upstream's order.

use std::{cmp::Ordering, cmp::Reverse, collections::HashMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::pods;

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The first `count` to go.
pub(super) fn first_to_go(
    mut candidates: Vec<Arc<Pod>>,
    neighbours: &HashMap<String, usize>,
    count: usize,
    now: Timestamp,
) -> Vec<Arc<Pod>> {
    candidates.sort_by(|a, b| compare(a, b, neighbours, now));
    candidates.truncate(count);
    candidates
}

fn compare(a: &Pod, b: &Pod, neighbours: &HashMap<String, usize>, now: Timestamp) -> Ordering {
    let crowd = |pod: &Pod| neighbours.get(pods::node_name(pod)).copied().unwrap_or(0);
    let standing = |pod: &Pod| {
        (
            !pods::node_name(pod).is_empty(),
            phase_rank(pod),
            pods::is_ready(pod),
            deletion_cost(pod),
            Reverse(crowd(pod)),
        )
    };
    // Those ready for a shorter time, restarted more often, or younger go first.
    let record = |pod: &Pod| {
        let ready_since = if pods::is_ready(pod) { pods::ready_since(pod).unwrap_or(now) } else { now };
        let created = pod.metadata.creation_timestamp.as_ref().map_or(now, |t| t.0);
        (Reverse(ready_since), Reverse(pods::restarts_max(pod)), Reverse(created))
    };
    standing(a).cmp(&standing(b)).then_with(|| record(a).cmp(&record(b)))
}

fn phase_rank(pod: &Pod) -> u8 {
    match pods::phase(pod) {
        "Running" => 2,
        "Unknown" => 1,
        _ => 0,
    }
}

fn deletion_cost(pod: &Pod) -> i32 {
    let cost = pod.metadata.annotations.as_ref().and_then(|a| a.get(DELETION_COST));
    cost.and_then(|c| c.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn order(pods: &[(&str, Value)]) -> Vec<String> {
        let pods: Vec<Arc<Pod>> = pods
            .iter()
            .map(|(name, pod)| {
                let mut pod = pod.clone();
                pod["metadata"]["name"] = json!(name);
                Arc::new(serde_json::from_value(pod).unwrap())
            })
            .collect();
        let neighbours = HashMap::from([("crowded".to_owned(), 3), ("lonely".to_owned(), 1)]);
        let count = pods.len();
        let sorted = first_to_go(pods, &neighbours, count, "2026-01-02T00:00:00Z".parse().unwrap());
        sorted.iter().map(|p| p.metadata.name.clone().unwrap()).collect()
    }

    fn running(node: &str, ready: Option<&str>, cost: &str, created: &str) -> Value {
        let conditions = ready.map(|t| json!([{"type": "Ready", "status": "True", "lastTransitionTime": t}]));
        json!({
            "metadata": {"annotations": {DELETION_COST: cost}, "creationTimestamp": created},
            "spec": {"nodeName": node, "containers": []},
            "status": {"phase": "Running", "conditions": conditions}
        })
    }

    #[test]
    fn the_least_useful_goes_first() {
        let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-01T10:00:00Z");
        let pods = [
            ("7 old", running("lonely", Some(early), "0", early)),
            ("6 young", running("lonely", Some(early), "0", late)),
            ("5 just ready", running("lonely", Some(late), "0", early)),
            ("4 crowded", running("crowded", Some(early), "0", early)),
            ("3 cheap", running("lonely", Some(early), "-5", early)),
            ("2 not ready", running("lonely", None, "0", early)),
            (
                "1 pending",
                json!({"metadata": {}, "spec": {"nodeName": "n", "containers": []}, "status": {"phase": "Pending"}}),
            ),
            ("0 unbound", json!({"metadata": {}, "status": {"phase": "Pending"}})),
        ];
        let names: String = order(&pods).iter().map(|n| n[..1].to_owned()).collect();
        assert_eq!(names, "01234567");
    }
}
