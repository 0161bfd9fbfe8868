//! Which pod comes or goes next. Pure.
//!
//! In order, one at a time, unless the policy is Parallel: a pod is created only when all before it are
//! available, and removed or updated only from the highest ordinal down when all others are healthy.

use std::{collections::BTreeMap, sync::Arc};

use client::refs;
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{StatefulSet, StatefulSetStatus},
        core::v1::Pod,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::{history, limits, pods};

/// What to do.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Ordinals to create, with the name of the revision each gets.
    pub(super) create: Vec<(i32, String)>,
    pub(super) delete: Vec<Arc<Pod>>,
    pub(super) status: StatefulSetStatus,
}

/// The ordinal in a pod's name, if the name is one of the set's.
pub(super) fn ordinal(set: &str, pod: &str) -> Option<i32> {
    let digits = pod.strip_prefix(set)?.strip_prefix('-')?;
    let canonical = digits == "0" || !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| canonical)
}

/// The ordinals the set should have.
fn range(set: &StatefulSet) -> std::ops::Range<i32> {
    let spec = set.spec.as_ref();
    let start = spec.and_then(|s| s.ordinals.as_ref()).and_then(|o| o.start).unwrap_or(0);
    start..start.saturating_add(spec.and_then(|s| s.replicas).unwrap_or(1))
}

fn revision(pod: &Pod) -> &str {
    pod.metadata.labels.as_ref().and_then(|l| l.get(history::HASH_LABEL)).map_or("", String::as_str)
}

fn is_running_and_ready(pod: &Pod) -> bool {
    pods::phase(pod) == "Running" && pods::is_ready(pod)
}

/// Decides; `update` is the name of the present revision.
pub(super) fn plan(set: &StatefulSet, all: &[Arc<Pod>], update: &str, now: Timestamp) -> Plan {
    let before = set.status.clone().unwrap_or_default();
    let current =
        before.current_revision.clone().filter(|r| !r.is_empty()).unwrap_or_else(|| update.to_owned());
    let mut draft = Draft::new(set, all, current, update, now);
    let moved_on = draft.sizes() && draft.condemned();
    if moved_on {
        draft.update();
    }
    draft.plan.create.truncate(limits::BURST_PODS);
    draft.plan.delete.truncate(limits::BURST_PODS);
    draft.plan.status = draft.status(&before);
    draft.plan
}

struct Draft<'a> {
    set: &'a StatefulSet,
    by_ordinal: BTreeMap<i32, Arc<Pod>>,
    current: String,
    update: &'a str,
    in_order: bool,
    min_ready: i32,
    now: Timestamp,
    plan: Plan,
}

impl<'a> Draft<'a> {
    fn new(set: &'a StatefulSet, all: &[Arc<Pod>], current: String, update: &'a str, now: Timestamp) -> Self {
        let spec = set.spec.as_ref();
        let numbered =
            all.iter().filter_map(|p| Some((ordinal(refs::name(set), refs::name(&**p))?, p.clone())));
        Self {
            set,
            by_ordinal: numbered.collect(),
            current,
            update,
            in_order: spec.and_then(|s| s.pod_management_policy.as_deref()) != Some("Parallel"),
            min_ready: spec.and_then(|s| s.min_ready_seconds).unwrap_or(0),
            now,
            plan: Plan::default(),
        }
    }

    fn is_available(&self, pod: &Pod) -> bool {
        is_running_and_ready(pod) && pods::is_available(pod, self.min_ready, self.now)
    }

    /// Creates what is missing. `false` if the rest must wait.
    fn sizes(&mut self) -> bool {
        let mut complete = true;
        for ordinal in range(self.set) {
            let go_on = match self.by_ordinal.get(&ordinal).cloned() {
                None => {
                    let revision = self.revision_for(ordinal);
                    self.plan.create.push((ordinal, revision));
                    false
                }
                // It has ended: a new one takes its place once it is gone.
                Some(pod) if pods::is_terminal(&pod) => {
                    if !refs::is_terminating(&*pod) {
                        self.plan.delete.push(pod);
                    }
                    false
                }
                Some(pod) => !refs::is_terminating(&*pod) && self.is_available(&pod),
            };
            complete &= go_on;
            if !go_on && self.in_order {
                return false;
            }
        }
        complete || !self.in_order
    }

