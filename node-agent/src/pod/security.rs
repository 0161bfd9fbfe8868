//! Security contexts: what the pod and the container ask for, as CRI says it.

use k8s_openapi::api::core::v1::{
    Container, Pod, PodSecurityContext, SELinuxOptions, SeccompProfile, SecurityContext,
};

use super::spec;
use crate::cri::v1;

/// What a container may not look at unless it is privileged (or asks for `procMount: Unmasked`).
const MASKED: [&str; 10] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
];
/// What a container may not write to unless it is privileged.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn of_pod(pod: &Pod) -> PodSecurityContext {
    spec::of(pod).security_context.clone().unwrap_or_default()
}

fn of_container(container: &Container) -> SecurityContext {
    container.security_context.clone().unwrap_or_default()
}

fn number(value: Option<i64>) -> Option<v1::Int64Value> {
    value.map(|value| v1::Int64Value { value })
}

/// The namespaces a pod's sandbox has of its own.
pub fn namespaces(pod: &Pod) -> v1::NamespaceOption {
    let spec = spec::of(pod);
    let mode = |node: Option<bool>, own: v1::NamespaceMode| {
        if node.unwrap_or(false) { v1::NamespaceMode::Node as i32 } else { own as i32 }
    };
    let pid = if spec.share_process_namespace.unwrap_or(false) {
        v1::NamespaceMode::Pod
    } else {
        v1::NamespaceMode::Container
    };
    v1::NamespaceOption {
        network: mode(spec.host_network, v1::NamespaceMode::Pod),
        ipc: mode(spec.host_ipc, v1::NamespaceMode::Pod),
        pid: mode(spec.host_pid, pid),
        ..v1::NamespaceOption::default()
    }
}

/// The groups every process of a pod is in besides its own.
pub fn supplemental_groups(pod: &Pod) -> Vec<i64> {
    let context = of_pod(pod);
    context.supplemental_groups.into_iter().flatten().chain(context.fs_group).collect()
}

/// The sandbox's security context.
pub fn sandbox(pod: &Pod) -> v1::LinuxSandboxSecurityContext {
    let context = of_pod(pod);
    let privileged = spec::containers(pod).any(|(_, c)| of_container(c).privileged.unwrap_or(false));
    v1::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod)),
        selinux_options: context.se_linux_options.as_ref().map(selinux),
        run_as_user: number(context.run_as_user),
        run_as_group: number(context.run_as_group),
        supplemental_groups: supplemental_groups(pod),
        supplemental_groups_policy: policy(&context),
        privileged,
        seccomp: Some(seccomp(context.seccomp_profile.as_ref())),
        ..v1::LinuxSandboxSecurityContext::default()
    }
}

/// A container's security context. `image_user` is the user of the image, for `runAsNonRoot`.
pub fn container(
    pod: &Pod,
    container: &Container,
    image_user: &ImageUser,
) -> Result<v1::LinuxContainerSecurityContext, String> {
    let (shared, own) = (of_pod(pod), of_container(container));
    let run_as_user = own.run_as_user.or(shared.run_as_user);
    if own.run_as_non_root.or(shared.run_as_non_root).unwrap_or(false) {
        verify_non_root(pod, container, run_as_user, image_user)?;
    }
    let privileged = own.privileged.unwrap_or(false);
    let unmasked = privileged || own.proc_mount.as_deref() == Some("Unmasked");
    let paths = |list: &[&str]| list.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
    let capabilities = own.capabilities.unwrap_or_default();
    let (user_id, user_name) = match (run_as_user, image_user) {
        (Some(id), _) => (Some(id), String::new()),
        (None, ImageUser::Id(id)) => (Some(*id), String::new()),
        (None, ImageUser::Name(name)) => (None, name.clone()),
    };
    Ok(v1::LinuxContainerSecurityContext {
        capabilities: Some(v1::Capability {
            add_capabilities: capabilities.add.unwrap_or_default(),
            drop_capabilities: capabilities.drop.unwrap_or_default(),
            add_ambient_capabilities: Vec::new(),
        }),
        privileged,
        namespace_options: Some(namespaces(pod)),
        selinux_options: own.se_linux_options.or(shared.se_linux_options.clone()).as_ref().map(selinux),
        run_as_user: number(user_id),
        run_as_group: number(own.run_as_group.or(shared.run_as_group)),
        run_as_username: user_name,
        readonly_rootfs: own.read_only_root_filesystem.unwrap_or(false),
        supplemental_groups: supplemental_groups(pod),
        supplemental_groups_policy: policy(&shared),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: if unmasked { Vec::new() } else { paths(&MASKED) },
        readonly_paths: if unmasked { Vec::new() } else { paths(&READ_ONLY) },
        seccomp: Some(seccomp(own.seccomp_profile.as_ref().or(shared.seccomp_profile.as_ref()))),
        ..v1::LinuxContainerSecurityContext::default()
    })
}

