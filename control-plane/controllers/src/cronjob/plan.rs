//! Which Job to start, which to remove, and when to look again. Pure.

use std::{sync::Arc, time::Duration};

use client::{
    clock::whole_seconds,
    refs::{self, object_reference},
};
use jiff::{Timestamp, tz::TimeZone};
use k8s_openapi::{
    api::{
        batch::v1::{CronJob, CronJobStatus, Job},
        core::v1::ObjectReference,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::schedule::Schedule;

const SCHEDULED_AT: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// What to do.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) create: Option<Box<Job>>,
    /// Jobs to remove: replaced ones, and history beyond its limits.
    pub(super) delete: Vec<Arc<Job>>,
    pub(super) status: CronJobStatus,
    /// Whether it is bad news, reason and message.
    pub(super) events: Vec<(bool, &'static str, String)>,
    pub(super) recheck: Option<Duration>,
}

/// `Complete` or `Failed`, if the Job has ended.
fn ended(job: &Job) -> Option<(&str, Option<&Time>)> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let end = conditions
        .iter()
        .find(|c| c.status == "True" && matches!(c.type_.as_str(), "Complete" | "Failed"))?;
    Some((end.type_.as_str(), job.status.as_ref()?.completion_time.as_ref()))
}

/// Decides.
pub(super) fn plan(cron: &CronJob, jobs: &[Arc<Job>], now: Timestamp) -> Plan {
    let mut plan = Plan { status: cron.status.clone().unwrap_or_default(), ..Plan::default() };
    let spec = &cron.spec;
    follow(jobs, &mut plan);
    trim(jobs, "Complete", spec.successful_jobs_history_limit.unwrap_or(3), &mut plan);
    trim(jobs, "Failed", spec.failed_jobs_history_limit.unwrap_or(1), &mut plan);
    if spec.suspend == Some(true) {
        return plan;
    }
    let zone = match spec.time_zone.as_deref() {
        None | Some("") => Ok(TimeZone::UTC),
        Some(name) => TimeZone::get(name).map_err(|_| format!("invalid timeZone: {name:?}")),
    };
    match zone.and_then(|zone| Schedule::parse(&spec.schedule, zone)) {
        Err(why) => plan.events.push((true, "UnparseableSchedule", format!("unparseable schedule: {why}"))),
        Ok(schedule) => {
            start(cron, jobs, &schedule, now, &mut plan);
            let next = schedule.next(now).map(|t| t.as_second() - now.as_second());
            plan.recheck = next.map(|s| Duration::from_secs(u64::try_from(s).unwrap_or(0).max(1)));
        }
    }
    plan
}

/// Brings the list of active Jobs up to date.
fn follow(jobs: &[Arc<Job>], plan: &mut Plan) {
    let before: Vec<ObjectReference> = plan.status.active.take().unwrap_or_default();
    let listed = |job: &Job| before.iter().any(|r| r.uid.as_deref() == Some(refs::uid(job)));
    let mut active = Vec::new();
    for job in jobs {
        match ended(job) {
            None => active.push(reference(job)),
            Some((condition, at)) => {
                if listed(job) {
                    let message =
                        format!("Saw completed job: {}, condition: {condition}", refs::name(&**job));
                    plan.events.push((false, "SawCompletedJob", message));
                }
                let last = plan.status.last_successful_time.as_ref();
                if condition == "Complete" && at > last {
                    plan.status.last_successful_time = at.cloned();
                }
            }
        }
    }
    plan.status.active = Some(active).filter(|a| !a.is_empty());
}

fn reference(job: &Job) -> ObjectReference {
    // Without the resource version, which would change with every change of the Job.
    ObjectReference { resource_version: None, ..object_reference(job) }
}

/// Marks the oldest Jobs that ended so, beyond the limit.
fn trim(jobs: &[Arc<Job>], condition: &str, limit: i32, plan: &mut Plan) {
    let ended_so =
        |j: &&Arc<Job>| ended(j).is_some_and(|(c, _)| c == condition) && !refs::is_terminating(&***j);
    let mut old: Vec<&Arc<Job>> = jobs.iter().filter(ended_so).collect();
    old.sort_by_key(|j| (j.metadata.creation_timestamp.clone(), refs::name(&***j).to_owned()));
    let surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    plan.delete.extend(old.into_iter().take(surplus).cloned());
}

/// Starts the Job that is due, if any.
fn start(cron: &CronJob, jobs: &[Arc<Job>], schedule: &Schedule, now: Timestamp, plan: &mut Plan) {
    let spec = &cron.spec;
    let known = plan.status.last_schedule_time.as_ref().or(cron.metadata.creation_timestamp.as_ref());
    let mut since = known.map_or(now, |t| t.0);
    if let Some(deadline) = spec.starting_deadline_seconds
        && let Ok(earliest) = Timestamp::from_second(now.as_second() - deadline)
    {
        since = since.max(earliest);
    }
    let Some(due) = schedule.last(since, now) else { return };
    let job = new_job(cron, due);
    if jobs.iter().any(|j| refs::name(&**j) == refs::name(&job)) {
        plan.status.last_schedule_time = Some(whole_seconds(due));
        return;
    }
    let running = plan.status.active.as_ref().is_some_and(|a| !a.is_empty());
    match spec.concurrency_policy.as_deref() {
        Some("Forbid") if running => {
            let why = "Not starting job because prior execution is running and concurrency policy is Forbid";
            plan.events.push((false, "JobAlreadyActive", why.to_owned()));
            return;
        }
        Some("Replace") => plan.delete.extend(jobs.iter().filter(|j| ended(j).is_none()).cloned()),
        _ => {}
    }
    plan.status.last_schedule_time = Some(whole_seconds(due));
    plan.create = Some(Box::new(job));
}

fn new_job(cron: &CronJob, due: Timestamp) -> Job {
    let template = cron.spec.job_template.clone();
    let from = template.metadata.unwrap_or_default();
    let mut job = Job { spec: template.spec, ..Job::default() };
    job.metadata.name = Some(format!("{}-{}", refs::name(cron), due.as_second() / 60));
    job.metadata.namespace.clone_from(&cron.metadata.namespace);
    job.metadata.labels = from.labels;
    job.metadata.annotations = from.annotations;
    job.metadata.annotations.get_or_insert_default().insert(SCHEDULED_AT.to_owned(), due.to_string());
    job.metadata.owner_references = Some(vec![refs::controller_reference(cron)]);
    job
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn cron(extra: Value, status: Value) -> CronJob {
        let mut spec = json!({"schedule": "*/10 * * * *", "jobTemplate": {}});
        spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let metadata = json!({"name": "c", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status})).unwrap()
    }

    fn job(name: &str, end: Option<&str>, created: &str) -> Arc<Job> {
        let conditions: Vec<Value> = end.iter().map(|c| json!({"type": c, "status": "True"})).collect();
        let metadata = json!({"name": name, "uid": name, "creationTimestamp": created});
        let status = json!({"conditions": conditions, "completionTime": created});
        Arc::new(serde_json::from_value(json!({"metadata": metadata, "status": status})).unwrap())
    }

    fn check(cron: &CronJob, jobs: &[Arc<Job>], now: &str) -> String {
        let plan = plan(cron, jobs, now.parse().unwrap());
        let created = plan
            .create
            .iter()
            .map(|j| format!("+{}", j.metadata.annotations.as_ref().unwrap()[SCHEDULED_AT]));
        let deleted = plan.delete.iter().map(|j| format!("-{}", refs::name(&**j)));
        let events = plan.events.iter().map(|(_, reason, _)| (*reason).to_owned());
        created.chain(deleted).chain(events).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_job_that_is_due_is_started_once() {
        let fresh = cron(json!({}), json!({}));
        assert_eq!(check(&fresh, &[], "2026-01-01T00:05:00Z"), "");
        assert_eq!(check(&fresh, &[], "2026-01-01T00:25:00Z"), "+2026-01-01T00:20:00Z");
        let noted = cron(json!({}), json!({"lastScheduleTime": "2026-01-01T00:20:00Z"}));
        assert_eq!(check(&noted, &[], "2026-01-01T00:25:00Z"), "");
        let due: Timestamp = "2026-01-01T00:20:00Z".parse().unwrap();
        let started = job(&format!("c-{}", due.as_second() / 60), None, "2026-01-01T00:20:00Z");
        assert_eq!(check(&fresh, &[started], "2026-01-01T00:25:00Z"), "");
        let late = cron(json!({"startingDeadlineSeconds": 60}), json!({}));
        assert_eq!(check(&late, &[], "2026-01-01T00:25:00Z"), "");
        assert_eq!(check(&cron(json!({"suspend": true}), json!({})), &[], "2026-01-01T00:25:00Z"), "");
        assert_eq!(
            check(&cron(json!({"schedule": "x"}), json!({})), &[], "2026-01-01T00:25:00Z"),
            "UnparseableSchedule"
        );
    }

    #[test]
    fn policies_say_what_happens_to_a_running_job() {
        let running = [job("r", None, "2026-01-01T00:10:00Z")];
        let with = |policy: &str| {
            check(&cron(json!({"concurrencyPolicy": policy}), json!({})), &running, "2026-01-01T00:20:00Z")
        };
        assert_eq!(with("Allow"), "+2026-01-01T00:20:00Z");
        assert_eq!(with("Forbid"), "JobAlreadyActive");
        assert_eq!(with("Replace"), "+2026-01-01T00:20:00Z -r");
    }

    #[test]
    fn history_is_kept_within_its_limits() {
        let created = |i: usize| format!("2026-01-01T00:0{i}:00Z");
        let mut jobs: Vec<_> = (0..5).map(|i| job(&format!("s{i}"), Some("Complete"), &created(i))).collect();
        jobs.extend((0..2).map(|i| job(&format!("f{i}"), Some("Failed"), &created(i))));
        let active = json!({"active": [{"uid": "s4"}], "lastScheduleTime": "2026-01-01T00:00:00Z"});
        let cron = cron(json!({}), active);
        assert_eq!(check(&cron, &jobs, "2026-01-01T00:05:00Z"), "-s0 -s1 -f0 SawCompletedJob");
        let status = plan(&cron, &jobs, "2026-01-01T00:05:00Z".parse().unwrap()).status;
        assert!(status.active.is_none() && status.last_successful_time.is_some());
    }
}