    /// Removes what is too much, from the highest ordinal. `false` if the rest must wait.
    fn condemned(&mut self) -> bool {
        let range = range(self.set);
        let condemned: Vec<Arc<Pod>> = self
            .by_ordinal
            .iter()
            .rev()
            .filter(|(i, _)| !range.contains(i))
            .map(|(_, p)| p.clone())
            .collect();
        for pod in &condemned {
            let ends = refs::is_terminating(&**pod);
            if !ends {
                self.plan.delete.push(pod.clone());
            }
            if self.in_order {
                return false;
            }
        }
        condemned.is_empty() || !self.in_order
    }

    /// Replaces pods of older revisions, from the highest ordinal down to the partition.
    fn update(&mut self) {
        let strategy = self.set.spec.as_ref().and_then(|s| s.update_strategy.as_ref());
        if strategy.and_then(|s| s.type_.as_deref()) == Some("OnDelete") {
            return;
        }
        let mut allowed = self.unavailable_max();
        let from = range(self.set).start.saturating_add(self.partition());
        for (_, pod) in self.by_ordinal.range(from..).rev().filter(|(i, _)| range(self.set).contains(i)) {
            let broken = refs::is_terminating(&**pod) || !self.is_available(pod);
            let old = revision(pod) != self.update && !refs::is_terminating(&**pod);
            if old || broken {
                if old {
                    self.plan.delete.push(pod.clone());
                }
                allowed -= 1;
            }
            if allowed <= 0 {
                return;
            }
        }
    }

    fn partition(&self) -> i32 {
        let strategy = self.set.spec.as_ref().and_then(|s| s.update_strategy.as_ref());
        strategy.and_then(|s| s.rolling_update.as_ref()).and_then(|r| r.partition).unwrap_or(0)
    }

    fn unavailable_max(&self) -> i32 {
        let strategy = self.set.spec.as_ref().and_then(|s| s.update_strategy.as_ref());
        let value = strategy.and_then(|s| s.rolling_update.as_ref()).and_then(|r| r.max_unavailable.clone());
        let replicas = range(self.set).len();
        let count = match value {
            None => 1,
            Some(IntOrString::Int(n)) => n,
            Some(IntOrString::String(text)) => {
                let percent = text.strip_suffix('%').and_then(|p| p.parse::<usize>().ok()).unwrap_or(0);
                i32::try_from((percent * replicas).div_ceil(100)).unwrap_or(i32::MAX)
            }
        };
        count.max(1)
    }

    /// A pod below the partition, or one that the update has not reached, gets the old revision.
    fn revision_for(&self, ordinal: i32) -> String {
        let on_delete =
            self.set.spec.as_ref().and_then(|s| s.update_strategy.as_ref()).and_then(|s| s.type_.as_deref())
                == Some("OnDelete");
        let below = ordinal < range(self.set).start.saturating_add(self.partition());
        if below && !on_delete { self.current.clone() } else { self.update.to_owned() }
    }

