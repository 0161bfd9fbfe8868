//! NodeAffinity: node selectors and node affinity.

use super::{Local, Normalize, Reason};
use crate::{cluster::Node, pod::Requirements, selectors::term_matches};

/// The plugin.
pub struct NodeAffinity;

/// Whether the node satisfies the pod's selector and required affinity.
pub fn matches(pod: &Requirements, node: &Node) -> bool {
    let selected = pod.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value));
    let required = pod
        .affinity
        .node_affinity
        .as_ref()
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    selected && required.is_none_or(|any| any.node_selector_terms.iter().any(|term| term_matches(term, node)))
}

impl Local for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn filter(&self, pod: &Requirements, node: &Node, reasons: &mut Vec<Reason>) {
        if !matches(pod, node) {
            reasons.push("node(s) didn't match Pod's node affinity/selector".into());
        }
    }

    fn weight(&self) -> i64 {
        2
    }

    fn score(&self, pod: &Requirements, node: &Node) -> Option<i64> {
        let preferred =
            pod.affinity.node_affinity.as_ref().and_then(|affinity| {
                affinity.preferred_during_scheduling_ignored_during_execution.as_ref()
            })?;
        let matching = preferred.iter().filter(|term| term_matches(&term.preference, node));
        Some(matching.map(|term| i64::from(term.weight)).sum())
    }

    fn normalize(&self) -> Normalize {
        Normalize::More
    }
}
