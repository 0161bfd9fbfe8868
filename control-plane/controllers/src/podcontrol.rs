//! Creating and deleting the pods of an owner, with the events kubectl users know.

use std::sync::Arc;

use client::{Client, Error, Object, ObjectKey, error::chain, events::Recorder, refs};
use k8s_openapi::{
    api::core::v1::{Pod, PodTemplateSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::{expect::Expectations, limits};

pub(crate) struct PodControl {
    pub(crate) client: Client,
    pub(crate) recorder: Recorder,
    pub(crate) expectations: Expectations,
}

/// A pod of an owner from its template, named by the server.
pub(crate) fn from_template<O: Object>(owner: &O, template: &PodTemplateSpec) -> Pod {
    let meta = template.metadata.clone().unwrap_or_default();
    let metadata = ObjectMeta {
        namespace: owner.metadata().namespace.clone(),
        generate_name: Some(format!("{}-", refs::name(owner))),
        labels: meta.labels,
        annotations: meta.annotations,
        finalizers: meta.finalizers,
        owner_references: Some(vec![refs::controller_reference(owner)]),
        ..ObjectMeta::default()
    };
    Pod { metadata, spec: template.spec.clone(), status: None }
}

impl PodControl {
    /// Creates pods in batches that double in size and stops at the first failure. Answers how many were made.
    pub(crate) async fn create<O: Object>(&self, owner: &O, pods: &[Pod]) -> Result<usize, Error> {
        let key = ObjectKey::of(owner.metadata());
        let (mut made, mut batch) = (0, limits::SLOW_START_FIRST);
        while made < pods.len() {
            let end = pods.len().min(made + batch);
            let outcomes = self.client.create_many(&pods[made..end]).await?;
            let (created, failed): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
            let created: Vec<Pod> = created.into_iter().filter_map(Result::ok).collect();
            self.expectations.created(&key, created.iter());
            for pod in &created {
                self.recorder.normal(owner, "SuccessfulCreate", format!("Created pod: {}", refs::name(pod)));
            }
            if let Some(error) = failed.into_iter().find_map(Result::err) {
                if !error.is_namespace_terminating() {
                    self.recorder.warning(owner, "FailedCreate", format!("Error creating: {}", why(&error)));
                }
                return Err(error);
            }
            made = end;
            batch = (batch * 2).min(limits::BATCH_WRITES);
        }
        Ok(made)
    }

    /// Deletes pods; one that is gone already counts as deleted.
    pub(crate) async fn delete<O: Object>(&self, owner: &O, pods: &[Arc<Pod>]) -> Result<(), Error> {
        let key = ObjectKey::of(owner.metadata());
        for batch in pods.chunks(limits::BATCH_WRITES) {
            let doomed: Vec<_> =
                batch.iter().map(|p| (refs::name(&**p).to_owned(), refs::uid(&**p).to_owned())).collect();
            let outcomes = self.client.delete_many::<Pod>(refs::namespace(owner), &doomed).await?;
            let mut failure = None;
            for (pod, outcome) in batch.iter().zip(outcomes) {
                match outcome {
                    Ok(()) => {
                        self.expectations.deleted(&key, std::iter::once(&**pod));
                        let message = format!("Deleted pod: {}", refs::name(&**pod));
                        self.recorder.normal(owner, "SuccessfulDelete", message);
                    }
                    Err(error) if error.is_not_found() => {}
                    Err(error) => {
                        self.recorder.warning(
                            owner,
                            "FailedDelete",
                            format!("Error deleting: {}", why(&error)),
                        );
                        failure = Some(error);
                    }
                }
            }
            if let Some(error) = failure {
                return Err(error);
            }
        }
        Ok(())
    }
}

/// What the API said, without what we were doing.
pub(crate) fn why(error: &Error) -> String {
    error.status().map_or_else(|| chain(error), |status| status.message.clone())
}