    fn status(&self, before: &StatefulSetStatus) -> StatefulSetStatus {
        let alive: Vec<&Arc<Pod>> = self.by_ordinal.values().filter(|p| !pods::is_terminal(p)).collect();
        let count = |test: &dyn Fn(&Pod) -> bool| {
            i32::try_from(alive.iter().filter(|p| test(p)).count()).unwrap_or(i32::MAX)
        };
        let here = |p: &Pod| !refs::is_terminating(p);
        let updated = count(&|p| here(p) && revision(p) == self.update);
        let ready = count(&|p| is_running_and_ready(p));
        let replicas = count(&|_| true);
        let wanted = i32::try_from(range(self.set).len()).unwrap_or(i32::MAX);
        // The update is complete: its revision is what new pods get from now on.
        let complete = updated == wanted && ready == wanted && replicas == wanted;
        let current = if complete { self.update.to_owned() } else { self.current.clone() };
        let shown = |n: i32| Some(n).filter(|n| *n > 0);
        StatefulSetStatus {
            replicas,
            ready_replicas: shown(ready),
            available_replicas: Some(count(&|p| self.is_available(p))),
            current_replicas: shown(count(&|p| here(p) && revision(p) == current)),
            updated_replicas: shown(updated),
            current_revision: Some(current.clone()),
            update_revision: Some(self.update.to_owned()),
            observed_generation: self.set.metadata.generation,
            collision_count: Some(before.collision_count.unwrap_or(0)),
            conditions: before.conditions.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn set(replicas: i32, extra: Value) -> StatefulSet {
        let mut spec = json!({"replicas": replicas, "selector": {}, "serviceName": "s", "template": {}});
        spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let status = json!({"replicas": 0, "currentRevision": "old"});
        serde_json::from_value(json!({"metadata": {"name": "db"}, "spec": spec, "status": status})).unwrap()
    }

    /// Written as ordinal, revision (o or n) and state: r ready, p pending, f failed, t terminating.
    fn pods(text: &str) -> Vec<Arc<Pod>> {
        let pod = |word: &str| {
            let (ordinal, revision, state) = (&word[..1], &word[1..2], &word[2..]);
            let phase = match state {
                "r" | "t" => "Running",
                "f" => "Failed",
                _ => "Pending",
            };
            let ready = if state == "r" { "True" } else { "False" };
            let deleted = (state == "t").then_some("2026-01-01T00:00:00Z");
            let label = if revision == "n" { "new" } else { "old" };
            let pod = json!({
                "metadata": {"name": format!("db-{ordinal}"), "deletionTimestamp": deleted, "labels": {"controller-revision-hash": label}},
                "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}
            });
            Arc::new(serde_json::from_value(pod).unwrap())
        };
        text.split_whitespace().map(pod).collect()
    }

    fn check(set: &StatefulSet, text: &str) -> String {
        let plan = plan(set, &pods(text), "new", Timestamp::UNIX_EPOCH);
        let create = plan.create.iter().map(|(i, revision)| format!("+{i}{}", &revision[..1]));
        let delete = plan.delete.iter().map(|p| format!("-{}", &p.metadata.name.as_ref().unwrap()[3..]));
        create.chain(delete).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn pods_come_and_go_in_order() {
        let three = set(3, json!({}));
        let cases = [
            ("", "+0n"),
            ("0np", ""),
            ("0nr", "+1n"),
            ("0nr 1nt", ""),
            ("0nr 1nf", "-1"),
            ("0nr 1nr 2nr 3nr 4nr", "-4"),
            ("0nr 1nr 2nr 3nr 4nt", ""),
            ("0nr 1np 2nr 3nr", ""),
            ("0nr 1nr 2or", "-2"),
            ("0or 1or 2np", ""),
            ("0or 1or 2nr", "-1"),
            ("0nr 1nr 2nr", ""),
        ];
        for (text, expect) in cases {
            assert_eq!(check(&three, text), expect, "{text}");
        }
    }

    #[test]
    fn policies_change_the_order() {
        let parallel = set(3, json!({"podManagementPolicy": "Parallel"}));
        assert_eq!(check(&parallel, "1np"), "+0n +2n");
        assert_eq!(check(&parallel, "0nr 1nr 2nr 3nr 4nr"), "-4 -3");
        let partition =
            set(3, json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}}));
        assert_eq!(check(&partition, "0or 1or 2or"), "-2");
        assert_eq!(check(&partition, "0or 2nr"), "+1o");
        assert_eq!(check(&partition, "0or 1or 2nr"), "");
        let manual = set(2, json!({"updateStrategy": {"type": "OnDelete"}}));
        assert_eq!(check(&manual, "0or 1or"), "");
        let shifted = set(1, json!({"ordinals": {"start": 5}}));
        assert_eq!(check(&shifted, ""), "+5n");
    }

    #[test]
    fn names_have_one_form() {
        let cases = [
            ("db-0", Some(0)),
            ("db-12", Some(12)),
            ("db-01", None),
            ("db-x", None),
            ("dbx-1", None),
            ("db-", None),
        ];
        for (name, expect) in cases {
            assert_eq!(ordinal("db", name), expect, "{name}");
        }
    }
}
