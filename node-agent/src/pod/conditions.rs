//! The conditions of a pod that the agent owns. Others (readiness gates, PodScheduled of the scheduler) are
//! only read.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition, PodStatus};

use super::{
    plan::Context,
    spec::{self, Role},
    status::whole_seconds,
};

/// Types of the conditions the agent writes.
pub const OWNED: [&str; 5] =
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

struct Verdict {
    holds: bool,
    reason: &'static str,
    message: String,
}

impl Verdict {
    fn yes() -> Self {
        Self { holds: true, reason: "", message: String::new() }
    }

    fn no(reason: &'static str, message: String) -> Self {
        Self { holds: false, reason, message }
    }
}

/// Computes them for a status that is complete but for its conditions.
pub fn of(context: Context<'_>, status: &PodStatus, last: &PodStatus) -> Vec<PodCondition> {
    let pod = context.pod;
    let containers_ready = containers_ready(pod, status);
    let ready = ready(pod, &containers_ready);
    let verdicts = [sandbox(context), initialized(pod, status), ready, containers_ready, Verdict::yes()];
    let condition = |(r#type, verdict): (&str, Verdict)| condition(context, r#type, verdict, last);
    OWNED.into_iter().zip(verdicts).map(condition).collect()
}

/// Whether a pod serves, according to a status.
pub fn is_ready(status: &PodStatus) -> bool {
    status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

fn condition(context: Context<'_>, r#type: &str, verdict: Verdict, last: &PodStatus) -> PodCondition {
    let status = if verdict.holds { "True" } else { "False" };
    let before = last.conditions.iter().flatten().find(|c| c.type_ == r#type);
    let since = before.filter(|c| c.status == status).and_then(|c| c.last_transition_time.clone());
    PodCondition {
        type_: r#type.to_owned(),
        status: status.to_owned(),
        reason: (!verdict.reason.is_empty()).then(|| verdict.reason.to_owned()),
        message: (!verdict.message.is_empty()).then_some(verdict.message),
        last_transition_time: since.or_else(|| Some(whole_seconds(context.now))),
        last_probe_time: None,
        observed_generation: context.pod.metadata.generation,
    }
}

fn sandbox(context: Context<'_>) -> Verdict {
    match context.observed.usable_sandbox(spec::host_network(context.pod)) {
        Some(_) => Verdict::yes(),
        None => Verdict::no("", String::new()),
    }
}

fn names<'a>(statuses: impl Iterator<Item = &'a ContainerStatus>) -> String {
    let names: Vec<&str> = statuses.map(|s| s.name.as_str()).collect();
    format!("[{}]", names.join(" "))
}

fn initialized(pod: &Pod, status: &PodStatus) -> Verdict {
    if status.phase.as_deref() == Some("Succeeded") {
        return Verdict { holds: true, reason: "PodCompleted", message: String::new() };
    }
    let rows = status.init_container_statuses.as_deref().unwrap_or(&[]);
    let begun = status.container_statuses.iter().flatten().any(|s| s.container_id.is_some());
    let incomplete = |s: &&ContainerStatus| match spec::container(pod, &s.name) {
        Some((Role::Sidecar, _)) => !s.started.unwrap_or(false) && !begun,
        _ => !s.ready && !begun,
    };
    let left: Vec<&ContainerStatus> = rows.iter().filter(incomplete).collect();
    if left.is_empty() {
        return Verdict::yes();
    }
    let message = format!("containers with incomplete status: {}", names(left.into_iter()));
    Verdict::no("ContainersNotInitialized", message)
}

fn containers_ready(pod: &Pod, status: &PodStatus) -> Verdict {
    match status.phase.as_deref() {
        Some("Succeeded") => return Verdict::no("PodCompleted", String::new()),
        Some("Failed") => return Verdict::no("PodFailed", String::new()),
        _ => {}
    }
    let sidecar = |s: &&ContainerStatus| matches!(spec::container(pod, &s.name), Some((Role::Sidecar, _)));
    let sidecars = status.init_container_statuses.iter().flatten().filter(sidecar);
    let rows = sidecars.chain(status.container_statuses.iter().flatten());
    let unready: Vec<&ContainerStatus> = rows.filter(|s| !s.ready).collect();
    if unready.is_empty() {
        return Verdict::yes();
    }
    let message = format!("containers with unready status: {}", names(unready.into_iter()));
    Verdict::no("ContainersNotReady", message)
}

fn ready(pod: &Pod, containers: &Verdict) -> Verdict {
    if !containers.holds {
        return Verdict { holds: false, reason: containers.reason, message: containers.message.clone() };
    }
    let present = spec::status(pod).conditions.as_deref().unwrap_or(&[]);
    let mut missing = Vec::new();
    for gate in spec::of(pod).readiness_gates.iter().flatten() {
        let name = &gate.condition_type;
        match present.iter().find(|c| c.type_ == *name) {
            None => missing
                .push(format!("corresponding condition of pod readiness gate {name:?} does not exist.")),
            Some(c) if c.status != "True" => {
                missing.push(format!(
                    "the status of pod readiness gate {name:?} is not \"True\", but {}",
                    c.status
                ));
            }
            Some(_) => {}
        }
    }
    if missing.is_empty() {
        Verdict::yes()
    } else {
        Verdict::no("ReadinessGatesNotReady", missing.join(", "))
    }
}
