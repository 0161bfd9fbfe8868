//! ReplicaSets: as many pods as asked for, from one template.
//!
//! Owns the pods whose controller is the ReplicaSet, and the ReplicaSet's status.

mod apply;
mod plan;
mod rank;

use std::sync::Arc;

use async_trait::async_trait;
use client::{
    Client, Error, Informer, ObjectKey, Queue,
    driver::{After, Reconcile},
    events::Recorder,
    informer::Change,
    labels, refs,
};
use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::Pod};

use crate::{
    claim::{claim, settle},
    environment::{Environment, enqueue, enqueue_changes, owners},
    limits,
    podcontrol::PodControl,
};

/// Index over pods without a controller, by namespace.
pub(crate) const ORPHANS: &str = "orphans";

/// Entries of [`ORPHANS`].
pub(crate) fn orphan_namespace(pod: &Pod) -> Vec<String> {
    let orphan = refs::controller_of(&pod.metadata).is_none();
    pod.metadata.namespace.iter().filter(|_| orphan).cloned().collect()
}

struct Controller {
    client: Client,
    sets: Informer<ReplicaSet>,
    pods: Informer<Pod>,
    control: PodControl,
}

pub(crate) fn start(env: &Environment) {
    let recorder: Recorder = env.recorder("replicaset-controller");
    let (sets, pods) = (env.informers.get::<ReplicaSet>(), env.informers.get::<Pod>());
    pods.add_index(ORPHANS, orphan_namespace);
    let queue = Queue::default();
    enqueue_changes(&sets, &queue);
    enqueue(&pods, &queue, {
        let sets = sets.clone();
        move |change| concerned(&sets, change)
    });
    let control = PodControl { client: env.client.clone(), recorder, expectations: Default::default() };
    env.drive("replicaset", Controller { client: env.client.clone(), sets, pods, control }, queue);
}

/// Owners of the pod, or the sets that might adopt it.
fn concerned(sets: &Informer<ReplicaSet>, change: &Change<Pod>) -> Vec<ObjectKey> {
    let mut keys = owners(change, "ReplicaSet");
    if let Some(pod) = &change.new
        && refs::controller_of(&pod.metadata).is_none()
        && pod.metadata.labels.is_some()
    {
        let namespace = refs::namespace(&**pod);
        let fits = |set: &Arc<ReplicaSet>| {
            let selector = set.spec.as_ref().map(|s| &s.selector).filter(|s| !labels::is_empty(s));
            selector.is_some_and(|s| labels::matches(s, pod.metadata.labels.as_ref()))
        };
        keys.extend(
            sets.in_namespace(namespace).iter().filter(|s| fits(s)).map(|s| ObjectKey::of(&s.metadata)),
        );
    }
    keys
}

#[async_trait]
impl Reconcile for Controller {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<After, Error> {
        let Some(set) = self.sets.get(key) else {
            self.control.expectations.forget(key);
            return Ok(After::Change);
        };
        let Some(spec) = &set.spec else { return Ok(After::Change) };
        if labels::is_empty(&spec.selector) {
            return Ok(After::Change);
        }
        let mut candidates = self.pods.owned_by(refs::uid(&*set));
        candidates.extend(self.pods.by_index(ORPHANS, &key.namespace));
        let ends = refs::is_terminating(&*set);
        let claim = claim(refs::uid(&*set), ends, &spec.selector, candidates);
        let pods = settle(&self.client, &*set, claim).await?;
        if !ends && !self.control.expectations.satisfied(key, &self.pods) {
            return Ok(After::Delay(limits::EXPECTATION_RECHECK));
        }
        self.apply(&set, &pods).await
    }
}
