//! Which pods to remove, and why. Pure.

use std::sync::Arc;

use client::refs;
use k8s_openapi::api::core::v1::Pod;

use crate::pods;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Its node does not exist.
    NodeGone,
    /// It ends and was never bound, so no node will finish it.
    EndsUnbound,
    /// There are too many ended pods.
    Surplus,
}

pub(super) fn plan(
    all: &[Arc<Pod>],
    node_exists: impl Fn(&str) -> bool,
    ended_max: usize,
) -> Vec<(Arc<Pod>, Why)> {
    let mut doomed = Vec::new();
    let mut ended = Vec::new();
    for pod in all {
        let node = pods::node_name(pod);
        if !node.is_empty() && !node_exists(node) {
            doomed.push((pod.clone(), Why::NodeGone));
        } else if node.is_empty() && refs::is_terminating(&**pod) {
            doomed.push((pod.clone(), Why::EndsUnbound));
        } else if pods::is_terminal(pod) && !refs::is_terminating(&**pod) {
            ended.push(pod.clone());
        }
    }
    if ended_max > 0 {
        ended.sort_by_key(|p| p.metadata.creation_timestamp.clone());
        let surplus = ended.len().saturating_sub(ended_max);
        doomed.extend(ended.into_iter().take(surplus).map(|pod| (pod, Why::Surplus)));
    }
    doomed
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_nobody_else_removes_is_removed() {
        let pod = |name: &str, node: &str, phase: &str, ends: bool, created: &str| {
            let deleted = ends.then_some("2026-01-01T00:00:00Z");
            let pod = json!({
                "metadata": {"name": name, "creationTimestamp": created, "deletionTimestamp": deleted},
                "spec": {"nodeName": node, "containers": []},
                "status": {"phase": phase}
            });
            Arc::new(serde_json::from_value::<Pod>(pod).unwrap())
        };
        let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        let all = [
            pod("healthy", "n", "Running", false, early),
            pod("ending", "n", "Running", true, early),
            pod("orphan", "gone", "Running", false, early),
            pod("unbound", "", "Pending", false, early),
            pod("unbound-ending", "", "Pending", true, early),
            pod("young", "n", "Succeeded", false, late),
            pod("old", "n", "Failed", false, early),
        ];
        let names = |max| -> Vec<(String, Why)> {
            plan(&all, |n| n == "n", max)
                .into_iter()
                .map(|(p, why)| (p.metadata.name.clone().unwrap(), why))
                .collect()
        };
        let basic =
            vec![("orphan".to_owned(), Why::NodeGone), ("unbound-ending".to_owned(), Why::EndsUnbound)];
        assert_eq!(names(0), basic);
        assert_eq!(names(1), [basic, vec![("old".to_owned(), Why::Surplus)]].concat());
    }
}
