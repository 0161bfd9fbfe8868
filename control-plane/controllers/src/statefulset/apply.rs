//! Makes a plan true: revisions, claims, pods, status, events.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use client::{Error, ObjectKey, clock, driver::After, refs, typed::Deletion};
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{PersistentVolumeClaim, Pod, PodTemplateSpec},
};

use super::{Controller, plan, pod};
use crate::{
    history::{self, History},
    podcontrol::why,
    pods,
};

impl Controller {
    pub(super) async fn apply(&self, set: &StatefulSet, all: &[Arc<Pod>]) -> Result<After, Error> {
        let Some(spec) = &set.spec else { return Ok(After::Change) };
        let history = history::sync(&self.client, &self.revisions, set, &spec.template).await?;
        let plan = plan::plan(set, all, refs::name(&*history.newest), clock::now());
        if set.status.as_ref() != Some(&plan.status) {
            self.client
                .update_status(&StatefulSet { status: Some(plan.status.clone()), ..set.clone() })
                .await?;
        }
        for doomed in &plan.delete {
            self.delete(set, doomed).await?;
        }
        for (ordinal, revision) in &plan.create {
            let template = self.template(&history, revision).unwrap_or_else(|| spec.template.clone());
            self.create(set, &template, *ordinal, revision).await?;
        }
        let label = |p: &Arc<Pod>| p.metadata.labels.as_ref()?.get(history::HASH_LABEL).cloned();
        let mut live: BTreeSet<String> = all.iter().filter_map(label).collect();
        live.extend(plan.status.current_revision.clone());
        history::prune(&self.client, &history, &live, spec.revision_history_limit).await?;
        Ok(recheck(set, all))
    }

    fn template(&self, history: &History, revision: &str) -> Option<PodTemplateSpec> {
        history::template(history.find(revision)?)
    }

    async fn create(
        &self,
        set: &StatefulSet,
        template: &PodTemplateSpec,
        ordinal: i32,
        revision: &str,
    ) -> Result<(), Error> {
        for claim in pod::claims(set, ordinal) {
            match self.client.create::<PersistentVolumeClaim>(&claim).await {
                Err(error) if !error.is_already_exists() => {
                    return Err(self.refused(set, "Claim", &claim, error));
                }
                _ => {}
            }
        }
        let wanted = pod::pod(set, template, ordinal, revision);
        match self.client.create(&wanted).await {
            Ok(made) => {
                self.expectations.created(&ObjectKey::of(&set.metadata), std::iter::once(&made));
                let message = format!(
                    "create Pod {} in StatefulSet {} successful",
                    refs::name(&wanted),
                    refs::name(set)
                );
                self.recorder.normal(set, "SuccessfulCreate", message);
                Ok(())
            }
            Err(error) => Err(self.refused(set, "Pod", &wanted, error)),
        }
    }

    fn refused<K: client::Object>(&self, set: &StatefulSet, what: &str, object: &K, error: Error) -> Error {
        if !error.is_namespace_terminating() && !error.is_already_exists() {
            let (name, owner) = (refs::name(object), refs::name(set));
            let message =
                format!("create {what} {name} in StatefulSet {owner} failed error: {}", why(&error));
            self.recorder.warning(set, "FailedCreate", message);
        }
        error
    }

    async fn delete(&self, set: &StatefulSet, doomed: &Pod) -> Result<(), Error> {
        let deletion = Deletion::of_uid(refs::uid(doomed));
        match self.client.delete::<Pod>(refs::namespace(doomed), refs::name(doomed), &deletion).await {
            Ok(()) => {
                self.expectations.deleted(&ObjectKey::of(&set.metadata), std::iter::once(doomed));
                let message = format!(
                    "delete Pod {} in StatefulSet {} successful",
                    refs::name(doomed),
                    refs::name(set)
                );
                self.recorder.normal(set, "SuccessfulDelete", message);
                Ok(())
            }
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Ready pods become available as time passes.
fn recheck(set: &StatefulSet, all: &[Arc<Pod>]) -> After {
    let min_ready = set.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or(0);
    let waits = all.iter().filter_map(|p| pods::available_in_seconds(p, min_ready, clock::now()));
    let next = waits.filter(|s| *s > 0 && min_ready > 0).min().and_then(|s| u64::try_from(s).ok());
    next.map_or(After::Change, |s| After::Delay(Duration::from_secs(s)))
}
