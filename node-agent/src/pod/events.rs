//! Events about a pod and its containers, with upstream's reasons and texts.

use client::events::{EventType, Recorder};
use k8s_openapi::api::core::v1::{ObjectReference, Pod};

use super::spec::{self, Role};

/// Reports about one pod.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
    about: ObjectReference,
    init: Vec<String>,
}

impl Events {
    /// Reports about a pod.
    pub fn new(recorder: Recorder, pod: &Pod) -> Self {
        let about = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            resource_version: pod.metadata.resource_version.clone(),
            field_path: None,
        };
        let init = spec::containers(pod).filter(|(role, _)| *role != Role::Regular);
        Self { recorder, about, init: init.map(|(_, c)| c.name.clone()).collect() }
    }

    /// About the pod: all is well.
    pub fn normal(&self, reason: &str, message: impl Into<String>) {
        self.recorder.event(&self.about, EventType::Normal, reason, message);
    }

    /// About the pod: bad news.
    pub fn warning(&self, reason: &str, message: impl Into<String>) {
        self.recorder.event(&self.about, EventType::Warning, reason, message);
    }

    /// About a container: all is well.
    pub fn container(&self, name: &str, reason: &str, message: impl Into<String>) {
        self.recorder.event(&self.of(name), EventType::Normal, reason, message);
    }

    /// About a container: bad news.
    pub fn container_warning(&self, name: &str, reason: &str, message: impl Into<String>) {
        self.recorder.event(&self.of(name), EventType::Warning, reason, message);
    }

    fn of(&self, name: &str) -> ObjectReference {
        let list = if self.init.iter().any(|n| n == name) { "initContainers" } else { "containers" };
        ObjectReference { field_path: Some(format!("spec.{list}{{{name}}}")), ..self.about.clone() }
    }
}
