//! What a Job needs now. Pure.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use client::{clock::whole_seconds, refs};
use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::{Job, JobCondition, JobStatus},
    core::v1::Pod,
};

use super::{
    indexes,
    tracking::{self, Count},
};
use crate::{limits, pods};

pub(super) const MANAGER: &str = "kubernetes.io/job-controller";
/// Wait after the first failure of a pod, in seconds; it doubles up to the maximum, as upstream.
const BACKOFF_FIRST: i64 = 10;
const BACKOFF_MAX: i64 = 600;
/// Failures allowed unless the Job says otherwise, as upstream.
const BACKOFF_LIMIT: i32 = 6;

/// What to do.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) status: JobStatus,
    /// Pods to create, with their completion index if the Job has such.
    pub(super) create: Vec<Option<i32>>,
    pub(super) delete: Vec<Arc<Pod>>,
    /// Pods whose finalizer may go once the status is written.
    pub(super) release: Vec<Arc<Pod>>,
    /// The Job's time to live is over.
    pub(super) expire: bool,
    pub(super) recheck: Option<Duration>,
    /// Whether it is bad news, reason and message of an event.
    pub(super) event: Option<(bool, String, String)>,
}

struct Verdict {
    success: bool,
    reason: String,
    message: String,
}

/// Decides the next step.
pub(super) fn plan(job: &Job, pods: &[Arc<Pod>], now: Timestamp) -> Plan {
    let mut status = job.status.clone().unwrap_or_default();
    let count = tracking::count(job, pods, &mut status);
    let active: Vec<Arc<Pod>> = pods.iter().filter(|p| pods::is_active(p)).cloned().collect();
    let terminating = pods.iter().filter(|p| pods::is_terminating(p)).count();
    status.active = shown(active.len());
    status.ready = Some(number(active.iter().filter(|p| pods::is_ready(p)).count()));
    status.terminating = Some(number(terminating));
    let mut plan = Plan { release: count.release.clone(), ..Plan::default() };
    if is_finished(job) || refs::is_terminating(job) {
        plan.delete = active;
        expire(job, now, &mut plan);
    } else if let Some(verdict) = verdict(job, &status, &count, &active, now) {
        let idle = active.is_empty() && terminating == 0;
        plan.delete = active;
        conclude(&mut status, &verdict, count.settled && idle, now, &mut plan);
    } else {
        proceed(job, pods, active, &count, &mut status, now, &mut plan);
    }
    plan.status = status;
    plan
}

/// Whether the Job has ended.
pub(super) fn is_finished(job: &Job) -> bool {
    finished_at(job).is_some()
}

fn finished_at(job: &Job) -> Option<Timestamp> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let end = conditions
        .iter()
        .find(|c| matches!(c.type_.as_str(), "Complete" | "Failed") && c.status == "True")?;
    Some(end.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |t| t.0))
}

fn expire(job: &Job, now: Timestamp, plan: &mut Plan) {
    let ttl = job.spec.as_ref().and_then(|s| s.ttl_seconds_after_finished);
    let (Some(ttl), Some(end)) = (ttl, finished_at(job)) else { return };
    let left = end.as_second() + i64::from(ttl) - now.as_second();
    plan.expire = left <= 0 && !refs::is_terminating(job);
    plan.recheck = (left > 0).then(|| seconds(left));
}

