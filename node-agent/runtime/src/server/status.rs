//! What CRI calls sandboxes and containers.

use std::collections::HashMap;

use proto::cri::{
    ContainerEventResponse, ContainerEventType, ContainerFilter, ContainerResources, ContainerState,
    ContainerStatus, ContainerUser, ImageSpec, LinuxContainerUser, LinuxPodSandboxStatus, Namespace, PodIp,
    PodSandbox, PodSandboxFilter, PodSandboxNetworkStatus, PodSandboxState, PodSandboxStatus,
};

use super::container::Container;
use super::sandbox::Sandbox;
use super::{Runtime, now_ns};
use crate::shim::protocol::{Phase, State};

impl Sandbox {
    fn cri_state(&self) -> PodSandboxState {
        if self.is_ready() { PodSandboxState::SandboxReady } else { PodSandboxState::SandboxNotready }
    }

    /// One row of a list.
    pub fn summary(&self) -> PodSandbox {
        let record = self.record.lock().clone();
        PodSandbox {
            id: self.id.clone(),
            metadata: self.config.metadata.clone(),
            state: self.cri_state().into(),
            created_at: record.created_ns,
            labels: self.config.labels.clone(),
            annotations: self.config.annotations.clone(),
            runtime_handler: record.handler,
        }
    }

    /// Everything CRI asks about it.
    pub fn status(&self) -> PodSandboxStatus {
        let record = self.record.lock().clone();
        let mut addresses = record.addresses.iter().map(ToString::to_string);
        let network = PodSandboxNetworkStatus {
            ip: addresses.next().unwrap_or_default(),
            additional_ips: addresses.map(|ip| PodIp { ip }).collect(),
        };
        let security = self.config.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
        let options = security.and_then(|security| security.namespace_options.clone());
        PodSandboxStatus {
            id: self.id.clone(),
            metadata: self.config.metadata.clone(),
            state: self.cri_state().into(),
            created_at: record.created_ns,
            network: Some(network),
            linux: Some(LinuxPodSandboxStatus { namespaces: Some(Namespace { options }) }),
            labels: self.config.labels.clone(),
            annotations: self.config.annotations.clone(),
            runtime_handler: record.handler,
        }
    }

    /// Whether a list with this filter has it.
    pub fn matches(&self, filter: &PodSandboxFilter) -> bool {
        self.id.starts_with(&filter.id)
            && filter.state.as_ref().is_none_or(|state| state.state == self.cri_state() as i32)
            && has_labels(&self.config.labels, &filter.label_selector)
    }
}

impl Container {
    fn cri_state(&self) -> ContainerState {
        match self.state.borrow().as_ref().map(|state| state.phase) {
            Some(Phase::Created) => ContainerState::ContainerCreated,
            Some(Phase::Running) => ContainerState::ContainerRunning,
            Some(Phase::Exited) => ContainerState::ContainerExited,
            None => ContainerState::ContainerUnknown,
        }
    }

    /// One row of a list.
    pub fn summary(&self) -> proto::cri::Container {
        proto::cri::Container {
            id: self.id.clone(),
            pod_sandbox_id: self.sandbox.clone(),
            metadata: self.config.metadata.clone(),
            image: self.config.image.clone(),
            image_ref: self.record.image_ref.clone(),
            state: self.cri_state().into(),
            created_at: self.record.created_ns,
            labels: self.config.labels.clone(),
            annotations: self.config.annotations.clone(),
            image_id: self.record.image_id.clone(),
        }
    }

    /// Everything CRI asks about it.
    pub fn status(&self) -> ContainerStatus {
        let state = self.state.borrow().clone();
        let exited = state.as_ref().filter(|state| state.phase == Phase::Exited);
        let linux = self.config.linux.clone().unwrap_or_default();
        let user = &self.record.user;
        ContainerStatus {
            id: self.id.clone(),
            metadata: self.config.metadata.clone(),
            state: self.cri_state().into(),
            created_at: self.record.created_ns,
            started_at: state.as_ref().map_or(0, |state| state.started_ns),
            finished_at: exited.map_or(0, |state| state.finished_ns),
            exit_code: exited.map_or(0, |state| state.exit_code),
            image: self
                .config
                .image
                .clone()
                .map(|image| ImageSpec { user_specified_image: image.image.clone(), ..image }),
            image_ref: self.record.image_ref.clone(),
            reason: exited.map(reason).unwrap_or_default().into(),
            message: String::new(),
            labels: self.config.labels.clone(),
            annotations: self.config.annotations.clone(),
            mounts: self.config.mounts.clone(),
            log_path: self
                .record
                .log_path
                .as_ref()
                .map(|path| path.display().to_string())
                .unwrap_or_default(),
            resources: Some(ContainerResources {
                linux: self.resources.lock().clone().or(linux.resources),
                ..ContainerResources::default()
            }),
            image_id: self.record.image_id.clone(),
            user: Some(ContainerUser {
                linux: Some(LinuxContainerUser {
                    uid: user.uid.into(),
                    gid: user.gid.into(),
                    supplemental_groups: user.groups.iter().map(|group| i64::from(*group)).collect(),
                }),
            }),
        }
    }

    /// What a verbose status adds.
    pub fn details(&self) -> HashMap<String, String> {
        let state = self.state.borrow();
        let pid = state.as_ref().map_or(0, |state| state.pid);
        let details = serde_json::json!({
            "pid": pid, "cgroup": self.record.cgroup, "directory": self.directory,
            "seccomp": "not enforced: this runtime is built without libseccomp",
        });
        HashMap::from([("info".to_string(), details.to_string())])
    }

    /// Whether a list with this filter has it.
    pub fn matches(&self, filter: &ContainerFilter) -> bool {
        self.id.starts_with(&filter.id)
            && self.sandbox.starts_with(&filter.pod_sandbox_id)
            && filter.state.as_ref().is_none_or(|state| state.state == self.cri_state() as i32)
            && has_labels(&self.config.labels, &filter.label_selector)
    }
}

/// The words kubelets know.
fn reason(state: &State) -> &'static str {
    match (state.exit_code, state.oom_killed) {
        (0, _) => "Completed",
        (_, true) => "OOMKilled",
        (_, false) => "Error",
    }
}

/// Whether every label of the selector is there.
pub fn has_labels(labels: &HashMap<String, String>, selector: &HashMap<String, String>) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

impl Runtime {
    /// Tells subscribers of events that something happened to a container or (when the ids are equal) a sandbox.
    pub(super) fn announce(&self, id: &str, sandbox: &str, kind: ContainerEventType) {
        if self.events.receiver_count() == 0 {
            return;
        }
        let status = self.sandbox(sandbox).ok().map(|sandbox| sandbox.status());
        let event = ContainerEventResponse {
            container_id: id.into(),
            container_event_type: kind.into(),
            created_at: now_ns(),
            pod_sandbox_status: status,
            containers_statuses: self
                .containers_of(sandbox)
                .iter()
                .map(|container| container.status())
                .collect(),
        };
        // The last subscriber may just have left.
        let _ = self.events.send(event);
    }
}
