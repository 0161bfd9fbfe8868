//! Whether a node still gives signs of life, and what its conditions say if it does not.

use std::{collections::HashMap, time::Duration};

use client::{clock::whole_seconds, refs};
use jiff::Timestamp;
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Node, NodeCondition},
};
use parking_lot::Mutex;
use tokio::time::Instant;

pub(super) const READY: &str = "Ready";
/// Conditions that a node is expected to report.
const REPORTED: [&str; 4] = [READY, "MemoryPressure", "DiskPressure", "PIDPressure"];

/// When each node was last seen to change. One entry per node.
pub(super) struct Observed {
    grace: Duration,
    nodes: Mutex<HashMap<String, Seen>>,
}

#[derive(PartialEq)]
struct Signs {
    uid: String,
    renewed: Option<Timestamp>,
    heartbeat: Option<Timestamp>,
    ready: String,
}

struct Seen {
    signs: Signs,
    at: Instant,
}

impl Observed {
    pub(super) fn new(grace: Duration) -> Self {
        Self { grace, nodes: Mutex::default() }
    }

    pub(super) fn forget(&self, node: &str) {
        self.nodes.lock().remove(node);
    }

    /// Notes what the node shows now; answers whether it has shown nothing new for longer than the grace.
    pub(super) fn is_silent(&self, node: &Node, lease: Option<&Lease>) -> bool {
        let ready = condition(node, READY);
        let signs = Signs {
            uid: refs::uid(node).to_owned(),
            renewed: lease.and_then(|l| l.spec.as_ref()?.renew_time.as_ref()).map(|t| t.0),
            heartbeat: ready.and_then(|c| c.last_heartbeat_time.as_ref()).map(|t| t.0),
            // That we ourselves wrote Unknown is no sign of life.
            ready: ready.map(|c| c.status.clone()).filter(|s| s != "Unknown").unwrap_or_default(),
        };
        let now = Instant::now();
        let mut nodes = self.nodes.lock();
        match nodes.get_mut(refs::name(node)) {
            Some(seen) if seen.signs == signs => now.duration_since(seen.at) > self.grace,
            Some(seen) if only_our_mark(&seen.signs, &signs) => {
                seen.signs = signs;
                now.duration_since(seen.at) > self.grace
            }
            _ => {
                nodes.insert(refs::name(node).to_owned(), Seen { signs, at: now });
                false
            }
        }
    }
}

/// The difference is that Ready became Unknown, which nodes do not write.
fn only_our_mark(old: &Signs, new: &Signs) -> bool {
    new.ready.is_empty() && old.uid == new.uid && old.renewed == new.renewed && old.heartbeat == new.heartbeat
}

/// One of the node's conditions.
pub(super) fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.iter().flatten().find(|c| c.type_ == kind)
}

/// The value of the node's Ready condition.
pub(super) fn readiness(node: &Node) -> &str {
    condition(node, READY).map_or("Unknown", |c| c.status.as_str())
}

/// The node with conditions that say that nothing is known; `None` if they say so already.
pub(super) fn marked_unknown(node: &Node, now: Timestamp) -> Option<Node> {
    let mut node = node.clone();
    let created = node.metadata.creation_timestamp.clone();
    let conditions = node.status.get_or_insert_default().conditions.get_or_insert_default();
    let mut changed = false;
    for kind in REPORTED {
        match conditions.iter_mut().find(|c| c.type_ == kind) {
            Some(condition) if condition.status == "Unknown" => {}
            Some(condition) => {
                condition.status = "Unknown".to_owned();
                condition.reason = Some("NodeStatusUnknown".to_owned());
                condition.message = Some("Kubelet stopped posting node status.".to_owned());
                condition.last_transition_time = Some(whole_seconds(now));
                changed = true;
            }
            None => {
                conditions.push(NodeCondition {
                    type_: kind.to_owned(),
                    status: "Unknown".to_owned(),
                    reason: Some("NodeStatusNeverUpdated".to_owned()),
                    message: Some("Kubelet never posted node status.".to_owned()),
                    last_heartbeat_time: created.clone(),
                    last_transition_time: Some(whole_seconds(now)),
                });
                changed = true;
            }
        }
    }
    changed.then_some(node)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(ready: &str) -> Node {
        let conditions =
            json!([{"type": "Ready", "status": ready, "lastHeartbeatTime": "2026-01-01T00:00:00Z"}]);
        serde_json::from_value(
            json!({"metadata": {"name": "n", "uid": "u"}, "status": {"conditions": conditions}}),
        )
        .unwrap()
    }

    fn lease(second: i64) -> Lease {
        let renewed = k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(
            Timestamp::from_second(second).unwrap(),
        );
        let mut lease = Lease::default();
        lease.spec.get_or_insert_default().renew_time = Some(renewed);
        lease
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_is_silent_after_the_grace_until_it_shows_something_new() {
        let observed = Observed::new(Duration::from_secs(40));
        let step = Duration::from_secs(30);
        assert!(!observed.is_silent(&node("True"), Some(&lease(1))));
        tokio::time::advance(step).await;
        assert!(!observed.is_silent(&node("True"), Some(&lease(2))));
        tokio::time::advance(step).await;
        assert!(!observed.is_silent(&node("True"), Some(&lease(2))));
        tokio::time::advance(step).await;
        assert!(observed.is_silent(&node("True"), Some(&lease(2))));
        assert!(observed.is_silent(&node("Unknown"), Some(&lease(2))), "our own mark is no sign of life");
        assert!(!observed.is_silent(&node("Unknown"), Some(&lease(3))));
    }

    #[test]
    fn a_silent_node_is_marked_once() {
        let now = Timestamp::from_second(5).unwrap();
        let marked = marked_unknown(&node("True"), now).unwrap();
        assert_eq!(readiness(&marked), "Unknown");
        assert_eq!(
            condition(&marked, "PIDPressure").unwrap().reason.as_deref(),
            Some("NodeStatusNeverUpdated")
        );
        assert!(marked_unknown(&marked, now).is_none());
    }
}