/// Whether the Job has succeeded or failed.
fn verdict(
    job: &Job,
    status: &JobStatus,
    count: &Count,
    active: &[Arc<Pod>],
    now: Timestamp,
) -> Option<Verdict> {
    let spec = job.spec.as_ref()?;
    let earlier =
        status.conditions.iter().flatten().find(|c| {
            matches!(c.type_.as_str(), "SuccessCriteriaMet" | "FailureTarget") && c.status == "True"
        });
    if let Some(earlier) = earlier {
        return Some(Verdict {
            success: earlier.type_ == "SuccessCriteriaMet",
            reason: earlier.reason.clone().unwrap_or_default(),
            message: earlier.message.clone().unwrap_or_default(),
        });
    }
    let failed = |reason: &str, message: &str| {
        Some(Verdict { success: false, reason: reason.to_owned(), message: message.to_owned() })
    };
    let limit = spec.backoff_limit.unwrap_or(BACKOFF_LIMIT);
    if count.failed > limit || restarts_exceed(job, active, limit) {
        return failed("BackoffLimitExceeded", "Job has reached the specified backoff limit");
    }
    let deadline = spec.active_deadline_seconds.filter(|_| spec.suspend != Some(true));
    if let (Some(deadline), Some(start)) = (deadline, &status.start_time)
        && start.0.as_second() + deadline <= now.as_second()
    {
        return failed("DeadlineExceeded", "Job was active longer than specified deadline");
    }
    let done = match spec.completions {
        Some(completions) if is_indexed(job) => number(count.completed.len()) >= completions,
        Some(completions) => count.succeeded >= completions,
        None => count.succeeded > 0 && active.is_empty(),
    };
    let message = "Reached expected number of succeeded pods".to_owned();
    done.then(|| Verdict { success: true, reason: "CompletionsReached".to_owned(), message })
}

/// Pods that restart their containers fail without ending.
fn restarts_exceed(job: &Job, active: &[Arc<Pod>], limit: i32) -> bool {
    let policy =
        job.spec.as_ref().and_then(|s| s.template.spec.as_ref()).and_then(|s| s.restart_policy.as_deref());
    let restarts: i32 = active
        .iter()
        .filter_map(|p| p.status.as_ref())
        .flat_map(|s| s.container_statuses.iter().flatten().chain(s.init_container_statuses.iter().flatten()))
        .map(|c| c.restart_count)
        .sum();
    policy == Some("OnFailure") && if limit == 0 { restarts > 0 } else { restarts >= limit }
}

fn conclude(status: &mut JobStatus, verdict: &Verdict, idle: bool, now: Timestamp, plan: &mut Plan) {
    let (target, end) =
        if verdict.success { ("SuccessCriteriaMet", "Complete") } else { ("FailureTarget", "Failed") };
    set(status, target, "True", &verdict.reason, &verdict.message, now);
    if !idle {
        return;
    }
    set(status, end, "True", &verdict.reason, &verdict.message, now);
    if verdict.success {
        status.completion_time = Some(whole_seconds(now));
    }
    plan.event = Some(if verdict.success {
        (false, "Completed".to_owned(), "Job completed".to_owned())
    } else {
        (true, verdict.reason.clone(), verdict.message.clone())
    });
}

fn proceed(
    job: &Job,
    all: &[Arc<Pod>],
    active: Vec<Arc<Pod>>,
    count: &Count,
    status: &mut JobStatus,
    now: Timestamp,
    plan: &mut Plan,
) {
    let Some(spec) = &job.spec else { return };
    let suspended = status.conditions.iter().flatten().any(|c| c.type_ == "Suspended" && c.status == "True");
    if spec.suspend == Some(true) {
        if !suspended {
            set(status, "Suspended", "True", "JobSuspended", "Job suspended", now);
            plan.event = Some((false, "Suspended".to_owned(), "Job suspended".to_owned()));
        }
        status.start_time = None;
        plan.delete = active;
        return;
    }
    if suspended {
        set(status, "Suspended", "False", "JobResumed", "Job resumed", now);
        plan.event = Some((false, "Resumed".to_owned(), "Job resumed".to_owned()));
    }
    let start = status.start_time.get_or_insert_with(|| whole_seconds(now)).0;
    if let Some(deadline) = spec.active_deadline_seconds {
        plan.recheck = Some(seconds(start.as_second() + deadline - now.as_second()));
    }
    size(job, all, active, count, now, plan);
}

