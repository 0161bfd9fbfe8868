//! Questions to a pod's specification that many parts ask, with the defaults of the API in one place.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Container, Pod, PodSpec, PodStatus},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::limits;

/// When a container that ended is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Whatever its exit code.
    Always,
    /// If it failed.
    OnFailure,
    /// Not at all.
    Never,
}

/// A container's place in the life of its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs to its end before the next starts.
    Init,
    /// Starts in its turn among the init containers, then runs as long as the pod.
    Sidecar,
    /// What the pod is for.
    Regular,
}

/// What a pod is called in logs and messages.
pub fn full_name(pod: &Pod) -> String {
    format!("{}_{}({})", name(pod), namespace(pod), uid(pod))
}

/// `metadata.name`.
pub fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or("")
}

/// `metadata.namespace`.
pub fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or("")
}

/// `metadata.uid`.
pub fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or("")
}

/// The specification; an empty one for a pod without.
pub fn of(pod: &Pod) -> &PodSpec {
    static EMPTY: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);
    pod.spec.as_ref().unwrap_or(&EMPTY)
}

/// The status as the API last had it.
pub fn status(pod: &Pod) -> &PodStatus {
    static EMPTY: std::sync::LazyLock<PodStatus> = std::sync::LazyLock::new(PodStatus::default);
    pod.status.as_ref().unwrap_or(&EMPTY)
}

/// Init containers and sidecars, in order.
pub fn init(pod: &Pod) -> &[Container] {
    of(pod).init_containers.as_deref().unwrap_or(&[])
}

/// Regular containers.
pub fn regular(pod: &Pod) -> &[Container] {
    &of(pod).containers
}

/// All containers with their roles, init containers first.
pub fn containers(pod: &Pod) -> impl Iterator<Item = (Role, &Container)> {
    let first = init(pod).iter().map(|c| (if is_sidecar(c) { Role::Sidecar } else { Role::Init }, c));
    first.chain(regular(pod).iter().map(|c| (Role::Regular, c)))
}

/// One container by name.
pub fn container<'a>(pod: &'a Pod, name: &str) -> Option<(Role, &'a Container)> {
    containers(pod).find(|(_, c)| c.name == name)
}

/// Whether an init container goes on running beside the regular ones.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// `spec.restartPolicy`.
pub fn restart_policy(pod: &Pod) -> RestartPolicy {
    match of(pod).restart_policy.as_deref() {
        Some("Never") => RestartPolicy::Never,
        Some("OnFailure") => RestartPolicy::OnFailure,
        _ => RestartPolicy::Always,
    }
}

/// The policy that holds for one container.
pub fn restart_policy_of(pod: &Pod, role: Role) -> RestartPolicy {
    match (role, restart_policy(pod)) {
        (Role::Sidecar, _) => RestartPolicy::Always,
        // An init container that succeeded is done even where the others restart always.
        (Role::Init, RestartPolicy::Always) => RestartPolicy::OnFailure,
        (Role::Init | Role::Regular, policy) => policy,
    }
}

/// Seconds a container gets between its stop signal and SIGKILL.
pub fn grace_s(pod: &Pod) -> i64 {
    let asked = pod.metadata.deletion_timestamp.as_ref().and(pod.metadata.deletion_grace_period_seconds);
    let grace = asked.or(of(pod).termination_grace_period_seconds).unwrap_or(limits::GRACE_S_DEFAULT);
    grace.max(limits::GRACE_S_MIN)
}

/// Whether the pod shares the node's network.
pub fn host_network(pod: &Pod) -> bool {
    of(pod).host_network.unwrap_or(false)
}

/// Whether the API asks for the pod to go.
pub fn is_deleting(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether the API says the pod has ended for good.
pub fn is_terminal(pod: &Pod) -> bool {
    matches!(status(pod).phase.as_deref(), Some("Succeeded" | "Failed"))
}

/// A map of metadata; empty if absent.
pub fn map(map: &Option<BTreeMap<String, String>>) -> &BTreeMap<String, String> {
    static EMPTY: BTreeMap<String, String> = BTreeMap::new();
    map.as_ref().unwrap_or(&EMPTY)
}

/// Labels of an object.
pub fn labels(meta: &ObjectMeta) -> &BTreeMap<String, String> {
    map(&meta.labels)
}

/// Annotations of an object.
pub fn annotations(meta: &ObjectMeta) -> &BTreeMap<String, String> {
    map(&meta.annotations)
}

/// FNV-1a over what cannot change without a restart of the container: its name and image.
pub fn hash(container: &Container) -> String {
    let image = container.image.as_deref().unwrap_or("");
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in container.name.bytes().chain([0]).chain(image.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{hash:x}")
}
