//! Makes a plan true: Jobs, status, events.

use client::{
    Error,
    driver::After,
    refs,
    typed::{Deletion, Propagation},
};
use k8s_openapi::api::batch::v1::{CronJob, Job};

use super::{Controller, plan::Plan};
use crate::podcontrol::why;

impl Controller {
    pub(super) async fn apply(&self, cron: &CronJob, plan: Plan) -> Result<After, Error> {
        for (warning, reason, message) in &plan.events {
            if *warning {
                self.recorder.warning(cron, reason, message);
            } else {
                self.recorder.normal(cron, reason, message);
            }
        }
        for job in &plan.delete {
            self.delete(cron, job).await?;
        }
        if let Some(job) = &plan.create {
            self.create(cron, job).await?;
        }
        // After the Job: its name makes a repetition harmless, a forgotten Job would be lost.
        if cron.status.as_ref() != Some(&plan.status) {
            self.client.update_status(&CronJob { status: Some(plan.status.clone()), ..cron.clone() }).await?;
        }
        Ok(plan.recheck.map_or(After::Change, After::Delay))
    }

    async fn create(&self, cron: &CronJob, job: &Job) -> Result<(), Error> {
        match self.client.create(job).await {
            Ok(made) => {
                self.recorder.normal(cron, "SuccessfulCreate", format!("Created job {}", refs::name(&made)));
                Ok(())
            }
            Err(error) if error.is_already_exists() => Ok(()),
            Err(error) => {
                if !error.is_namespace_terminating() {
                    self.recorder.warning(
                        cron,
                        "FailedCreate",
                        format!("Error creating job: {}", why(&error)),
                    );
                }
                Err(error)
            }
        }
    }

    async fn delete(&self, cron: &CronJob, job: &Job) -> Result<(), Error> {
        let background = Some(Propagation::Background);
        let deletion = Deletion { propagation: background, ..Deletion::of_uid(refs::uid(job)) };
        match self.client.delete::<Job>(refs::namespace(job), refs::name(job), &deletion).await {
            Ok(()) => {
                self.recorder.normal(cron, "SuccessfulDelete", format!("Deleted job {}", refs::name(job)));
                Ok(())
            }
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }
}
