//! Bringing a pod down in order, and clearing away what is dead.

use std::collections::BTreeMap;

use super::{Action, Context, Key, Plan, start::kill};
use crate::pod::{
    observed::{Container, State},
    spec::{self, Role},
};

/// Regular containers first, then sidecars from the last to the first, then sandboxes, then the rest.
pub(super) fn stop(context: Context<'_>, plan: &mut Plan) {
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
pub(super) fn collect(context: Context<'_>, plan: &mut Plan) {
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
