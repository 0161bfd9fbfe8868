//! What a Deployment's status says: counts and the conditions Progressing, Available and ReplicaFailure. Pure.

use std::time::Duration;

use client::{clock::whole_seconds, refs};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet, ReplicaSetStatus,
};

use super::rolling::{available, bounds, total_size};

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const REPLICA_FAILURE: &str = "ReplicaFailure";
/// Reason of a rollout that is complete.
const COMPLETE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";
const RESUMED: &str = "DeploymentResumed";
/// Seconds that stand for "no deadline".
const NO_DEADLINE: i32 = i32::MAX;

/// Seconds a rollout may take without progress.
pub(super) fn deadline(deployment: &Deployment) -> Option<i64> {
    let seconds = deployment.spec.as_ref().and_then(|s| s.progress_deadline_seconds);
    seconds.filter(|s| *s != NO_DEADLINE).map(i64::from)
}

fn condition<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().flatten().find(|c| c.type_ == kind)
}

/// A condition that begins now.
pub(super) fn begun(
    kind: &str,
    value: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) -> DeploymentCondition {
    DeploymentCondition {
        type_: kind.to_owned(),
        status: value.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_update_time: Some(whole_seconds(now)),
        last_transition_time: Some(whole_seconds(now)),
    }
}

fn set(status: &mut DeploymentStatus, mut condition: DeploymentCondition) {
    let conditions = status.conditions.get_or_insert_default();
    let known = conditions.iter().position(|c| c.type_ == condition.type_);
    if let Some(index) = known {
        let old = &conditions[index];
        if old.status == condition.status && old.reason == condition.reason {
            return;
        }
        if old.status == condition.status {
            condition.last_transition_time.clone_from(&old.last_transition_time);
        }
        conditions.remove(index);
    }
    conditions.push(condition);
}

fn remove(status: &mut DeploymentStatus, kind: &str) {
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|c| c.type_ != kind);
    }
}

/// Notes that a rollout was paused or resumed, so that its deadline does not run meanwhile.
pub(super) fn note_pause(deployment: &Deployment, status: &mut DeploymentStatus, now: Timestamp) {
    let progressing = condition(status, PROGRESSING).and_then(|c| c.reason.clone());
    if deadline(deployment).is_none() || progressing.as_deref() == Some(TIMED_OUT) {
        return;
    }
    let paused = deployment.spec.as_ref().and_then(|s| s.paused) == Some(true);
    let noted = progressing.as_deref() == Some(PAUSED);
    if paused && !noted {
        set(status, begun(PROGRESSING, "Unknown", PAUSED, "Deployment is paused".to_owned(), now));
    } else if !paused && noted {
        set(status, begun(PROGRESSING, "Unknown", RESUMED, "Deployment is resumed".to_owned(), now));
    }
}

/// Notes that the ReplicaSet of the present template was found or created.
pub(super) fn note_new_set(
    deployment: &Deployment,
    status: &mut DeploymentStatus,
    name: &str,
    created: bool,
    now: Timestamp,
) {
    if deadline(deployment).is_none() {
        return;
    }
    if created {
        let message = format!("Created new replica set {name:?}");
        set(status, begun(PROGRESSING, "True", "NewReplicaSetCreated", message, now));
    } else if condition(status, PROGRESSING).is_none() {
        let message = format!("Found new replica set {name:?}");
        set(status, begun(PROGRESSING, "True", "FoundNewReplicaSet", message, now));
    }
}

/// Counts and availability, from the ReplicaSets' statuses.
pub(super) fn count(
    deployment: &Deployment,
    from: &DeploymentStatus,
    sets: &[ReplicaSet],
    new: Option<usize>,
    now: Timestamp,
) -> DeploymentStatus {
    let sum = |field: &dyn Fn(&ReplicaSetStatus) -> i32| {
        sets.iter().filter_map(|s| s.status.as_ref()).map(field).sum()
    };
    let available: i32 = sets.iter().map(available).sum();
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: shown(sum(&|s| s.replicas)),
        updated_replicas: shown(new.and_then(|i| sets[i].status.as_ref()).map_or(0, |s| s.replicas)),
        ready_replicas: shown(sum(&|s| s.ready_replicas.unwrap_or(0))),
        available_replicas: shown(available),
        unavailable_replicas: shown((total_size(sets) - available).max(0)),
        terminating_replicas: shown(sum(&|s| s.terminating_replicas.unwrap_or(0))),
        collision_count: from.collision_count,
        conditions: from.conditions.clone(),
    };
    let bounds = bounds(deployment);
    let condition = if available >= bounds.desired - bounds.unavailable {
        let message = "Deployment has minimum availability.".to_owned();
        begun(AVAILABLE, "True", "MinimumReplicasAvailable", message, now)
    } else {
        let message = "Deployment does not have minimum availability.".to_owned();
        begun(AVAILABLE, "False", "MinimumReplicasUnavailable", message, now)
    };
    set(&mut status, condition);
    status
}

/// Counts of zero are left out, as upstream does.
fn shown(count: i32) -> Option<i32> {
    Some(count).filter(|c| *c != 0)
}