/// Whom an image runs as when the pod does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageUser {
    /// A number; 0 when the image does not say either.
    Id(i64),
    /// A name, to be looked up inside the image.
    Name(String),
}

impl ImageUser {
    /// From what the runtime says of the image.
    pub fn of(image: &v1::Image) -> Self {
        match &image.uid {
            Some(uid) => Self::Id(uid.value),
            None if image.username.is_empty() => Self::Id(0),
            None => Self::Name(image.username.clone()),
        }
    }
}

fn verify_non_root(
    pod: &Pod,
    container: &Container,
    user: Option<i64>,
    image: &ImageUser,
) -> Result<(), String> {
    let about = format!("(pod: {:?}, container: {})", spec::full_name(pod), container.name);
    match (user, image) {
        (Some(0), _) => Err(format!("container's runAsUser breaks non-root policy {about}")),
        (Some(_), _) => Ok(()),
        (None, ImageUser::Id(0)) => {
            Err(format!("container has runAsNonRoot and image will run as root {about}"))
        }
        (None, ImageUser::Id(_)) => Ok(()),
        (None, ImageUser::Name(name)) => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root {about}"
        )),
    }
}

fn policy(context: &PodSecurityContext) -> i32 {
    match context.supplemental_groups_policy.as_deref() {
        Some("Strict") => v1::SupplementalGroupsPolicy::Strict as i32,
        _ => v1::SupplementalGroupsPolicy::Merge as i32,
    }
}

fn seccomp(profile: Option<&SeccompProfile>) -> v1::SecurityProfile {
    use v1::security_profile::ProfileType;
    let kind = match profile.map(|p| p.type_.as_str()) {
        Some("RuntimeDefault") => ProfileType::RuntimeDefault,
        Some("Localhost") => ProfileType::Localhost,
        _ => ProfileType::Unconfined,
    };
    let localhost_ref = profile.and_then(|p| p.localhost_profile.clone()).unwrap_or_default();
    v1::SecurityProfile { profile_type: kind as i32, localhost_ref }
}

fn selinux(options: &SELinuxOptions) -> v1::SeLinuxOption {
    v1::SeLinuxOption {
        user: options.user.clone().unwrap_or_default(),
        role: options.role.clone().unwrap_or_default(),
        r#type: options.type_.clone().unwrap_or_default(),
        level: options.level.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::{ImageUser, container, namespaces, spec, v1};

    #[test]
    fn a_container_overrides_its_pod() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": {
            "securityContext": {"runAsUser": 1, "runAsGroup": 2, "fsGroup": 3},
            "containers": [{"name": "web", "securityContext": {
                "runAsUser": 10, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
        }}))
        .unwrap();
        let context = container(&pod, &spec::regular(&pod)[0], &ImageUser::Id(0)).unwrap();
        assert_eq!(context.run_as_user.unwrap().value, 10);
        assert_eq!(context.run_as_group.unwrap().value, 2);
        assert_eq!(context.supplemental_groups, [3]);
        assert!(context.no_new_privs && !context.masked_paths.is_empty());
        assert_eq!(context.capabilities.unwrap().drop_capabilities, ["ALL"]);
    }

    #[test]
    fn root_images_are_refused_where_root_is_not_wanted() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": {
            "hostNetwork": true,
            "containers": [{"name": "web", "securityContext": {"runAsNonRoot": true}}],
        }}))
        .unwrap();
        let refused = container(&pod, &spec::regular(&pod)[0], &ImageUser::Id(0)).unwrap_err();
        assert!(refused.contains("image will run as root"), "{refused}");
        assert!(container(&pod, &spec::regular(&pod)[0], &ImageUser::Id(5)).is_ok());
        assert_eq!(namespaces(&pod).network, v1::NamespaceMode::Node as i32);
    }
}
