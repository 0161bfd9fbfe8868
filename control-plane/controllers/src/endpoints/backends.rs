//! What one pod offers a Service: addresses, ports, state. Pure.

use client::refs;
use k8s_openapi::{
    api::core::v1::{Container, ObjectReference, Pod, Service},
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::pods;

/// One port, resolved for a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Port {
    pub(super) name: String,
    pub(super) number: i32,
    pub(super) protocol: String,
    pub(super) app_protocol: Option<String>,
}

/// The address families of a Service, by their EndpointSlice names.
pub(super) fn families(service: &Service) -> Vec<&'static str> {
    let families = service.spec.as_ref().and_then(|s| s.ip_families.as_ref());
    let named: Vec<&'static str> =
        families.into_iter().flatten().map(|f| if f == "IPv6" { "IPv6" } else { "IPv4" }).collect();
    if !named.is_empty() {
        return named;
    }
    let ip = service.spec.as_ref().and_then(|s| s.cluster_ip.as_deref()).unwrap_or("");
    if ip.contains(':') { vec!["IPv6"] } else { vec!["IPv4"] }
}

/// The pod's address in a family.
pub(super) fn address(pod: &Pod, family: &str) -> Option<String> {
    let status = pod.status.as_ref()?;
    let listed = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
    let mut all = listed.chain(status.pod_ip.as_deref()).filter(|ip| !ip.is_empty());
    all.find(|ip| ip.contains(':') == (family == "IPv6")).map(str::to_owned)
}

/// Whether the pod belongs to a Service at all.
pub(super) fn counts(pod: &Pod, with_terminating: bool) -> bool {
    !pods::is_terminal(pod) && (with_terminating || pod.metadata.deletion_timestamp.is_none())
}

/// Whether addresses count as ready although their pods are not.
pub(super) fn publishes_not_ready(service: &Service) -> bool {
    service.spec.as_ref().and_then(|s| s.publish_not_ready_addresses) == Some(true)
}

/// Whether the Service has no address of its own.
pub(super) fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|s| s.cluster_ip.as_deref()) == Some("None")
}

/// The Service's ports as this pod names them; a named port the pod does not have is left out.
pub(super) fn ports(service: &Service, pod: &Pod) -> Vec<Port> {
    let mut ports = Vec::new();
    for port in service.spec.iter().flat_map(|s| s.ports.iter().flatten()) {
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
        let number = match &port.target_port {
            Some(IntOrString::String(name)) => named_port(pod, name, &protocol),
            Some(IntOrString::Int(number)) if *number != 0 => Some(*number),
            _ => Some(port.port),
        };
        let name = port.name.clone().unwrap_or_default();
        ports.extend(number.map(|number| Port {
            name,
            number,
            protocol,
            app_protocol: port.app_protocol.clone(),
        }));
    }
    ports
}

fn named_port(pod: &Pod, name: &str, protocol: &str) -> Option<i32> {
    let spec = pod.spec.as_ref()?;
    let sidecars =
        spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let containers: Vec<&Container> = spec.containers.iter().chain(sidecars).collect();
    let mut all = containers.into_iter().flat_map(|c| c.ports.iter().flatten());
    let fits = |p: &&k8s_openapi::api::core::v1::ContainerPort| {
        p.name.as_deref() == Some(name) && p.protocol.as_deref().unwrap_or("TCP") == protocol
    };
    all.find(fits).map(|p| p.container_port)
}

/// The pod's own DNS name below a headless Service.
pub(super) fn hostname(service: &Service, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let below = spec.subdomain.as_deref() == Some(refs::name(service));
    spec.hostname.clone().filter(|h| below && !h.is_empty())
}

/// The pod behind an address.
pub(super) fn target(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_owned()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}
