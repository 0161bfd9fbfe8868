//! What should happen to a pod next: a pure function of its specification, what the runtime has of it, what
//! the worker remembers, and the time.
//!
//! The plan is made anew after every change, so it holds no state of its own: a crash between any two actions
//! is followed by the same plan as before. Actions that are under way are known by their [`Key`] and are not
//! planned twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container as ContainerSpec, Pod};

use super::{
    backoff::Backoff,
    observed::{Container, Observed, State},
    spec::{self, RestartPolicy, Role},
};
use crate::{limits, sys::clock::after};

/// What an action is about; one action per key at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The pod's volumes.
    Volumes,
    /// The pod's sandbox, being created.
    Sandbox,
    /// A sandbox, being stopped.
    StopSandbox(String),
    /// A container, being started; by name.
    Start(String),
    /// A container, being stopped; by id.
    Kill(String),
    /// A dead container or sandbox, being removed; by id.
    Remove(String),
    /// Everything outside the runtime, being cleaned up.
    TearDown,
    /// The pod, being deleted from the API.
    Delete,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Set the volumes up, or bring them up to date.
    MountVolumes,
    /// Create a sandbox.
    CreateSandbox {
        /// How many there were before.
        attempt: u32,
    },
    /// Stop a sandbox and give its network back.
    StopSandbox {
        /// Which.
        id: String,
    },
    /// Get the image, create and start a container, run its postStart hook.
    Start {
        /// Its name.
        name: String,
        /// Where.
        sandbox_id: String,
        /// How often it was restarted before.
        restarts: u32,
        /// When its last incarnation ended, which is what the next wait counts from.
        after: Option<Timestamp>,
    },
    /// Run the preStop hook, then stop a container.
    Kill {
        /// Which.
        id: String,
        /// Its name.
        name: String,
        /// Seconds between the stop signal and SIGKILL.
        grace_s: i64,
        /// What the event says.
        message: String,
    },
    /// Remove a dead container that is no longer worth keeping, and its log.
    RemoveContainer {
        /// Which.
        id: String,
        /// Its name.
        name: String,
        /// Which incarnation.
        restarts: u32,
    },
    /// Remove a sandbox that was stopped and is empty.
    RemoveSandbox {
        /// Which.
        id: String,
    },
    /// Unmount volumes; what is left of the pod outside the runtime goes.
    TearDown,
    /// Delete the pod from the API: nothing of it runs any more.
    Delete,
}

impl Action {
    /// What it is about.
    pub fn key(&self) -> Key {
        match self {
            Self::MountVolumes => Key::Volumes,
            Self::CreateSandbox { .. } => Key::Sandbox,
            Self::StopSandbox { id } => Key::StopSandbox(id.clone()),
            Self::Start { name, .. } => Key::Start(name.clone()),
            Self::Kill { id, .. } => Key::Kill(id.clone()),
            Self::RemoveContainer { id, .. } | Self::RemoveSandbox { id } => Key::Remove(id.clone()),
            Self::TearDown => Key::TearDown,
            Self::Delete => Key::Delete,
        }
    }
}

/// Why a container does not run, as its status shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// A word such as `CrashLoopBackOff`.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// A start that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartFailure {
    /// A word such as `ErrImagePull`.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// When.
    pub at: Timestamp,
    /// When to try again.
    pub retry_at: Timestamp,
}

/// What probes found out about one incarnation of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// The postStart hook and the startup probe are done.
    pub started: bool,
    /// The readiness probe succeeds, or there is none.
    pub ready: bool,
    /// The liveness probe gave up.
    pub liveness_failed: bool,
    /// The startup probe gave up.
    pub startup_failed: bool,
}

/// Why a pod that could still run must not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// For `status.reason`.
    pub reason: String,
    /// For `status.message`.
    pub message: String,
}

/// What the worker remembers between plans. Losing it costs nothing but repeated waits.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Actions under way.
    pub busy: BTreeSet<Key>,
    /// The API no longer has the pod.
    pub removed: bool,
    /// The pod was stopped by the agent's own decision.
    pub stopped: Option<Stop>,
    /// Volumes are set up.
    pub volumes_ready: bool,
    /// Volumes have to be set up again at this time (at once if it has passed).
    pub volumes_due: Option<Timestamp>,
    /// The sandbox is not tried before.
    pub sandbox_due: Option<Timestamp>,
    /// Sandboxes that were stopped.
    pub sandboxes_stopped: BTreeSet<String>,
    /// Everything outside the runtime is gone.
    pub torn_down: bool,
    /// Cleaning up is not tried before.
    pub teardown_due: Option<Timestamp>,
    /// Deleting from the API is not tried before.
    pub delete_due: Option<Timestamp>,
    /// Starts that failed, by container.
    pub failures: BTreeMap<String, StartFailure>,
    /// Waits between restarts, by container.
    pub restarts: Backoff,
    /// Waits between pulls, by container.
    pub pulls: Backoff,
    /// Grace of the kills under way, by container id.
    pub kills: BTreeMap<String, i64>,
    /// What probes found, by container id.
    pub health: BTreeMap<String, Health>,
}

