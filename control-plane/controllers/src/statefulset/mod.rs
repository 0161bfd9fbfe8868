//! StatefulSets: numbered pods with names and volumes that outlive them.
//!
//! Owns the pods and ControllerRevisions whose controller is the StatefulSet, the claims made from its
//! templates, and its status. Not done: deleting claims by `persistentVolumeClaimRetentionPolicy`.

mod apply;
mod plan;
mod pod;

use async_trait::async_trait;
use client::{
    Client, Error, Informer, ObjectKey, Queue,
    driver::{After, Reconcile},
    events::Recorder,
    labels, refs,
};
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, StatefulSet},
    core::v1::Pod,
};

use crate::{
    claim::{claim, settle},
    environment::{Environment, enqueue, enqueue_changes, owners},
    expect::Expectations,
    limits,
    replicaset::{ORPHANS, orphan_namespace},
};

struct Controller {
    client: Client,
    recorder: Recorder,
    sets: Informer<StatefulSet>,
    pods: Informer<Pod>,
    revisions: Informer<ControllerRevision>,
    expectations: Expectations,
}

pub(crate) fn start(env: &Environment) {
    let controller = Controller {
        client: env.client.clone(),
        recorder: env.recorder("statefulset-controller"),
        sets: env.informers.get(),
        pods: env.informers.get(),
        revisions: env.informers.get(),
        expectations: Expectations::default(),
    };
    controller.pods.add_index(ORPHANS, orphan_namespace);
    let queue = Queue::default();
    enqueue_changes(&controller.sets, &queue);
    enqueue(&controller.pods, &queue, |change| owners(change, "StatefulSet"));
    enqueue(&controller.revisions, &queue, |change| owners(change, "StatefulSet"));
    env.drive("statefulset", controller, queue);
}

#[async_trait]
impl Reconcile for Controller {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<After, Error> {
        let Some(set) = self.sets.get(key) else {
            self.expectations.forget(key);
            return Ok(After::Change);
        };
        let Some(spec) = set.spec.as_ref().filter(|s| !labels::is_empty(&s.selector)) else {
            return Ok(After::Change);
        };
        let mut candidates = self.pods.owned_by(refs::uid(&*set));
        // Only pods with a name of ours can be adopted.
        let orphans = self.pods.by_index(ORPHANS, &key.namespace);
        candidates
            .extend(orphans.into_iter().filter(|p| plan::ordinal(&key.name, refs::name(&**p)).is_some()));
        let claim = claim(refs::uid(&*set), refs::is_terminating(&*set), &spec.selector, candidates);
        let pods = settle(&self.client, &*set, claim).await?;
        if refs::is_terminating(&*set) {
            return Ok(After::Change);
        }
        if !self.expectations.satisfied(key, &self.pods) {
            return Ok(After::Delay(limits::EXPECTATION_RECHECK));
        }
        self.apply(&set, &pods).await
    }
}
