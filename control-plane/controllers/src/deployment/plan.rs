//! What a Deployment needs now, decided on copies of its ReplicaSets. Pure.
//!
//! One pass takes one kind of step (find or create the ReplicaSet of the template, grow it, shrink the old ones,
//! clean up) and looks again when the cluster has followed, as upstream does.

use std::time::Duration;

use client::refs;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};

use super::{revision, rolling, scaling, status};

/// All a plan is made from.
pub(super) struct Observed<'a> {
    pub(super) deployment: &'a Deployment,
    /// The ReplicaSets it controls.
    pub(super) sets: Vec<ReplicaSet>,
    /// UIDs of those that still have pods which have not ended.
    pub(super) running: Vec<String>,
    pub(super) now: Timestamp,
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// Create the ReplicaSet of the present template.
    Create(Box<ReplicaSet>),
    /// Write size, minReadySeconds and annotations of a ReplicaSet.
    Change {
        /// As it should be; its resource version is the one seen.
        set: Box<ReplicaSet>,
        /// Its size before.
        from: i32,
    },
    /// Delete one that is too old.
    Delete(Box<ReplicaSet>),
    /// Note the newest revision on the Deployment.
    Revise(i64),
}

/// What to do, in order, and what to report.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) actions: Vec<Action>,
    pub(super) status: DeploymentStatus,
    pub(super) recheck: Option<Duration>,
}

/// Decides the next step.
pub(super) fn plan(observed: Observed<'_>) -> Plan {
    let mut draft = Draft::new(observed);
    let deployment = draft.deployment;
    let spec = deployment.spec.as_ref();
    if refs::is_terminating(deployment) {
        let status = status::count(deployment, &draft.status, &draft.sets, draft.new, draft.now);
        return draft.finish(status);
    }
    status::note_pause(deployment, &mut draft.status, draft.now);
    let paused = spec.and_then(|s| s.paused) == Some(true);
    if paused || scaling::is_scaling(&draft.sets, draft.bounds) {
        draft.revise();
        draft.scale();
        if paused {
            draft.clean_up();
        }
        let status = status::count(deployment, &draft.status, &draft.sets, draft.new, draft.now);
        return draft.finish(status);
    }
    if rolling::is_recreate(deployment) {
        draft.recreate()
    } else {
        draft.roll()
    }
    let status = status::of_rollout(deployment, &draft.status, &draft.sets, draft.new, draft.now);
    draft.finish(status)
}

struct Draft<'a> {
    deployment: &'a Deployment,
    now: Timestamp,
    bounds: rolling::Bounds,
    running: Vec<String>,
    /// As they will be.
    sets: Vec<ReplicaSet>,
    /// As they are.
    seen: Vec<ReplicaSet>,
    /// The one of the present template.
    new: Option<usize>,
    status: DeploymentStatus,
    created: bool,
    doomed: Vec<usize>,
    revision: Option<i64>,
}

impl<'a> Draft<'a> {
    fn new(observed: Observed<'a>) -> Self {
        let Observed { deployment, mut sets, running, now } = observed;
        sets.sort_by_key(rolling::by_age);
        let template = deployment.spec.as_ref().map(|s| &s.template);
        let new = template.and_then(|t| sets.iter().position(|set| revision::has_template(set, t)));
        Self {
            deployment,
            now,
            bounds: rolling::bounds(deployment),
            running,
            seen: sets.clone(),
            sets,
            new,
            status: deployment.status.clone().unwrap_or_default(),
            created: false,
            doomed: Vec::new(),
            revision: None,
        }
    }

    /// Brings annotations and revision of the newest ReplicaSet up to date, if there is one.
    fn revise(&mut self) {
        let Some(new) = self.new else { return };
        let newest = self.old().map(|i| revision::revision(&self.sets[i])).max().unwrap_or(0) + 1;
        let set = &mut self.sets[new];
        revision::annotate(set, self.deployment, newest);
        let min_ready = self.deployment.spec.as_ref().and_then(|s| s.min_ready_seconds);
        if let Some(spec) = &mut set.spec
            && spec.min_ready_seconds.unwrap_or(0) != min_ready.unwrap_or(0)
        {
            spec.min_ready_seconds = Some(min_ready.unwrap_or(0));
        }
        self.revision = Some(revision::revision(set));
        status::note_new_set(self.deployment, &mut self.status, refs::name(set), self.created, self.now);
    }