/// Whether nothing is left to roll out.
pub(super) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let desired = Some(bounds(deployment).desired);
    status.updated_replicas.or(Some(0)) == desired
        && status.replicas.or(Some(0)) == desired
        && status.available_replicas.or(Some(0)) == desired
        && status.observed_generation.unwrap_or(0) >= deployment.metadata.generation.unwrap_or(0)
}

/// Counts, and how the rollout fares.
pub(super) fn of_rollout(
    deployment: &Deployment,
    from: &DeploymentStatus,
    sets: &[ReplicaSet],
    new: Option<usize>,
    now: Timestamp,
) -> DeploymentStatus {
    let mut status = count(deployment, from, sets, new, now);
    let before = condition(from, PROGRESSING).cloned();
    let done = status.replicas == status.updated_replicas
        && before.as_ref().is_some_and(|c| c.reason.as_deref() == Some(COMPLETE));
    if deadline(deployment).is_none() {
        remove(&mut status, PROGRESSING);
    } else if !done {
        let subject = match new {
            Some(i) => format!("ReplicaSet {:?}", refs::name(&sets[i])),
            None => format!("Deployment {:?}", refs::name(deployment)),
        };
        progress(deployment, &mut status, before, &subject, now);
    }
    let failing = new.into_iter().chain(0..sets.len()).find_map(|i| failure(&sets[i]));
    match failing {
        Some(condition) => set(&mut status, condition),
        None => remove(&mut status, REPLICA_FAILURE),
    }
    status
}

fn progress(
    deployment: &Deployment,
    status: &mut DeploymentStatus,
    before: Option<DeploymentCondition>,
    subject: &str,
    now: Timestamp,
) {
    if is_complete(deployment, status) {
        let message = format!("{subject} has successfully progressed.");
        set(status, begun(PROGRESSING, "True", COMPLETE, message, now));
    } else if has_progressed(deployment.status.as_ref(), status) {
        let message = format!("{subject} is progressing.");
        let mut condition = begun(PROGRESSING, "True", "ReplicaSetUpdated", message, now);
        if let Some(before) = before.filter(|b| b.status == "True") {
            condition.last_transition_time = before.last_transition_time;
        }
        // Replaced even if nothing but its time changes: the deadline starts again.
        remove(status, PROGRESSING);
        set(status, condition);
    } else if is_overdue(deployment, status, now) {
        let message = format!("{subject} has timed out progressing.");
        set(status, begun(PROGRESSING, "False", TIMED_OUT, message, now));
    }
}

fn has_progressed(before: Option<&DeploymentStatus>, after: &DeploymentStatus) -> bool {
    let nothing = DeploymentStatus::default();
    let before = before.unwrap_or(&nothing);
    let count = |field: Option<i32>| field.unwrap_or(0);
    let old = |s: &DeploymentStatus| count(s.replicas) - count(s.updated_replicas);
    count(after.updated_replicas) > count(before.updated_replicas)
        || old(after) < old(before)
        || count(after.ready_replicas) > count(before.ready_replicas)
        || count(after.available_replicas) > count(before.available_replicas)
}

fn is_overdue(deployment: &Deployment, status: &DeploymentStatus, now: Timestamp) -> bool {
    let (Some(deadline), Some(condition)) = (deadline(deployment), condition(status, PROGRESSING)) else {
        return false;
    };
    match condition.reason.as_deref() {
        Some(COMPLETE) => false,
        Some(TIMED_OUT) => true,
        _ => {
            condition.last_update_time.as_ref().is_some_and(|t| t.0.as_second() + deadline < now.as_second())
        }
    }
}

/// When a rollout without progress must be looked at again.
pub(super) fn recheck(
    deployment: &Deployment,
    status: &DeploymentStatus,
    now: Timestamp,
) -> Option<Duration> {
    let (deadline, condition) = (deadline(deployment)?, condition(status, PROGRESSING)?);
    let paused = deployment.spec.as_ref().and_then(|s| s.paused) == Some(true);
    if paused || is_complete(deployment, status) || condition.reason.as_deref() == Some(TIMED_OUT) {
        return None;
    }
    let due = condition.last_update_time.as_ref()?.0.as_second() + deadline - now.as_second();
    Some(Duration::from_secs(u64::try_from(due).unwrap_or(0) + 1))
}

fn failure(set: &ReplicaSet) -> Option<DeploymentCondition> {
    let conditions = set.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|c| c.type_ == REPLICA_FAILURE)?;
    Some(DeploymentCondition {
        type_: REPLICA_FAILURE.to_owned(),
        status: found.status.clone(),
        reason: found.reason.clone(),
        message: found.message.clone(),
        last_transition_time: found.last_transition_time.clone(),
        last_update_time: found.last_transition_time.clone(),
    })
}

/// The status after the ReplicaSet of the present template could not be created.
pub(super) fn of_failed_creation(
    deployment: &Deployment,
    message: String,
    now: Timestamp,
) -> DeploymentStatus {
    let mut status = deployment.status.clone().unwrap_or_default();
    if deadline(deployment).is_some() {
        set(&mut status, begun(PROGRESSING, "False", "ReplicaSetCreateError", message, now));
    }
    status
}