impl Default for Memory {
    fn default() -> Self {
        let waits = || Backoff::new(limits::RESTART_BACKOFF_MIN, limits::RESTART_BACKOFF_MAX);
        Self {
            busy: BTreeSet::new(),
            removed: false,
            stopped: None,
            volumes_ready: false,
            volumes_due: None,
            sandbox_due: None,
            sandboxes_stopped: BTreeSet::new(),
            torn_down: false,
            teardown_due: None,
            delete_due: None,
            failures: BTreeMap::new(),
            restarts: waits(),
            pulls: waits(),
            kills: BTreeMap::new(),
            health: BTreeMap::new(),
        }
    }
}

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
    fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |earlier| earlier.min(at)));
    }

    fn act(&mut self, memory: &Memory, action: Action) {
        if !memory.busy.contains(&action.key()) {
            self.actions.push(action);
        }
    }

    fn waits(&mut self, name: &str, reason: &str, message: String) {
        self.waiting.insert(name.to_owned(), Waiting { reason: reason.to_owned(), message });
    }
}

/// Decides what should happen to a pod.
pub fn plan(context: Context<'_>) -> Plan {
    let mut plan = Plan { stop: deadline(context), ..Plan::default() };
    let memory = context.memory;
    let ending = memory.removed || memory.stopped.is_some() || plan.stop.is_some();
    if ending || spec::is_deleting(context.pod) || spec::is_terminal(context.pod) || completed(context) {
        stop(context, &mut plan);
    } else {
        start(context, &mut plan);
        if let Some(at) = deadline_at(context.pod) {
            plan.wake_at(at);
        }
        collect(context, &mut plan);
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

fn start(context: Context<'_>, plan: &mut Plan) {
    let Context { pod, observed, memory, now } = context;
    match memory.volumes_due {
        Some(due) if due > now => plan.wake_at(due),
        Some(_) => plan.act(memory, Action::MountVolumes),
        None if !memory.volumes_ready => plan.act(memory, Action::MountVolumes),
        None => {}
    }
    match observed.usable_sandbox(spec::host_network(pod)) {
        None => replace_sandbox(context, plan),
        Some(sandbox) => {
            let id = sandbox.id.clone();
            if init_containers(context, plan, &id) {
                regular_containers(context, plan, &id);
            }
        }
    }
}

/// What is left of earlier sandboxes goes; then there is a new one.
fn replace_sandbox(context: Context<'_>, plan: &mut Plan) {
    let Context { pod, observed, memory, now } = context;
    let grace_s = spec::grace_s(pod);
    for container in observed.running() {
        let message = "Pod sandbox changed, it will be killed and re-created.".to_owned();
        kill(context, plan, container, grace_s, message);
    }
    if observed.running().next().is_some() {
        return;
    }
    let mut left = false;
    for sandbox in &observed.sandboxes {
        if !memory.sandboxes_stopped.contains(&sandbox.id) {
            plan.act(memory, Action::StopSandbox { id: sandbox.id.clone() });
            left = true;
        }
    }
    if left || !memory.volumes_ready {
        return;
    }
    match memory.sandbox_due {
        Some(due) if due > now => plan.wake_at(due),
        _ => {
            let attempt = observed.sandboxes.first().map_or(0, |s| s.attempt + 1);
            plan.act(memory, Action::CreateSandbox { attempt });
        }
    }
}

/// Brings the init containers on; true when the regular ones may run.
fn init_containers(context: Context<'_>, plan: &mut Plan, sandbox_id: &str) -> bool {
    let Context { pod, observed, memory, .. } = context;
    let begun = spec::regular(pod).iter().any(|c| {
        observed.newest_in(sandbox_id, &c.name).is_some() || memory.busy.contains(&Key::Start(c.name.clone()))
    });
    for container in spec::init(pod) {
        let seen = observed.newest_in(sandbox_id, &container.name);
        if spec::is_sidecar(container) {
            let up = sidecar(context, plan, sandbox_id, container, seen);
            if !up && !begun {
                return false;
            }
        } else if !begun && !seen.is_some_and(Container::succeeded) {
            match seen {
                Some(running) if running.state == State::Running => {}
                _ => bring_up(context, plan, sandbox_id, Role::Init, container),
            }
            return false;
        }
    }
    true
}

/// Keeps a sidecar running; true when it has started.
fn sidecar(
    context: Context<'_>,
    plan: &mut Plan,
    sandbox_id: &str,
    container: &ContainerSpec,
    seen: Option<&Container>,
) -> bool {
    match seen {
        Some(running) if running.state == State::Running => {
            keep(context, plan, container, running);
            context.memory.health.get(&running.id).is_some_and(|h| h.started)
        }
        _ => {
            bring_up(context, plan, sandbox_id, Role::Sidecar, container);
            false
        }
    }
}

fn regular_containers(context: Context<'_>, plan: &mut Plan, sandbox_id: &str) {
    let Context { pod, observed, .. } = context;
    for container in spec::regular(pod) {
        match observed.newest(&container.name) {
            Some(running) if running.state == State::Running && running.sandbox_id == sandbox_id => {
                keep(context, plan, container, running);
            }
            Some(stray) if stray.state == State::Running => {
                let message = format!("Stopping container {}", container.name);
                kill(context, plan, stray, spec::grace_s(pod), message);
            }
            seen if restarts(pod, Role::Regular, seen) => {
                bring_up(context, plan, sandbox_id, Role::Regular, container);
            }
            _ => {}
        }
    }
}

/// Leaves a running container alone unless it is unhealthy or no longer what the specification says.
fn keep(context: Context<'_>, plan: &mut Plan, container: &ContainerSpec, running: &Container) {
    let Context { pod, memory, .. } = context;
    let name = &container.name;
    let health = memory.health.get(&running.id).copied().unwrap_or_default();
    let again = if spec::restart_policy(pod) == RestartPolicy::Never && !spec::is_sidecar(container) {
        ""
    } else {
        ", will be restarted"
    };
    let (why, probe) = if !running.hash.is_empty() && running.hash != spec::hash(container) {
        (format!("Container {name} definition changed{again}"), None)
    } else if health.liveness_failed {
        (format!("Container {name} failed liveness probe{again}"), container.liveness_probe.as_ref())
    } else if health.startup_failed {
        (format!("Container {name} failed startup probe{again}"), container.startup_probe.as_ref())
    } else {
        return;
    };
    let own = probe.and_then(|p| p.termination_grace_period_seconds);
    kill(context, plan, running, own.unwrap_or_else(|| spec::grace_s(pod)), why);
}

fn kill(context: Context<'_>, plan: &mut Plan, container: &Container, grace_s: i64, message: String) {
    let memory = context.memory;
    let key = Key::Kill(container.id.clone());
    let shorter = memory.kills.get(&container.id).is_none_or(|under_way| grace_s < *under_way);
    if memory.busy.contains(&key) && !shorter {
        return;
    }
    let (id, name) = (container.id.clone(), container.name.clone());
    plan.actions.push(Action::Kill { id, name, grace_s, message });
}

/// Starts a container, unless it has to wait.
fn bring_up(context: Context<'_>, plan: &mut Plan, sandbox_id: &str, role: Role, container: &ContainerSpec) {
    let Context { pod, observed, memory, now } = context;
    let name = &container.name;
    if memory.busy.contains(&Key::Start(name.clone())) {
        return;
    }
    let seen = observed.newest(name);
    if let Some(stray) = seen.filter(|c| c.state == State::Unknown) {
        return kill(context, plan, stray, spec::grace_s(pod), format!("Stopping container {name}"));
    }
    if let Some(failure) = memory.failures.get(name).filter(|f| f.retry_at > now) {
        return wait_for_retry(plan, container, failure, now);
    }
    let ended = seen.filter(|c| c.state == State::Exited).map(|c| c.finished_at.unwrap_or(c.created_at));
    if let Some(until) = ended.and_then(|at| memory.restarts.until(name, at)).filter(|until| *until > now) {
        let delay = go_duration(memory.restarts.delay(name));
        let message =
            format!("back-off {delay} restarting failed container={name} pod={}", spec::full_name(pod));
        plan.waits(name, "CrashLoopBackOff", message);
        return plan.wake_at(until);
    }
    if !memory.volumes_ready {
        return;
    }
    let restarts = next_restarts(pod, role, name, seen);
    let start =
        Action::Start { name: name.clone(), sandbox_id: sandbox_id.to_owned(), restarts, after: ended };
    plan.act(memory, start);
}

fn wait_for_retry(plan: &mut Plan, container: &ContainerSpec, failure: &StartFailure, now: Timestamp) {
    plan.wake_at(failure.retry_at);
    let shown_until = after(failure.at, limits::PULL_ERROR_SHOWN);
    if failure.reason == "ErrImagePull" && now >= shown_until {
        let image = container.image.as_deref().unwrap_or("");
        let message = format!("Back-off pulling image {image:?}: ErrImagePull: {}", failure.message);
        plan.waits(&container.name, "ImagePullBackOff", message);
    } else {
        if failure.reason == "ErrImagePull" {
            plan.wake_at(shown_until);
        }
        plan.waits(&container.name, &failure.reason, failure.message.clone());
    }
}

/// The restart count of the next incarnation: one more than the runtime or, failing that, the API knows of.
fn next_restarts(pod: &Pod, role: Role, name: &str, seen: Option<&Container>) -> u32 {
    if let Some(seen) = seen {
        return seen.restarts + 1;
    }
    let status = spec::status(pod);
    let known = match role {
        Role::Init | Role::Sidecar => &status.init_container_statuses,
        Role::Regular => &status.container_statuses,
    };
    let before = known.iter().flatten().find(|s| s.name == name && s.container_id.is_some());
    before.map_or(0, |s| u32::try_from(s.restart_count).unwrap_or(0) + 1)
}

/// Regular containers first, then sidecars from the last to the first, then sandboxes, then the rest.
fn stop(context: Context<'_>, plan: &mut Plan) {
    let Context { pod, observed, memory, .. } = context;
    plan.stopping = true;
    let grace_s = spec::grace_s(pod);
    let is_sidecar =
        |c: &Container| spec::container(pod, &c.name).is_some_and(|(role, _)| role == Role::Sidecar);
    let message = |name: &str| format!("Stopping container {name}");
    let others: Vec<&Container> = observed.running().filter(|c| !is_sidecar(c)).collect();
    if others.is_empty() {
        let last = spec::init(pod).iter().rev().find_map(|c| observed.running().find(|r| r.name == c.name));
        if let Some(container) = last {
            kill(context, plan, container, grace_s, message(&container.name));
        }
    }
    for container in others {
        kill(context, plan, container, grace_s, message(&container.name));
    }
    let starting = memory.busy.iter().any(|k| matches!(k, Key::Start(_) | Key::Sandbox | Key::Volumes));
    if observed.running().next().is_some() || starting {
        return;
    }
    let mut left = false;
    for sandbox in observed.sandboxes.iter().filter(|s| !memory.sandboxes_stopped.contains(&s.id)) {
        plan.act(memory, Action::StopSandbox { id: sandbox.id.clone() });
        left = true;
    }
    if left {
        return;
    }
    if memory.torn_down {
        plan.finished = true;
        return delete(context, plan);
    }
    match memory.teardown_due {
        Some(due) if due > context.now => plan.wake_at(due),
        _ => plan.act(memory, Action::TearDown),
    }
}

/// Nothing is left but the object: the API may forget it.
fn delete(context: Context<'_>, plan: &mut Plan) {
    let Context { pod, memory, now, .. } = context;
    let done_here = pod.metadata.deletion_grace_period_seconds == Some(0)
        && pod.metadata.finalizers.as_ref().is_some_and(|f| !f.is_empty());
    // What only waits for finalizers is no longer ours to delete.
    if !spec::is_deleting(pod) || memory.removed || done_here {
        return;
    }
    match memory.delete_due {
        Some(due) if due > now => plan.wake_at(due),
        _ => plan.act(memory, Action::Delete),
    }
}

/// Of each container the newest incarnation and the last dead one are kept; of sandboxes the newest and those
/// that still hold a kept container.
fn collect(context: Context<'_>, plan: &mut Plan) {
    let Context { observed, memory, .. } = context;
    let mut kept: BTreeMap<&str, usize> = BTreeMap::new();
    for container in &observed.containers {
        let newer = kept.entry(&container.name).or_insert(0);
        *newer += 1;
        let dead = matches!(container.state, State::Exited | State::Created);
        if *newer > 2 && dead && !memory.busy.contains(&Key::Start(container.name.clone())) {
            let (id, name) = (container.id.clone(), container.name.clone());
            plan.act(memory, Action::RemoveContainer { id, name, restarts: container.restarts });
        }
    }
    for sandbox in observed.sandboxes.iter().skip(1) {
        let empty = !observed.containers.iter().any(|c| c.sandbox_id == sandbox.id);
        if empty && memory.sandboxes_stopped.contains(&sandbox.id) {
            plan.act(memory, Action::RemoveSandbox { id: sandbox.id.clone() });
        }
    }
}

/// A duration as Go prints whole seconds: `10s`, `1m20s`, `5m0s`.
pub fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}
