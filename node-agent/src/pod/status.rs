//! The pod's status as the API shows it: a pure function of the same inputs as the plan, and of the plan.
//!
//! Rules and words are upstream's (kubelet `convertToAPIContainerStatuses`): a container that waits to be
//! started again shows why it waits and keeps its last end in `lastState`.

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{
        Container as ContainerSpec, ContainerState, ContainerStateRunning, ContainerStateTerminated,
        ContainerStateWaiting, ContainerStatus, HostIP, PodIP, PodStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::{
    conditions,
    observed::{Container, State},
    phase::{self, Phase},
    plan::{Context, Plan},
    resources,
    spec::{self, Role},
};

/// Facts about the node that end up in pods' statuses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// The node's addresses.
    pub ips: Vec<String>,
    /// Name of the runtime, the scheme of container ids.
    pub runtime: String,
}

/// Computes the status. `last` is what was reported before (by this agent or the one before it).
pub fn generate(context: Context<'_>, plan: &Plan, node: &Node, last: &PodStatus) -> PodStatus {
    let pod = context.pod;
    let rows = |role_is_init: bool, specs: &[ContainerSpec], last: &Option<Vec<ContainerStatus>>| {
        let row = |c: &ContainerSpec| {
            let role = match (role_is_init, spec::is_sidecar(c)) {
                (true, true) => Role::Sidecar,
                (true, false) => Role::Init,
                (false, _) => Role::Regular,
            };
            let before = last.iter().flatten().find(|s| s.name == c.name);
            container(context, plan, node, role, c, before)
        };
        specs.iter().map(row).collect::<Vec<_>>()
    };
    let init = rows(true, spec::init(pod), &last.init_container_statuses);
    let regular = rows(false, spec::regular(pod), &last.container_statuses);
    let stop = context.memory.stopped.as_ref().or(plan.stop.as_ref());
    let phase = phase::of(pod, &init, &regular, stop.is_some(), plan.stopping, last.phase.as_deref());
    let mut status = PodStatus {
        phase: Some(phase.as_str().to_owned()),
        qos_class: Some(resources::qos(pod).as_str().to_owned()),
        observed_generation: pod.metadata.generation,
        start_time: last.start_time.clone().or_else(|| Some(whole_seconds(context.now))),
        host_ip: node.ips.first().cloned(),
        host_ips: Some(node.ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect()),
        reason: stop.map(|s| s.reason.clone()).or_else(|| last.reason.clone()),
        message: stop.map(|s| s.message.clone()).or_else(|| last.message.clone()),
        init_container_statuses: (!init.is_empty()).then_some(init),
        container_statuses: Some(regular),
        ..PodStatus::default()
    };
    addresses(context, node, phase, last, &mut status);
    status.conditions = Some(conditions::of(context, &status, last));
    status
}

/// A Time without its fraction, which the API would drop.
pub fn whole_seconds(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

fn addresses(context: Context<'_>, node: &Node, phase: Phase, last: &PodStatus, status: &mut PodStatus) {
    let ips = if spec::host_network(context.pod) {
        node.ips.clone()
    } else {
        context.observed.sandboxes.first().filter(|s| s.ready).map(|s| s.ips.clone()).unwrap_or_default()
    };
    if !ips.is_empty() {
        status.pod_ip = ips.first().cloned();
        status.pod_ips = Some(ips.into_iter().map(|ip| PodIP { ip }).collect());
    } else if phase.is_terminal() || context.memory.removed || spec::is_deleting(context.pod) {
        status.pod_ip.clone_from(&last.pod_ip);
        status.pod_ips.clone_from(&last.pod_ips);
    }
}

fn container(
    context: Context<'_>,
    plan: &Plan,
    node: &Node,
    role: Role,
    container: &ContainerSpec,
    before: Option<&ContainerStatus>,
) -> ContainerStatus {
    let seen = context.observed.newest(&container.name);
    let Some(seen) = seen else { return unseen(context, plan, container, before) };
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: if seen.image.is_empty() {
            container.image.clone().unwrap_or_default()
        } else {
            seen.image.clone()
        },
        image_id: seen.image_id.clone(),
        container_id: Some(id_of(node, seen)),
        restart_count: i32::try_from(seen.restarts).unwrap_or(i32::MAX),
        started: Some(false),
        ..ContainerStatus::default()
    };
    let previous = context.observed.previous(&container.name).filter(|p| p.state == State::Exited);
    status.last_state = previous.map(|p| terminated(node, p)).or_else(|| {
        before.filter(|b| b.restart_count == status.restart_count).and_then(|b| b.last_state.clone())
    });
    match seen.state {
        State::Running => {
            let health = context.memory.health.get(&seen.id).copied().unwrap_or_default();
            status.state = Some(running(seen));
            status.started = Some(health.started);
            status.ready = health.started && health.ready && role != Role::Init;
        }
        State::Exited => {
            status.state = Some(terminated(node, seen));
            status.ready = role == Role::Init && seen.exit_code == 0;
        }
        State::Created => status.state = Some(waiting("ContainerCreating", "")),
        State::Unknown => {
            status.state = before.and_then(|b| b.state.clone()).or_else(|| Some(lost(Some(seen), node)));
        }
    }
    if let Some(why) = plan.waiting.get(&container.name).filter(|_| seen.state != State::Running) {
        if seen.state == State::Exited {
            status.last_state = status.state.take();
        }
        status.state = Some(waiting(&why.reason, &why.message));
        status.ready = false;
    }
    status
}

