//! How many disruptions a budget allows. Pure.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use client::{clock::whole_seconds, refs};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        core::v1::Pod,
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus},
    },
    apimachinery::pkg::{
        apis::meta::v1::{Condition, Time},
        util::intstr::IntOrString,
    },
};

use crate::pods;

/// Seconds an eviction that was allowed may take to show on the pod, as upstream.
const DISRUPTION_SECONDS: i64 = 120;

/// The status, and when an announced disruption is given up. `wanted` is the number of pods the owners want,
/// if all of them say so.
pub(super) fn plan(
    budget: &PodDisruptionBudget,
    selected: &[Arc<Pod>],
    wanted: Option<i32>,
    now: Timestamp,
) -> (PodDisruptionBudgetStatus, Option<Duration>) {
    let before = budget.status.clone().unwrap_or_default();
    let (disrupted, recheck) = announced(before.disrupted_pods.unwrap_or_default(), selected, now);
    let counts = |pod: &&Arc<Pod>| {
        pods::is_active(pod) && pods::is_ready(pod) && !disrupted.contains_key(refs::name(&***pod))
    };
    let healthy = number(selected.iter().filter(counts).count());
    let (expected, desired) = goal(budget, number(selected.len()), wanted);
    let allowed = if expected == 0 { 0 } else { (healthy - desired).max(0) };
    let status = PodDisruptionBudgetStatus {
        current_healthy: Some(healthy),
        desired_healthy: Some(desired),
        expected_pods: Some(expected),
        disruptions_allowed: Some(allowed),
        disrupted_pods: Some(disrupted).filter(|d| !d.is_empty()),
        observed_generation: budget.metadata.generation,
        conditions: Some(conditions(before.conditions.unwrap_or_default(), budget, allowed, now)),
    };
    (status, recheck)
}

/// Disruptions that were allowed and have not happened yet.
fn announced(
    before: BTreeMap<String, Time>,
    selected: &[Arc<Pod>],
    now: Timestamp,
) -> (BTreeMap<String, Time>, Option<Duration>) {
    let mut recheck = None;
    let mut left = BTreeMap::new();
    for (name, at) in before {
        let alive = selected.iter().any(|p| refs::name(&**p) == name && !refs::is_terminating(&**p));
        let seconds = at.0.as_second() + DISRUPTION_SECONDS - now.as_second();
        if let Some(wait) = u64::try_from(seconds).ok().filter(|s| alive && *s > 0) {
            let wait = Duration::from_secs(wait);
            recheck = Some(recheck.map_or(wait, |other: Duration| other.min(wait)));
            left.insert(name, at);
        }
    }
    (left, recheck)
}

/// How many pods there should be, and how many of them must be healthy.
fn goal(budget: &PodDisruptionBudget, present: i32, wanted: Option<i32>) -> (i32, i32) {
    let spec = budget.spec.as_ref();
    if let Some(most) = spec.and_then(|s| s.max_unavailable.as_ref()) {
        // Without a size to compare with, nothing may be taken away.
        let Some(expected) = wanted else { return (present, present) };
        return (expected, (expected - scaled(most, expected)).max(0));
    }
    match spec.and_then(|s| s.min_available.as_ref()) {
        Some(IntOrString::Int(least)) => (present, *least),
        Some(share) => {
            let Some(expected) = wanted else { return (present, present) };
            (expected, scaled(share, expected))
        }
        None => (present, 0),
    }
}

fn scaled(value: &IntOrString, total: i32) -> i32 {
    match value {
        IntOrString::Int(n) => *n,
        IntOrString::String(text) => {
            let percent = text.strip_suffix('%').and_then(|p| p.parse::<i64>().ok()).unwrap_or(0).max(0);
            i32::try_from((percent * i64::from(total)).unsigned_abs().div_ceil(100)).unwrap_or(i32::MAX)
        }
    }
}

fn conditions(
    mut all: Vec<Condition>,
    budget: &PodDisruptionBudget,
    allowed: i32,
    now: Timestamp,
) -> Vec<Condition> {
    let (status, reason) =
        if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let known = all.iter().position(|c| c.type_ == "DisruptionAllowed").map(|i| all.remove(i));
    let since = known.filter(|c| c.status == status).map(|c| c.last_transition_time);
    all.push(Condition {
        type_: "DisruptionAllowed".to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: String::new(),
        observed_generation: budget.metadata.generation,
        last_transition_time: since.unwrap_or_else(|| whole_seconds(now)),
    });
    all
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(spec: Value, ready: usize, all: usize, wanted: Option<i32>) -> (i32, i32, i32) {
        let pod = |i: usize| {
            let ready = if i < ready { "True" } else { "False" };
            let status = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]});
            Arc::new(
                serde_json::from_value(json!({"metadata": {"name": format!("p{i}")}, "status": status}))
                    .unwrap(),
            )
        };
        let pods: Vec<Arc<Pod>> = (0..all).map(pod).collect();
        let budget = serde_json::from_value(json!({"metadata": {"generation": 1}, "spec": spec})).unwrap();
        let (status, _) = plan(&budget, &pods, wanted, Timestamp::UNIX_EPOCH);
        (status.expected_pods.unwrap(), status.desired_healthy.unwrap(), status.disruptions_allowed.unwrap())
    }

    #[test]
    fn what_may_be_taken_away_is_what_is_healthy_beyond_the_goal() {
        let cases = [
            (json!({"minAvailable": 2}), 3, 3, Some(3), (3, 2, 1)),
            (json!({"minAvailable": 2}), 2, 3, Some(3), (3, 2, 0)),
            (json!({"minAvailable": 2}), 3, 3, None, (3, 2, 1)),
            (json!({"minAvailable": "50%"}), 5, 5, Some(5), (5, 3, 2)),
            (json!({"maxUnavailable": 1}), 4, 4, Some(5), (5, 4, 0)),
            (json!({"maxUnavailable": "20%"}), 5, 5, Some(5), (5, 4, 1)),
            (json!({"maxUnavailable": 1}), 3, 3, None, (3, 3, 0)),
            (json!({"minAvailable": 0}), 0, 0, Some(0), (0, 0, 0)),
        ];
        for (spec, ready, all, wanted, expect) in cases {
            assert_eq!(check(spec.clone(), ready, all, wanted), expect, "{spec} {ready} of {all}");
        }
    }

    #[test]
    fn an_announced_disruption_counts_until_it_happens_or_takes_too_long() {
        let budget: PodDisruptionBudget = serde_json::from_value(json!({
            "spec": {"minAvailable": 0},
            "status": {"disruptedPods": {"p": "1970-01-01T00:00:00Z", "gone": "1970-01-01T00:00:00Z"}}
        }))
        .unwrap();
        let conditions = json!([{"type": "Ready", "status": "True"}]);
        let pod =
            json!({"metadata": {"name": "p"}, "status": {"phase": "Running", "conditions": conditions}});
        let pods = [Arc::new(serde_json::from_value(pod).unwrap())];
        let at = |second| plan(&budget, &pods, None, Timestamp::from_second(second).unwrap());
        let (early, recheck) = at(20);
        assert_eq!((early.current_healthy, recheck), (Some(0), Some(Duration::from_secs(100))));
        assert_eq!(early.disrupted_pods.unwrap().len(), 1);
        assert_eq!(at(120).0.current_healthy, Some(1));
    }
}
