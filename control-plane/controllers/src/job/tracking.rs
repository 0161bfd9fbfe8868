//! Counting every finished pod exactly once. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use client::refs;
use k8s_openapi::api::{
    batch::v1::{Job, JobStatus, UncountedTerminatedPods},
    core::v1::Pod,
};

use super::indexes;
use crate::pods;

/// Keeps a pod until it is counted.
pub(super) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";

/// The count after a pass.
pub(super) struct Count {
    /// Pods that succeeded, those not yet released included.
    pub(super) succeeded: i32,
    /// Pods that failed, those not yet released included.
    pub(super) failed: i32,
    /// Indexes that succeeded, for indexed Jobs.
    pub(super) completed: BTreeSet<i32>,
    /// Pods whose UID will be in the status, so that they may be released.
    pub(super) release: Vec<Arc<Pod>>,
    /// Nothing waits to be released.
    pub(super) settled: bool,
}

pub(super) fn is_tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|f| f == FINALIZER)
}

/// Finished for the Job: ended, or deleted without a chance to run, or given up by its node.
fn outcome(pod: &Pod) -> Option<bool> {
    match pods::phase(pod) {
        "Succeeded" => Some(true),
        "Failed" => Some(false),
        _ => {
            let given_up =
                pod.metadata.deletion_grace_period_seconds == Some(0) || pods::node_name(pod).is_empty();
            (refs::is_terminating(pod) && given_up).then_some(false)
        }
    }
}

/// Moves released pods from UIDs to numbers, and finished ones to UIDs. Writes both into the status.
pub(super) fn count(job: &Job, pods: &[Arc<Pod>], status: &mut JobStatus) -> Count {
    let by_uid: BTreeMap<&str, &Arc<Pod>> = pods.iter().map(|p| (refs::uid(&**p), p)).collect();
    let is_held = |uid: &String| by_uid.get(uid.as_str()).is_some_and(|p| is_tracked(p));
    let before = status.uncounted_terminated_pods.take().unwrap_or_default();
    let (mut succeeded, mut failed) = (Vec::new(), Vec::new());
    let settle = |uids: Option<Vec<String>>, held: &mut Vec<String>, number: &mut Option<i32>| {
        for uid in uids.unwrap_or_default() {
            if is_held(&uid) {
                held.push(uid);
            } else {
                *number = Some(number.unwrap_or(0).saturating_add(1));
            }
        }
    };
    settle(before.succeeded, &mut succeeded, &mut status.succeeded);
    settle(before.failed, &mut failed, &mut status.failed);

    let completions = job.spec.as_ref().and_then(|s| s.completions).unwrap_or(0);
    let indexed = job.spec.as_ref().and_then(|s| s.completion_mode.as_deref()) == Some("Indexed");
    let mut completed = indexes::parse(status.completed_indexes.as_deref().unwrap_or(""), completions);
    for pod in pods.iter().filter(|p| is_tracked(p)) {
        let uid = refs::uid(&**pod).to_owned();
        match outcome(pod) {
            Some(true) if !succeeded.contains(&uid) => {
                let repeated = indexes::index(pod).is_some_and(|i| indexed && !completed.insert(i));
                // A second success of an index counts for nothing, but must be let go.
                if repeated { failed.push(uid) } else { succeeded.push(uid) }
            }
            Some(false) if !failed.contains(&uid) => failed.push(uid),
            _ => {}
        }
    }
    if indexed {
        status.completed_indexes = Some(indexes::format(&completed)).filter(|t| !t.is_empty());
    }
    let release: Vec<Arc<Pod>> = succeeded
        .iter()
        .chain(&failed)
        .filter_map(|uid| by_uid.get(uid.as_str()))
        .map(|p| Arc::clone(p))
        .collect();
    let number =
        |counted: Option<i32>, held: &[String]| counted.unwrap_or(0) + i32::try_from(held.len()).unwrap_or(0);
    let count = Count {
        succeeded: number(status.succeeded, &succeeded),
        failed: number(status.failed, &failed),
        completed,
        settled: succeeded.is_empty() && failed.is_empty(),
        release,
    };
    let shown = |uids: Vec<String>| Some(uids).filter(|u| !u.is_empty());
    status.uncounted_terminated_pods =
        Some(UncountedTerminatedPods { succeeded: shown(succeeded), failed: shown(failed) });
    count
}