/// A container the runtime has nothing of: not started yet, or long gone.
fn unseen(
    context: Context<'_>,
    plan: &Plan,
    container: &ContainerSpec,
    before: Option<&ContainerStatus>,
) -> ContainerStatus {
    let has_init = !spec::init(context.pod).is_empty();
    let fresh = || ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        state: Some(waiting(if has_init { "PodInitializing" } else { "ContainerCreating" }, "")),
        started: Some(false),
        ..ContainerStatus::default()
    };
    let mut status = match before {
        Some(before) if before.container_id.is_some() => known(context, before, fresh()),
        _ => fresh(),
    };
    if let Some(why) = plan.waiting.get(&container.name) {
        status.state = Some(waiting(&why.reason, &why.message));
        status.ready = false;
    }
    status
}

/// The runtime lost a container the API knows of: what had ended stays ended; what ran is said to be lost.
fn known(context: Context<'_>, before: &ContainerStatus, fresh: ContainerStatus) -> ContainerStatus {
    let state = before.state.clone().unwrap_or_default();
    if state.terminated.is_some() {
        return ContainerStatus { started: Some(false), ..before.clone() };
    }
    let gone = ContainerState { terminated: Some(unknown_end(before)), ..ContainerState::default() };
    let base = ContainerStatus { ready: false, started: Some(false), ..before.clone() };
    if spec::is_deleting(context.pod) || context.memory.removed {
        return ContainerStatus { state: Some(gone), ..base };
    }
    if state.running.is_none() {
        return ContainerStatus { state: before.state.clone().or(fresh.state), ..base };
    }
    ContainerStatus { state: fresh.state, last_state: Some(gone), ..base }
}

fn unknown_end(before: &ContainerStatus) -> ContainerStateTerminated {
    ContainerStateTerminated {
        reason: Some("ContainerStatusUnknown".into()),
        message: Some("The container could not be located when the pod was terminated".into()),
        exit_code: 137,
        container_id: before.container_id.clone(),
        ..ContainerStateTerminated::default()
    }
}

fn lost(seen: Option<&Container>, node: &Node) -> ContainerState {
    let end = ContainerStateTerminated {
        reason: Some("ContainerStatusUnknown".into()),
        message: Some("The container could not be located".into()),
        exit_code: 137,
        container_id: seen.map(|c| id_of(node, c)),
        ..ContainerStateTerminated::default()
    };
    ContainerState { terminated: Some(end), ..ContainerState::default() }
}

fn id_of(node: &Node, container: &Container) -> String {
    format!("{}://{}", node.runtime, container.id)
}

fn running(container: &Container) -> ContainerState {
    let started_at = Some(whole_seconds(container.started_at.unwrap_or(container.created_at)));
    ContainerState { running: Some(ContainerStateRunning { started_at }), ..ContainerState::default() }
}

fn waiting(reason: &str, message: &str) -> ContainerState {
    let waiting = ContainerStateWaiting {
        reason: Some(reason.to_owned()),
        message: (!message.is_empty()).then(|| message.to_owned()),
    };
    ContainerState { waiting: Some(waiting), ..ContainerState::default() }
}

fn terminated(node: &Node, container: &Container) -> ContainerState {
    let reason = match (container.reason.as_str(), container.exit_code) {
        ("", 0) => "Completed",
        ("", _) => "Error",
        (reason, _) => reason,
    };
    let end = ContainerStateTerminated {
        container_id: Some(id_of(node, container)),
        exit_code: container.exit_code,
        reason: Some(reason.to_owned()),
        message: (!container.message.is_empty()).then(|| container.message.clone()),
        started_at: Some(whole_seconds(container.started_at.unwrap_or(Timestamp::UNIX_EPOCH))),
        finished_at: Some(whole_seconds(container.finished_at.unwrap_or(Timestamp::UNIX_EPOCH))),
        signal: None,
    };
    ContainerState { terminated: Some(end), ..ContainerState::default() }
}