    /// The same, and creates it first if it is missing.
    fn revise_or_create(&mut self) {
        if self.new.is_none()
            && let Some(mut set) = revision::new_set(self.deployment)
        {
            let total = rolling::total_size(&self.sets);
            let size = rolling::size_of_new(self.bounds, rolling::is_recreate(self.deployment), 0, total);
            if let Some(spec) = &mut set.spec {
                spec.replicas = Some(size);
            }
            revision::annotate_size(&mut set, self.bounds.desired, self.bounds.desired + self.bounds.surge);
            self.new = Some(self.sets.len());
            self.created = true;
            self.seen.push(set.clone());
            self.sets.push(set);
        }
        self.revise();
    }

    fn roll(&mut self) {
        self.revise_or_create();
        let Some(new) = self.new else { return };
        let before = rolling::size(&self.sets[new]);
        let total = rolling::total_size(&self.sets);
        let size = rolling::size_of_new(self.bounds, false, before, total);
        if self.created || size != before {
            return self.resize(new, size);
        }
        let old: Vec<usize> = self.old().collect();
        let old_sets: Vec<ReplicaSet> = old.iter().map(|i| self.sets[*i].clone()).collect();
        let shrunk = rolling::shrink_old(self.bounds, &self.sets[new], &old_sets);
        if !shrunk.is_empty() {
            return shrunk.into_iter().for_each(|(i, size)| self.resize(old[i], size));
        }
        self.clean_up_if_complete();
    }

    fn recreate(&mut self) {
        self.revise();
        let active: Vec<usize> = self.old().filter(|i| rolling::size(&self.sets[*i]) > 0).collect();
        if !active.is_empty() {
            return active.into_iter().for_each(|i| self.resize(i, 0));
        }
        if self.old().any(|i| self.running.iter().any(|uid| uid == refs::uid(&self.sets[i]))) {
            return;
        }
        self.revise_or_create();
        if let Some(new) = self.new {
            self.resize(new, self.bounds.desired);
        }
        self.clean_up_if_complete();
    }

    fn scale(&mut self) {
        let replicas = self.status.replicas.unwrap_or(0);
        let recreate = rolling::is_recreate(self.deployment);
        for (i, size) in scaling::share(&self.sets, self.new, self.bounds, recreate, replicas) {
            self.resize(i, size);
        }
    }

    fn resize(&mut self, index: usize, size: i32) {
        let set = &mut self.sets[index];
        if let Some(spec) = &mut set.spec {
            spec.replicas = Some(size);
        }
        revision::annotate_size(set, self.bounds.desired, self.bounds.desired + self.bounds.surge);
    }

    fn clean_up_if_complete(&mut self) {
        if self.deployment.status.as_ref().is_some_and(|s| status::is_complete(self.deployment, s)) {
            self.clean_up();
        }
    }

    /// Marks the oldest superfluous revisions for deletion, those that are empty and settled.
    fn clean_up(&mut self) {
        let limit = self.deployment.spec.as_ref().and_then(|s| s.revision_history_limit);
        let Some(limit) = limit.filter(|l| *l != i32::MAX).and_then(|l| usize::try_from(l).ok()) else {
            return;
        };
        let mut old: Vec<usize> = self.old().filter(|i| !refs::is_terminating(&self.sets[*i])).collect();
        old.sort_by_key(|i| revision::revision(&self.sets[*i]));
        let surplus = old.len().saturating_sub(limit);
        let settled = |set: &ReplicaSet| {
            let status = set.status.as_ref();
            rolling::size(set) == 0
                && status.is_none_or(|s| s.replicas == 0)
                && set.metadata.generation <= status.and_then(|s| s.observed_generation)
        };
        self.doomed = old.into_iter().take(surplus).filter(|i| settled(&self.sets[*i])).collect();
    }

    fn old(&self) -> impl Iterator<Item = usize> + use<> {
        let new = self.new;
        (0..self.sets.len()).filter(move |i| Some(*i) != new)
    }

    fn finish(self, status: DeploymentStatus) -> Plan {
        let mut actions = Vec::new();
        for (i, (set, seen)) in self.sets.iter().zip(&self.seen).enumerate() {
            if self.created && Some(i) == self.new {
                actions.push(Action::Create(Box::new(set.clone())));
            } else if self.doomed.contains(&i) {
                actions.push(Action::Delete(Box::new(set.clone())));
            } else if set != seen {
                actions.push(Action::Change { set: Box::new(set.clone()), from: rolling::size(seen) });
            }
        }
        let noted = revision::number(self.deployment.metadata.annotations.as_ref(), revision::REVISION);
        if let Some(revision) = self.revision.filter(|r| *r > 0 && noted != Some(*r)) {
            actions.push(Action::Revise(revision));
        }
        let recheck = status::recheck(self.deployment, &status, self.now);
        Plan { actions, status, recheck }
    }
}
