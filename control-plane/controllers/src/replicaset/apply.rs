//! Makes a plan true: creates and deletes pods, writes the status.

use std::{collections::HashMap, sync::Arc};

use client::{Error, clock, driver::After, refs};
use k8s_openapi::api::{
    apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus},
    core::v1::Pod,
};

use super::{
    Controller,
    plan::{Action, plan, recheck, status},
};
use crate::{
    podcontrol::{from_template, why},
    pods,
};

/// Condition that says pods could not be created or deleted.
const REPLICA_FAILURE: &str = "ReplicaFailure";

impl Controller {
    pub(super) async fn apply(&self, set: &ReplicaSet, pods: &[Arc<Pod>]) -> Result<After, Error> {
        let now = clock::now();
        let managed = match plan(set, pods, &self.neighbours(set), now) {
            Action::Keep => Ok(()),
            Action::Create(count) => self.create(set, count).await.map_err(|e| ("FailedCreate", e)),
            Action::Delete(doomed) => {
                self.control.delete(set, &doomed).await.map_err(|e| ("FailedDelete", e))
            }
        };
        let mut status = status(set, pods, now);
        set_failure(&mut status, managed.as_ref().err().map(|(reason, error)| (*reason, why(error))));
        self.write_status(set, status).await?;
        managed.map_err(|(_, error)| error)?;
        Ok(recheck(set, pods, now).map_or(After::Change, After::Delay))
    }

    async fn create(&self, set: &ReplicaSet, count: usize) -> Result<(), Error> {
        let Some(template) = set.spec.as_ref().and_then(|s| s.template.as_ref()) else { return Ok(()) };
        let pods = vec![from_template(set, template); count];
        self.control.create(set, &pods).await.map(|_| ())
    }

    async fn write_status(&self, set: &ReplicaSet, status: ReplicaSetStatus) -> Result<(), Error> {
        if set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let changed = ReplicaSet { status: Some(status), ..set.clone() };
        self.client.update_status(&changed).await.map(|_| ())
    }

    /// How many pods of all sets with the same owner are on each node.
    fn neighbours(&self, set: &ReplicaSet) -> HashMap<String, usize> {
        let mut nodes = HashMap::new();
        let related = match refs::controller_of(&set.metadata) {
            Some(owner) => self.sets.owned_by(&owner.uid),
            None => Vec::new(),
        };
        let uids = related.iter().map(|s| refs::uid(&**s)).chain([refs::uid(set)]);
        for uid in uids.collect::<std::collections::BTreeSet<_>>() {
            for pod in self.pods.owned_by(uid).iter().filter(|p| pods::is_active(p)) {
                *nodes.entry(pods::node_name(pod).to_owned()).or_insert(0) += 1;
            }
        }
        nodes
    }
}

fn set_failure(status: &mut ReplicaSetStatus, failure: Option<(&str, String)>) {
    let mut conditions = status.conditions.take().unwrap_or_default();
    let known = conditions.iter().position(|c| c.type_ == REPLICA_FAILURE);
    match (failure, known) {
        (None, Some(index)) => {
            conditions.remove(index);
        }
        // An old failure stays as it was first seen, as upstream does.
        (Some(_), Some(_)) | (None, None) => {}
        (Some((reason, message)), None) => conditions.push(ReplicaSetCondition {
            type_: REPLICA_FAILURE.to_owned(),
            status: "True".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: Some(clock::time()),
        }),
    }
    status.conditions = Some(conditions).filter(|c| !c.is_empty());
}
