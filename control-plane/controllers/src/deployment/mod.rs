//! Deployments: one ReplicaSet per revision of the template, and the way from one to the next.
//!
//! Owns the ReplicaSets whose controller is the Deployment, their size and annotations, and the Deployment's
//! status and revision annotation. What `kubectl rollout` reads is written as upstream writes it.
//!
//! | file | knows |
//! |---|---|
//! | `plan` | the order of decisions, working on copies |
//! | `rolling` | how far a rolling update may go now |
//! | `scaling` | how a change of size is shared between revisions |
//! | `revision` | annotations, history, template hash and equality |
//! | `status` | counts and conditions |
//! | `apply` | the writes and events |

mod apply;
mod plan;
mod revision;
mod rolling;
mod scaling;
mod status;

use std::sync::Arc;

use async_trait::async_trait;
use client::{
    Client, Error, Informer, ObjectKey, Queue, clock,
    driver::{After, Reconcile},
    events::Recorder,
    informer::Change,
    labels, refs,
};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::Pod,
};

use crate::{
    claim::{claim, settle},
    environment::{Environment, enqueue, enqueue_changes, owners},
    pods,
};

struct Controller {
    client: Client,
    recorder: Recorder,
    deployments: Informer<Deployment>,
    sets: Informer<ReplicaSet>,
    pods: Informer<Pod>,
}

pub(crate) fn start(env: &Environment) {
    let controller = Controller {
        client: env.client.clone(),
        recorder: env.recorder("deployment-controller"),
        deployments: env.informers.get(),
        sets: env.informers.get(),
        pods: env.informers.get(),
    };
    let queue = Queue::default();
    enqueue_changes(&controller.deployments, &queue);
    enqueue(&controller.sets, &queue, {
        let deployments = controller.deployments.clone();
        move |change| concerned(&deployments, change)
    });
    enqueue(&controller.pods, &queue, {
        let sets = controller.sets.clone();
        move |change| ended_pod(&sets, change)
    });
    env.drive("deployment", controller, queue);
}

/// Owners of the ReplicaSet, or the Deployments that might adopt it.
fn concerned(deployments: &Informer<Deployment>, change: &Change<ReplicaSet>) -> Vec<ObjectKey> {
    let mut keys = owners(change, "Deployment");
    if let Some(set) = &change.new
        && refs::controller_of(&set.metadata).is_none()
    {
        let fits = |d: &Arc<Deployment>| {
            let selector = d.spec.as_ref().map(|s| &s.selector).filter(|s| !labels::is_empty(s));
            selector.is_some_and(|s| labels::matches(s, set.metadata.labels.as_ref()))
        };
        let candidates = deployments.in_namespace(refs::namespace(&**set));
        keys.extend(candidates.iter().filter(|d| fits(d)).map(|d| ObjectKey::of(&d.metadata)));
    }
    keys
}

/// The Deployment of a pod that ended: a Recreate rollout may be waiting for it.
fn ended_pod(sets: &Informer<ReplicaSet>, change: &Change<Pod>) -> Vec<ObjectKey> {
    if change.new.as_ref().is_some_and(|pod| !pods::is_terminal(pod)) {
        return Vec::new();
    }
    let pod = change.object();
    let Some(owner) = refs::controller_of(&pod.metadata).filter(|o| o.kind == "ReplicaSet") else {
        return Vec::new();
    };
    let Some(set) = sets.find(refs::namespace(&**pod), &owner.name) else { return Vec::new() };
    let deployment = refs::controller_of(&set.metadata).filter(|o| o.kind == "Deployment");
    deployment.map(|d| ObjectKey::new(refs::namespace(&**pod), &d.name)).into_iter().collect()
}

#[async_trait]
impl Reconcile for Controller {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<After, Error> {
        let Some(deployment) = self.deployments.get(key) else { return Ok(After::Change) };
        let Some(spec) = &deployment.spec else { return Ok(After::Change) };
        if labels::is_empty(&spec.selector) {
            let message = "This deployment is selecting all pods. A non-empty selector is required.";
            self.recorder.warning(&*deployment, "SelectingAll", message);
            return Ok(After::Change);
        }
        let (uid, ends) = (refs::uid(&*deployment), refs::is_terminating(&*deployment));
        let candidates = self.sets.in_namespace(&key.namespace);
        let claim = claim(uid, ends, &spec.selector, candidates);
        let sets = settle(&self.client, &*deployment, claim).await?;
        let running: Vec<String> = sets
            .iter()
            .filter(|set| self.pods.owned_by(refs::uid(&***set)).iter().any(|p| !pods::is_terminal(p)))
            .map(|set| refs::uid(&**set).to_owned())
            .collect();
        let sets = sets.iter().map(|set| (**set).clone()).collect();
        let observed = plan::Observed { deployment: &deployment, sets, running, now: clock::now() };
        self.apply(&deployment, plan::plan(observed)).await
    }
}
