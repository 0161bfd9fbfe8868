//! Jobs: pods that run until enough of them have succeeded.
//!
//! Owns the pods whose controller is the Job, their finalizer `batch.kubernetes.io/job-tracking`, and the Job's
//! status. A finished pod is counted exactly once: its UID is written to the status first, then its finalizer
//! is removed, then the count replaces the UID; whatever crash happens in between, the next pass goes on from
//! there. Deletes finished Jobs whose time to live is over. Not done: failure and success policies, and limits
//! per index.
//!
//! | file | knows |
//! |---|---|
//! | `plan` | what to create, delete and report |
//! | `tracking` | which pods are counted |
//! | `indexes` | completion indexes and their written form |
//! | `apply` | the writes and events |

mod apply;
mod indexes;
mod plan;
mod tracking;

use async_trait::async_trait;
use client::{
    Client, Error, Informer, ObjectKey, Queue, clock,
    driver::{After, Reconcile},
    events::Recorder,
    refs,
};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};

use crate::{
    environment::{Environment, enqueue, enqueue_changes, owners},
    limits,
    podcontrol::PodControl,
};

struct Controller {
    client: Client,
    recorder: Recorder,
    jobs: Informer<Job>,
    pods: Informer<Pod>,
    control: PodControl,
}

pub(crate) fn start(env: &Environment) {
    let recorder = env.recorder("job-controller");
    let control = PodControl {
        client: env.client.clone(),
        recorder: recorder.clone(),
        expectations: Default::default(),
    };
    let controller = Controller {
        client: env.client.clone(),
        recorder,
        jobs: env.informers.get(),
        pods: env.informers.get(),
        control,
    };
    let queue = Queue::default();
    enqueue_changes(&controller.jobs, &queue);
    enqueue(&controller.pods, &queue, |change| owners(change, "Job"));
    env.drive("job", controller, queue);
}

#[async_trait]
impl Reconcile for Controller {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<After, Error> {
        let Some(job) = self.jobs.get(key) else {
            self.control.expectations.forget(key);
            self.release_abandoned(key).await?;
            return Ok(After::Change);
        };
        if job.spec.as_ref().and_then(|s| s.managed_by.as_deref()).is_some_and(|m| m != plan::MANAGER) {
            return Ok(After::Change);
        }
        if !self.control.expectations.satisfied(key, &self.pods) {
            return Ok(After::Delay(limits::EXPECTATION_RECHECK));
        }
        let uid = refs::uid(&*job);
        let owned = self.pods.owned_by(uid);
        let pods: Vec<_> = owned.into_iter().filter(|p| refs::is_controlled_by(&p.metadata, uid)).collect();
        let plan = plan::plan(&job, &pods, clock::now());
        self.apply(&job, plan).await
    }
}
