//! How many pods to create or which to delete, and what the status says. Pure.

use std::{collections::HashMap, sync::Arc, time::Duration};

use client::labels;
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{ReplicaSet, ReplicaSetStatus},
    core::v1::Pod,
};

use super::rank;
use crate::{limits, pods};

/// What to do about the number of pods.
#[derive(Debug, PartialEq)]
pub(super) enum Action {
    /// There are as many as there should be.
    Keep,
    /// Create this many.
    Create(usize),
    /// Delete these.
    Delete(Vec<Arc<Pod>>),
}

/// Compares the pods that count with the number wanted. `neighbours` says how many related pods are on each
/// node, so that pods are taken from where there are many.
pub(super) fn plan(
    set: &ReplicaSet,
    pods: &[Arc<Pod>],
    neighbours: &HashMap<String, usize>,
    now: Timestamp,
) -> Action {
    if set.metadata.deletion_timestamp.is_some() {
        return Action::Keep;
    }
    let active: Vec<Arc<Pod>> = pods.iter().filter(|p| pods::is_active(p)).cloned().collect();
    let wanted = wanted(set);
    if active.len() < wanted {
        return Action::Create((wanted - active.len()).min(limits::BURST_PODS));
    }
    let surplus = (active.len() - wanted).min(limits::BURST_PODS);
    if surplus == 0 {
        Action::Keep
    } else {
        Action::Delete(rank::first_to_go(active, neighbours, surplus, now))
    }
}

/// The number of pods asked for.
pub(super) fn wanted(set: &ReplicaSet) -> usize {
    let replicas = set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
    usize::try_from(replicas).unwrap_or(0)
}

/// The status that these pods justify; conditions are left as they are.
pub(super) fn status(set: &ReplicaSet, pods: &[Arc<Pod>], now: Timestamp) -> ReplicaSetStatus {
    let min_ready = min_ready_seconds(set);
    let template = set.spec.as_ref().and_then(|s| s.template.as_ref());
    let template_labels = template.and_then(|t| t.metadata.as_ref()).and_then(|m| m.labels.as_ref());
    let active: Vec<&Arc<Pod>> = pods.iter().filter(|p| pods::is_active(p)).collect();
    let count = |test: &dyn Fn(&Pod) -> bool| number(active.iter().filter(|p| test(p)).count());
    ReplicaSetStatus {
        replicas: number(active.len()),
        fully_labeled_replicas: Some(count(&|p| {
            labels::matches_map(template_labels, p.metadata.labels.as_ref())
        })),
        ready_replicas: Some(count(&pods::is_ready)),
        available_replicas: Some(count(&|p| pods::is_available(p, min_ready, now))),
        terminating_replicas: Some(number(pods.iter().filter(|p| pods::is_terminating(p)).count())),
        observed_generation: set.metadata.generation,
        conditions: set.status.as_ref().and_then(|s| s.conditions.clone()),
    }
}

/// When the next ready pod becomes available.
pub(super) fn recheck(set: &ReplicaSet, pods: &[Arc<Pod>], now: Timestamp) -> Option<Duration> {
    let min_ready = min_ready_seconds(set);
    let waits = pods.iter().filter(|p| pods::is_active(p) && !pods::is_available(p, min_ready, now));
    let seconds = waits.filter_map(|p| pods::available_in_seconds(p, min_ready, now)).min()?;
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0).max(1)))
}

fn min_ready_seconds(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or(0)
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn set(replicas: i32, min_ready: i32) -> ReplicaSet {
        serde_json::from_value(json!({
            "metadata": {"name": "s", "uid": "u", "generation": 3},
            "spec": {"replicas": replicas, "minReadySeconds": min_ready, "selector": {"matchLabels": {"a": "b"}},
                     "template": {"metadata": {"labels": {"a": "b"}}}}
        }))
        .unwrap()
    }

    fn pod(name: &str, ready: Option<&str>, extra: Value) -> Arc<Pod> {
        let mut pod = json!({
            "metadata": {"name": name, "uid": name, "labels": {"a": "b"}},
            "spec": {"nodeName": "n", "containers": []},
            "status": {"phase": "Running"}
        });
        if let Some(since) = ready {
            pod["status"]["conditions"] =
                json!([{"type": "Ready", "status": "True", "lastTransitionTime": since}]);
        }
        for (path, value) in extra.as_object().into_iter().flatten() {
            *pod.pointer_mut(path).unwrap() = value.clone();
        }
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn now() -> Timestamp {
        "2026-01-01T00:01:00Z".parse().unwrap()
    }

    #[test]
    fn the_difference_is_created_or_deleted() {
        let old = Some("2026-01-01T00:00:00Z");
        let pods = [
            pod("a", old, json!({})),
            pod("b", None, json!({})),
            pod("c", None, json!({"/status/phase": "Failed"})),
        ];
        let plan = |n| plan(&set(n, 0), &pods, &HashMap::new(), now());
        assert_eq!(plan(2), Action::Keep);
        assert_eq!(plan(5), Action::Create(3));
        assert_eq!(plan(100_000), Action::Create(limits::BURST_PODS));
        assert_eq!(plan(1), Action::Delete(vec![pods[1].clone()]));
    }

    #[test]
    fn the_status_counts_what_is_active_ready_and_ready_for_long() {
        let pods = [
            pod("a", Some("2026-01-01T00:00:00Z"), json!({})),
            pod("b", Some("2026-01-01T00:00:55Z"), json!({})),
            pod("c", None, json!({"/metadata/labels": {"a": "b", "c": "d"}})),
            pod("d", None, json!({"/status/phase": "Succeeded"})),
        ];
        let status = status(&set(3, 30), &pods, now());
        let counts = (
            status.replicas,
            status.fully_labeled_replicas,
            status.ready_replicas,
            status.available_replicas,
        );
        assert_eq!(counts, (3, Some(3), Some(2), Some(1)));
        assert_eq!(status.observed_generation, Some(3));
        assert_eq!(recheck(&set(3, 30), &pods, now()), Some(Duration::from_secs(25)));
        assert_eq!(recheck(&set(3, 0), &pods, now()), None);
    }
}
