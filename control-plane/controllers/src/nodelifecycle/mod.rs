//! Nodes that fall silent: their conditions, taints, and the pods on them.
//!
//! Owns the Unknown state of node conditions, the taints that follow from conditions, readiness of pods on lost
//! nodes, and the eviction of pods that do not tolerate a NoExecute taint. Silence is measured on our own clock
//! since the Lease or the heartbeat was last seen to change, so clocks of nodes do not matter.

mod apply;
mod evict;
mod health;
mod taints;

use async_trait::async_trait;
use client::{
    Client, Error, Informer, ObjectKey, Queue,
    driver::{After, Reconcile},
    events::Recorder,
    informer::Selection,
};
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Node, Pod},
};

use crate::{
    environment::{Environment, enqueue, enqueue_changes},
    pods,
};

/// Index over pods by the node they are bound to.
pub(crate) const BY_NODE: &str = "node";
/// Where nodes renew their Leases.
const LEASES: &str = "kube-node-lease";

/// Entries of [`BY_NODE`].
pub(crate) fn node_of(pod: &Pod) -> Vec<String> {
    Some(pods::node_name(pod).to_owned()).filter(|n| !n.is_empty()).into_iter().collect()
}

struct Controller {
    client: Client,
    recorder: Recorder,
    nodes: Informer<Node>,
    leases: Informer<Lease>,
    pods: Informer<Pod>,
    health: health::Observed,
    period: std::time::Duration,
}

pub(crate) fn start(env: &Environment) {
    let leases = Selection { namespace: LEASES.to_owned(), ..Selection::default() };
    let controller = Controller {
        client: env.client.clone(),
        recorder: env.recorder("node-controller"),
        nodes: env.informers.get(),
        leases: env.informers.select(leases),
        pods: env.informers.get(),
        health: health::Observed::new(std::time::Duration::from_secs(env.options.node_grace_seconds)),
        period: std::time::Duration::from_secs(env.options.node_period_seconds),
    };
    controller.pods.add_index(BY_NODE, node_of);
    let queue = Queue::default();
    enqueue_changes(&controller.nodes, &queue);
    enqueue(&controller.leases, &queue, |change| vec![ObjectKey::new("", &change.key().name)]);
    enqueue(&controller.pods, &queue, |change| {
        let before = change.old.as_ref().map(|p| pods::node_name(p));
        let after = pods::node_name(change.object());
        if before == Some(after) || after.is_empty() { Vec::new() } else { vec![ObjectKey::new("", after)] }
    });
    env.drive("nodelifecycle", controller, queue);
}

#[async_trait]
impl Reconcile for Controller {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<After, Error> {
        let Some(node) = self.nodes.get(key) else {
            self.health.forget(&key.name);
            return Ok(After::Change);
        };
        let lease = self.leases.find(LEASES, &key.name);
        let silent = self.health.is_silent(&node, lease.as_deref());
        let next_eviction = self.apply(&node, silent).await?;
        Ok(After::Delay(next_eviction.map_or(self.period, |next| next.min(self.period))))
    }
}
