//! Makes a plan true: writes ReplicaSets, the revision and the status, and says so in events.

use client::{Error, clock, driver::After, refs, typed::Deletion};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use serde_json::json;

use super::{
    Controller,
    plan::{Action, Plan},
    revision, rolling, status,
};
use crate::{environment::patch_seen, podcontrol::why};

impl Controller {
    pub(super) async fn apply(&self, deployment: &Deployment, plan: Plan) -> Result<After, Error> {
        for action in &plan.actions {
            match action {
                Action::Create(set) => self.create(deployment, set).await?,
                Action::Change { set, from } => self.change(deployment, set, *from).await?,
                Action::Delete(set) => self.delete(set).await?,
                Action::Revise(revision) => self.revise(deployment, *revision).await?,
            }
        }
        self.write_status(deployment, plan.status).await?;
        Ok(plan.recheck.map_or(After::Change, After::Delay))
    }

    async fn create(&self, deployment: &Deployment, set: &ReplicaSet) -> Result<(), Error> {
        let error = match self.client.create(set).await {
            Ok(created) => {
                if rolling::size(&created) > 0 {
                    self.report_scaling(deployment, &created, 0);
                }
                return Ok(());
            }
            Err(error) => error,
        };
        if error.is_already_exists() {
            return self.settle_collision(deployment, set, error).await;
        }
        if !error.is_namespace_terminating() {
            let message = format!("Failed to create new replica set {:?}: {}", refs::name(set), why(&error));
            self.recorder.warning(deployment, "ReplicaSetCreateError", message.clone());
            let status = status::of_failed_creation(deployment, message, clock::now());
            self.write_status(deployment, status).await?;
        }
        Err(error)
    }

    /// The name is taken: by our own earlier attempt, or by another template with the same hash.
    async fn settle_collision(
        &self,
        deployment: &Deployment,
        set: &ReplicaSet,
        error: Error,
    ) -> Result<(), Error> {
        let found = self.client.get::<ReplicaSet>(refs::namespace(set), refs::name(set)).await?;
        let template = deployment.spec.as_ref().map(|s| &s.template);
        let ours = refs::is_controlled_by(&found.metadata, refs::uid(deployment));
        if ours && template.is_some_and(|t| revision::has_template(&found, t)) {
            // The cache will show it; the next pass goes on from there.
            return Ok(());
        }
        let mut status = deployment.status.clone().unwrap_or_default();
        status.collision_count = Some(status.collision_count.unwrap_or(0).saturating_add(1));
        self.write_status(deployment, status).await?;
        Err(error)
    }

    async fn change(&self, deployment: &Deployment, set: &ReplicaSet, from: i32) -> Result<(), Error> {
        let spec = set.spec.as_ref();
        let patch = json!({
            "metadata": {"annotations": set.metadata.annotations},
            "spec": {"replicas": rolling::size(set), "minReadySeconds": spec.and_then(|s| s.min_ready_seconds)},
        });
        patch_seen(&self.client, set, patch).await?;
        if rolling::size(set) != from {
            self.report_scaling(deployment, set, from);
        }
        Ok(())
    }

    fn report_scaling(&self, deployment: &Deployment, set: &ReplicaSet, from: i32) {
        let to = rolling::size(set);
        let direction = if to > from { "up" } else { "down" };
        let message = format!("Scaled {direction} replica set {} from {from} to {to}", refs::name(set));
        self.recorder.normal(deployment, "ScalingReplicaSet", message);
    }

    async fn delete(&self, set: &ReplicaSet) -> Result<(), Error> {
        let deletion = Deletion::of_uid(refs::uid(set));
        match self.client.delete::<ReplicaSet>(refs::namespace(set), refs::name(set), &deletion).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    async fn revise(&self, deployment: &Deployment, revision: i64) -> Result<(), Error> {
        let patch = json!({"metadata": {
            "uid": refs::uid(deployment),
            "annotations": {revision::REVISION: revision.to_string()},
        }});
        let (namespace, name) = (refs::namespace(deployment), refs::name(deployment));
        self.client.merge::<Deployment>(namespace, name, &patch).await.map(|_| ())
    }

    /// A merge patch: the revision annotation may just have changed the resource version, and nobody else
    /// writes this status.
    async fn write_status(&self, deployment: &Deployment, status: DeploymentStatus) -> Result<(), Error> {
        if deployment.status.as_ref() == Some(&status) {
            return Ok(());
        }
        // Absent fields are removed by name, since a merge keeps what it does not mention.
        let patch = json!({"metadata": {"uid": refs::uid(deployment)}, "status": {
            "observedGeneration": status.observed_generation,
            "replicas": status.replicas,
            "updatedReplicas": status.updated_replicas,
            "readyReplicas": status.ready_replicas,
            "availableReplicas": status.available_replicas,
            "unavailableReplicas": status.unavailable_replicas,
            "terminatingReplicas": status.terminating_replicas,
            "collisionCount": status.collision_count,
            "conditions": status.conditions,
        }});
        let (namespace, name) = (refs::namespace(deployment), refs::name(deployment));
        let kind = api::objects::PatchType::Merge;
        self.client.patch::<Deployment>(namespace, name, "status", kind, &patch).await.map(|_| ())
    }
}
