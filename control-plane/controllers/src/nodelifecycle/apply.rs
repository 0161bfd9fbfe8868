//! Writes conditions and taints, and takes pods off lost nodes.

use std::{sync::Arc, time::Duration};

use client::{Error, clock, events::EventType, refs, typed::Deletion};
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod};
use serde_json::json;

use super::{BY_NODE, Controller, evict, health, taints};
use crate::{environment::patch_seen, pods};

impl Controller {
    /// Answers when the next pod must leave.
    pub(super) async fn apply(&self, node: &Node, silent: bool) -> Result<Option<Duration>, Error> {
        let now = clock::now();
        let mut node = node.clone();
        if silent && let Some(marked) = health::marked_unknown(&node, now) {
            tracing::info!(node = refs::name(&node), "the node gives no sign of life");
            self.report(
                &node,
                "NodeNotReady",
                format!("Node {} status is now: NodeNotReady", refs::name(&node)),
            );
            node = self.client.update_status(&marked).await?;
        }
        if health::readiness(&node) != "True" {
            self.mark_pods_not_ready(&node).await?;
        }
        if let Some(taints) = taints::wanted(&node, self.some_node_is_ready(), now) {
            node = patch_seen(&self.client, &node, json!({"spec": {"taints": taints}})).await?;
        }
        let evictions = evict::plan(&node, &self.pods.by_index(BY_NODE, refs::name(&node)), now);
        for pod in &evictions.now {
            self.evict(pod).await?;
        }
        Ok(evictions.next)
    }

    fn some_node_is_ready(&self) -> bool {
        self.nodes.list().iter().any(|n| health::readiness(n) == "True")
    }

    /// Services must not send anything to pods that nobody vouches for.
    async fn mark_pods_not_ready(&self, node: &Node) -> Result<(), Error> {
        for pod in self.pods.by_index(BY_NODE, refs::name(node)) {
            if !pods::is_ready(&pod) {
                continue;
            }
            let mut changed = (*pod).clone();
            let conditions = changed.status.iter_mut().flat_map(|s| s.conditions.iter_mut().flatten());
            for condition in conditions.filter(|c| c.type_ == "Ready") {
                condition.status = "False".to_owned();
                condition.last_transition_time = Some(clock::time());
            }
            match self.client.update_status(&changed).await {
                Ok(_) => self.recorder.warning(&*pod, "NodeNotReady", "Node is not ready"),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn evict(&self, pod: &Arc<Pod>) -> Result<(), Error> {
        let (namespace, name) = (refs::namespace(&**pod), refs::name(&**pod));
        match self.client.delete::<Pod>(namespace, name, &Deletion::of_uid(refs::uid(&**pod))).await {
            Ok(()) => {
                let message = format!("Marking for deletion Pod {namespace}/{name}");
                self.recorder.normal(&**pod, "TaintManagerEviction", message);
                Ok(())
            }
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Events about nodes refer to them by name in place of the UID, as kubelets' do, so that `describe` finds
    /// both.
    fn report(&self, node: &Node, reason: &str, message: String) {
        let about =
            ObjectReference { uid: Some(refs::name(node).to_owned()), ..refs::object_reference(node) };
        self.recorder.event(&about, EventType::Normal, reason, message);
    }
}