/// Creates what is missing, after a back-off if pods failed; deletes what is too much.
fn size(job: &Job, all: &[Arc<Pod>], active: Vec<Arc<Pod>>, count: &Count, now: Timestamp, plan: &mut Plan) {
    let Some(spec) = &job.spec else { return };
    let parallelism = spec.parallelism.unwrap_or(1);
    let wanted = match spec.completions {
        None if count.succeeded > 0 => parallelism.min(number(active.len())),
        None => parallelism,
        Some(completions) if is_indexed(job) => parallelism.min(completions - number(count.completed.len())),
        Some(completions) => parallelism.min(completions - count.succeeded),
    };
    let wanted = usize::try_from(wanted).unwrap_or(0);
    if active.len() > wanted {
        // Those that have got least far go.
        let mut surplus = active;
        surplus.sort_by_key(|p| {
            (pods::is_ready(p), pods::phase(p) == "Running", !pods::node_name(p).is_empty())
        });
        surplus.truncate(surplus.len() - wanted);
        plan.delete = surplus;
        return;
    }
    let replaced_late = spec.pod_replacement_policy.as_deref() == Some("Failed");
    let ending = if replaced_late { all.iter().filter(|p| pods::is_terminating(p)).count() } else { 0 };
    let missing = wanted.saturating_sub(active.len() + ending).min(limits::BURST_PODS);
    if missing == 0 {
        return;
    }
    let wait = backoff(all, now);
    if wait > 0 {
        let wait = seconds(wait);
        plan.recheck = Some(plan.recheck.map_or(wait, |other| other.min(wait)));
        return;
    }
    plan.create = match spec.completions {
        Some(completions) if is_indexed(job) => {
            let taken: BTreeSet<i32> = active
                .iter()
                .filter_map(|p| indexes::index(p))
                .chain(count.completed.iter().copied())
                .collect();
            indexes::next(completions, &taken, missing).into_iter().map(Some).collect()
        }
        _ => vec![None; missing],
    };
}

/// Seconds to wait because the last pods failed.
fn backoff(all: &[Arc<Pod>], now: Timestamp) -> i64 {
    let ended = |phase: &str| {
        let mut times: Vec<i64> =
            all.iter().filter(|p| pods::phase(p) == phase).map(|p| end_of(p, now)).collect();
        times.sort_unstable();
        times
    };
    let last_success = ended("Succeeded").last().copied().unwrap_or(i64::MIN);
    let failures: Vec<i64> = ended("Failed").into_iter().filter(|t| *t > last_success).collect();
    let Some(last) = failures.last() else { return 0 };
    let doublings = u32::try_from(failures.len() - 1).unwrap_or(u32::MAX).min(16);
    let wait = (BACKOFF_FIRST << doublings).min(BACKOFF_MAX);
    (last + wait - now.as_second()).max(0)
}

fn end_of(pod: &Pod, now: Timestamp) -> i64 {
    let statuses = pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten());
    let ends = statuses.filter_map(|s| s.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref());
    let ready = pods::condition(pod, "Ready").and_then(|c| c.last_transition_time.as_ref());
    let created = pod.metadata.creation_timestamp.as_ref();
    ends.max().or(ready).or(created).map_or(now, |t| t.0).as_second()
}

fn set(status: &mut JobStatus, kind: &str, value: &str, reason: &str, message: &str, now: Timestamp) {
    let conditions = status.conditions.get_or_insert_default();
    if conditions.iter().any(|c| c.type_ == kind && c.status == value && c.reason.as_deref() == Some(reason))
    {
        return;
    }
    conditions.retain(|c| c.type_ != kind);
    conditions.push(JobCondition {
        type_: kind.to_owned(),
        status: value.to_owned(),
        reason: Some(reason.to_owned()).filter(|r| !r.is_empty()),
        message: Some(message.to_owned()).filter(|m| !m.is_empty()),
        last_probe_time: Some(whole_seconds(now)),
        last_transition_time: Some(whole_seconds(now)),
    });
}

pub(super) fn is_indexed(job: &Job) -> bool {
    job.spec.as_ref().and_then(|s| s.completion_mode.as_deref()) == Some("Indexed")
}

