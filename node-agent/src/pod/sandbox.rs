//! The sandbox of a pod, as CRI describes it.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::Pod;

use super::{dns, hosts, resources, security, spec};
use crate::{
    cri::{labels, v1},
    options::Options,
};

/// The sandbox a pod gets. `resolv_conf` is the text of the host's resolver configuration.
pub fn config(pod: &Pod, options: &Options, attempt: u32, resolv_conf: &str) -> v1::PodSandboxConfig {
    let (name, namespace, uid) = (spec::name(pod), spec::namespace(pod), spec::uid(pod));
    let hostname = if spec::host_network(pod) {
        String::new()
    } else {
        hosts::kernel_hostname(pod, &options.cluster_domain)
    };
    v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: name.into(),
            uid: uid.into(),
            namespace: namespace.into(),
            attempt,
        }),
        hostname,
        log_directory: options.pod_log_dir(namespace, name, uid).to_string_lossy().into_owned(),
        dns_config: Some(dns::of(pod, options, resolv_conf)),
        port_mappings: port_mappings(pod),
        labels: pod_labels(pod),
        annotations: spec::annotations(&pod.metadata).clone().into_iter().collect(),
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: resources::cgroup_parent(&options.cgroup_root, pod),
            security_context: Some(security::sandbox(pod)),
            sysctls: sysctls(pod),
            overhead: None,
            resources: Some(resources::of_pod(pod)),
        }),
        windows: None,
    }
}

/// The labels by which everything of a pod is found again.
pub fn pod_labels(pod: &Pod) -> HashMap<String, String> {
    let own = [
        (labels::POD_NAME, spec::name(pod)),
        (labels::POD_NAMESPACE, spec::namespace(pod)),
        (labels::POD_UID, spec::uid(pod)),
    ];
    let own = own.map(|(key, value)| (key.to_owned(), value.to_owned()));
    spec::labels(&pod.metadata).clone().into_iter().chain(own).collect()
}

fn port_mappings(pod: &Pod) -> Vec<v1::PortMapping> {
    if spec::host_network(pod) {
        return Vec::new();
    }
    let ports = spec::containers(pod).flat_map(|(_, c)| c.ports.iter().flatten());
    let mapping = |port: &k8s_openapi::api::core::v1::ContainerPort| v1::PortMapping {
        protocol: match port.protocol.as_deref() {
            Some("UDP") => v1::Protocol::Udp as i32,
            Some("SCTP") => v1::Protocol::Sctp as i32,
            _ => v1::Protocol::Tcp as i32,
        },
        container_port: port.container_port,
        host_port: port.host_port.unwrap_or(0),
        host_ip: port.host_ip.clone().unwrap_or_default(),
    };
    ports.map(mapping).collect()
}

fn sysctls(pod: &Pod) -> HashMap<String, String> {
    let context = spec::of(pod).security_context.as_ref();
    let list = context.into_iter().flat_map(|c| c.sysctls.iter().flatten());
    list.map(|s| (s.name.clone(), s.value.clone())).collect()
}
