//! DaemonSets: one pod on every node that fits.
//!
//! Owns the pods and ControllerRevisions whose controller is the DaemonSet, and its status. Pods are created
//! for a node by affinity; binding them is the scheduler's work.

mod apply;
mod plan;

use async_trait::async_trait;
use client::{
    Client, Error, Informer, ObjectKey, Queue,
    driver::{After, Reconcile},
    labels, refs,
};
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, DaemonSet},
    core::v1::{Node, Pod},
};

use crate::{
    claim::{claim, settle},
    environment::{Environment, enqueue, enqueue_changes, owners},
    limits,
    podcontrol::PodControl,
    replicaset::{ORPHANS, orphan_namespace},
};

struct Controller {
    client: Client,
    sets: Informer<DaemonSet>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    revisions: Informer<ControllerRevision>,
    control: PodControl,
}

pub(crate) fn start(env: &Environment) {
    let recorder = env.recorder("daemonset-controller");
    let controller = Controller {
        client: env.client.clone(),
        sets: env.informers.get(),
        pods: env.informers.get(),
        nodes: env.informers.get(),
        revisions: env.informers.get(),
        control: PodControl { client: env.client.clone(), recorder, expectations: Default::default() },
    };
    controller.pods.add_index(ORPHANS, orphan_namespace);
    let queue = Queue::default();
    enqueue_changes(&controller.sets, &queue);
    enqueue(&controller.pods, &queue, |change| owners(change, "DaemonSet"));
    enqueue(&controller.revisions, &queue, |change| owners(change, "DaemonSet"));
    enqueue(&controller.nodes, &queue, {
        let sets = controller.sets.clone();
        move |change| {
            // Heartbeats change nothing that a DaemonSet looks at.
            let facts = |node: &Node| {
                (node.metadata.labels.clone(), node.spec.as_ref().and_then(|s| s.taints.clone()))
            };
            match (&change.old, &change.new) {
                (Some(old), Some(new)) if facts(old) == facts(new) => Vec::new(),
                _ => sets.list().iter().map(|s| ObjectKey::of(&s.metadata)).collect(),
            }
        }
    });
    env.drive("daemonset", controller, queue);
}

#[async_trait]
impl Reconcile for Controller {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<After, Error> {
        let Some(set) = self.sets.get(key) else {
            self.control.expectations.forget(key);
            return Ok(After::Change);
        };
        let Some(spec) = set.spec.as_ref().filter(|s| !labels::is_empty(&s.selector)) else {
            return Ok(After::Change);
        };
        let mut candidates = self.pods.owned_by(refs::uid(&*set));
        candidates.extend(self.pods.by_index(ORPHANS, &key.namespace));
        let claim = claim(refs::uid(&*set), refs::is_terminating(&*set), &spec.selector, candidates);
        let pods = settle(&self.client, &*set, claim).await?;
        if refs::is_terminating(&*set) {
            return Ok(After::Change);
        }
        if !self.control.expectations.satisfied(key, &self.pods) {
            return Ok(After::Delay(limits::EXPECTATION_RECHECK));
        }
        self.apply(&set, &pods).await
    }
}
