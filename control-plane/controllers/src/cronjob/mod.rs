//! CronJobs: a Job at each time of a schedule.
//!
//! Owns the Jobs whose controller is the CronJob, and its status. A Job's name follows from its time, so a crash
//! between creating it and noting it creates nothing twice.

mod apply;
mod plan;
mod schedule;

use async_trait::async_trait;
use client::{
    Client, Error, Informer, ObjectKey, Queue, clock,
    driver::{After, Reconcile},
    events::Recorder,
    refs,
};
use k8s_openapi::api::batch::v1::{CronJob, Job};

use crate::environment::{Environment, enqueue, enqueue_changes, owners};

struct Controller {
    client: Client,
    recorder: Recorder,
    crons: Informer<CronJob>,
    jobs: Informer<Job>,
}

pub(crate) fn start(env: &Environment) {
    let controller = Controller {
        client: env.client.clone(),
        recorder: env.recorder("cronjob-controller"),
        crons: env.informers.get(),
        jobs: env.informers.get(),
    };
    let queue = Queue::default();
    enqueue_changes(&controller.crons, &queue);
    enqueue(&controller.jobs, &queue, |change| owners(change, "CronJob"));
    env.drive("cronjob", controller, queue);
}

#[async_trait]
impl Reconcile for Controller {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<After, Error> {
        let Some(cron) = self.crons.get(key).filter(|c| !refs::is_terminating(&**c)) else {
            return Ok(After::Change);
        };
        let uid = refs::uid(&*cron);
        let owned = self.jobs.owned_by(uid);
        let jobs: Vec<_> = owned.into_iter().filter(|j| refs::is_controlled_by(&j.metadata, uid)).collect();
        let plan = plan::plan(&cron, &jobs, clock::now());
        self.apply(&cron, plan).await
    }
}
