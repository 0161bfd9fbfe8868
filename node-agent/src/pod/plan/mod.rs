//! What should happen to a pod next: a pure function of its specification, what the runtime has of it, what
//! the worker remembers, and the time.
//!
//! The plan is made anew after every change, so it holds no state of its own: a crash between any two actions
//! is followed by the same plan as before. Actions that are under way are known by their [`Key`] and are not
//! planned twice.

mod action;
mod memory;
mod start;
mod stop;

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container as ContainerSpec, Pod};

pub use self::{
    action::{Action, Key},
    memory::{Health, Memory, StartFailure, Stop, Waiting},
};
use super::{
    observed::{Container, Observed, State},
    spec::{self, RestartPolicy, Role},
};
use crate::sys::clock::after;

/// What a pod's plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// What the API wants.
    pub pod: &'a Pod,
    /// What the runtime has.
    pub observed: &'a Observed,
    /// What the worker remembers.
    pub memory: &'a Memory,
    /// The time.
    pub now: Timestamp,
}

/// The outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What to do now, in order; independent actions may run at the same time.
    pub actions: Vec<Action>,
    /// When to plan again even if nothing happens.
    pub wake: Option<Timestamp>,
    /// Containers that wait, and why.
    pub waiting: BTreeMap<String, Waiting>,
    /// The pod is to stop, or has.
    pub stopping: bool,
    /// Nothing of the pod runs any more and nothing of it is left outside the runtime.
    pub finished: bool,
    /// The agent's own reason to stop the pod, to be remembered.
    pub stop: Option<Stop>,
}

impl Plan {
    pub(super) fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |earlier| earlier.min(at)));
    }

    pub(super) fn act(&mut self, memory: &Memory, action: Action) {
        if !memory.busy.contains(&action.key()) {
            self.actions.push(action);
        }
    }

    pub(super) fn waits(&mut self, name: &str, reason: &str, message: String) {
        self.waiting.insert(name.to_owned(), Waiting { reason: reason.to_owned(), message });
    }
}

/// Decides what should happen to a pod.
pub fn plan(context: Context<'_>) -> Plan {
    let mut plan = Plan { stop: deadline(context), ..Plan::default() };
    let memory = context.memory;
    let ending = memory.removed || memory.stopped.is_some() || plan.stop.is_some();
    if ending || spec::is_deleting(context.pod) || spec::is_terminal(context.pod) || completed(context) {
        stop::stop(context, &mut plan);
    } else {
        start::start(context, &mut plan);
        if let Some(at) = deadline_at(context.pod) {
            plan.wake_at(at);
        }
        stop::collect(context, &mut plan);
    }
    plan
}

fn deadline_at(pod: &Pod) -> Option<Timestamp> {
    let seconds = u64::try_from(spec::of(pod).active_deadline_seconds?).ok()?;
    let start = spec::status(pod).start_time.as_ref()?;
    Some(after(start.0, Duration::from_secs(seconds)))
}

fn deadline(context: Context<'_>) -> Option<Stop> {
    let due = deadline_at(context.pod)? <= context.now && !spec::is_terminal(context.pod);
    due.then(|| Stop {
        reason: "DeadlineExceeded".into(),
        message: "Pod was active on the node longer than the specified deadline".into(),
    })
}

/// Whether every container has ended and none is to be started again.
fn completed(context: Context<'_>) -> bool {
    let Context { pod, observed, .. } = context;
    if spec::restart_policy(pod) == RestartPolicy::Always || observed.containers.is_empty() {
        return false;
    }
    let never = spec::restart_policy(pod) == RestartPolicy::Never;
    let init_failed = spec::init(pod).iter().filter(|c| !spec::is_sidecar(c)).any(|c| {
        observed.newest(&c.name).is_some_and(|seen| seen.state == State::Exited && seen.exit_code != 0)
    });
    if never && init_failed {
        return true;
    }
    let done = |c: &ContainerSpec| {
        observed.newest(&c.name).is_some_and(|seen| !restarts(pod, Role::Regular, Some(seen)))
    };
    spec::regular(pod)
        .iter()
        .all(|c| done(c) && observed.newest(&c.name).is_some_and(|s| s.state == State::Exited))
}

/// Whether a container that is in this state is to be started (again).
fn restarts(pod: &Pod, role: Role, seen: Option<&Container>) -> bool {
    let Some(seen) = seen else { return true };
    match seen.state {
        State::Running => false,
        State::Created | State::Unknown => true,
        State::Exited => match spec::restart_policy_of(pod, role) {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => seen.exit_code != 0,
            RestartPolicy::Never => false,
        },
    }
}