fn seconds(count: i64) -> Duration {
    Duration::from_secs(u64::try_from(count).unwrap_or(0).max(1))
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn shown(count: usize) -> Option<i32> {
    Some(number(count)).filter(|n| *n > 0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn job(spec: Value, status: Value) -> Job {
        let mut full = json!({"template": {"spec": {"containers": [], "restartPolicy": "Never"}}});
        full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(json!({"metadata": {"name": "j", "uid": "u"}, "spec": full, "status": status}))
            .unwrap()
    }

    fn pod(name: &str, phase: &str, tracked: bool) -> Arc<Pod> {
        let finalizers = if tracked { json!([tracking::FINALIZER]) } else { json!([]) };
        let at = "2026-01-01T00:00:00Z";
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name, "uid": name, "finalizers": finalizers, "creationTimestamp": at},
                "spec": {"nodeName": "n", "containers": []}, "status": {"phase": phase}
            }))
            .unwrap(),
        )
    }

    fn run(job: &Job, pods: &[Arc<Pod>], second: i64) -> Plan {
        let base: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        plan(job, pods, Timestamp::from_second(base.as_second() + second).unwrap())
    }

    fn true_conditions(plan: &Plan) -> Vec<&str> {
        plan.status
            .conditions
            .iter()
            .flatten()
            .filter(|c| c.status == "True")
            .map(|c| c.type_.as_str())
            .collect()
    }

    #[test]
    fn as_many_pods_run_as_are_still_needed() {
        let spec = json!({"parallelism": 3, "completions": 5});
        let cases = [(json!({}), 3), (json!({"succeeded": 3}), 2), (json!({"succeeded": 4}), 1)];
        for (status, expect) in cases {
            assert_eq!(run(&job(spec.clone(), status.clone()), &[], 0).create.len(), expect, "{status}");
        }
        let indexed = json!({"parallelism": 3, "completions": 5, "completionMode": "Indexed"});
        let plan = run(&job(indexed, json!({"completedIndexes": "0,2"})), &[], 0);
        assert_eq!(plan.create, [Some(1), Some(3), Some(4)]);
    }

    #[test]
    fn a_pod_is_counted_once_and_the_job_ends_after_the_last_is_released() {
        let spec = json!({"completions": 1});
        let first = run(&job(spec.clone(), json!({})), &[pod("a", "Succeeded", true)], 1);
        assert_eq!((first.release.len(), first.status.succeeded), (1, None));
        assert_eq!(true_conditions(&first), ["SuccessCriteriaMet"]);
        let status = serde_json::to_value(&first.status).unwrap();
        let second = run(&job(spec.clone(), status), &[pod("a", "Succeeded", false)], 2);
        assert_eq!((second.release.len(), second.status.succeeded), (0, Some(1)));
        assert_eq!(true_conditions(&second), ["SuccessCriteriaMet", "Complete"]);
        assert!(second.status.completion_time.is_some());
        let status = serde_json::to_value(&second.status).unwrap();
        let third = run(&job(spec, status), &[pod("a", "Succeeded", false)], 3);
        assert_eq!(third.status.succeeded, Some(1));
    }

    #[test]
    fn failures_wait_and_too_many_of_them_end_the_job() {
        let spec = json!({"completions": 1, "backoffLimit": 1});
        let one = run(&job(spec.clone(), json!({})), &[pod("a", "Failed", true)], 4);
        assert_eq!((one.create.len(), one.recheck), (0, Some(Duration::from_secs(6))));
        assert_eq!(run(&job(spec.clone(), json!({})), &[pod("a", "Failed", true)], 10).create.len(), 1);
        let two =
            run(&job(spec, json!({"failed": 1})), &[pod("b", "Failed", true), pod("c", "Running", true)], 60);
        assert_eq!((true_conditions(&two), two.delete.len()), (vec!["FailureTarget"], 1));
    }

    #[test]
    fn a_finished_job_lives_for_its_time() {
        let end =
            json!([{"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        let job = job(json!({"ttlSecondsAfterFinished": 30}), json!({"conditions": end}));
        let early = run(&job, &[], 10);
        assert_eq!((early.expire, early.recheck), (false, Some(Duration::from_secs(20))));
        assert!(run(&job, &[], 30).expire);
    }
}
