//! Bringing a pod up and keeping it up.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container as ContainerSpec, Pod};

use super::{Action, Context, Key, Plan, StartFailure, restarts};
use crate::{
    limits,
    pod::{
        observed::{Container, State},
        spec::{self, RestartPolicy, Role},
    },
    sys::clock::after,
};

pub(super) fn start(context: Context<'_>, plan: &mut Plan) {
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

pub(super) fn kill(
    context: Context<'_>,
    plan: &mut Plan,
    container: &Container,
    grace_s: i64,
    message: String,
) {
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

/// A duration as Go prints whole seconds: `10s`, `1m20s`, `5m0s`.
pub fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}
