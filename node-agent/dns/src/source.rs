//! Services and endpoints as the informers know them.

use std::net::Ipv4Addr;

use client::{Informer, Informers};
use k8s_openapi::api::{
    core::v1::{Namespace, Service as KubeService},
    discovery::v1::EndpointSlice,
};

use crate::zone::{Endpoint, Port, Service, Source};

const BY_IP: &str = "dns-ip";
const BY_SERVICE: &str = "dns-service";

/// Answers from local copies.
pub struct Cached {
    services: Informer<KubeService>,
    slices: Informer<EndpointSlice>,
    namespaces: Informer<Namespace>,
}

impl Cached {
    pub fn new(informers: &Informers) -> Self {
        let source = Self { services: informers.get(), slices: informers.get(), namespaces: informers.get() };
        source.services.add_index(BY_IP, |service| {
            service.spec.as_ref().and_then(|spec| spec.cluster_ip.clone()).into_iter().collect()
        });
        source.slices.add_index(BY_SERVICE, |slice| service_of(slice).into_iter().collect());
        source.slices.add_index(BY_IP, |slice| {
            slice.endpoints.iter().flatten().flat_map(|endpoint| endpoint.addresses.clone()).collect()
        });
        source
    }

    pub async fn wait_synced(&self) {
        self.services.wait_synced().await;
        self.slices.wait_synced().await;
        self.namespaces.wait_synced().await;
    }
}

fn service_of(slice: &EndpointSlice) -> Option<String> {
    let name = slice.metadata.labels.as_ref()?.get("kubernetes.io/service-name")?;
    Some(format!("{}/{name}", slice.metadata.namespace.as_deref().unwrap_or_default()))
}

fn port(name: Option<&String>, protocol: Option<&String>, port: Option<i32>) -> Option<Port> {
    Some(Port {
        name: name.cloned().unwrap_or_default(),
        protocol: protocol.map_or_else(|| "tcp".to_owned(), |p| p.to_ascii_lowercase()),
        port: u16::try_from(port?).ok()?,
    })
}

impl Source for Cached {
    fn service(&self, namespace: &str, name: &str) -> Option<Service> {
        let service = self.services.find(namespace, name)?;
        let spec = service.spec.as_ref()?;
        if spec.type_.as_deref() == Some("ExternalName") {
            return spec.external_name.clone().map(Service::External);
        }
        let ip = spec.cluster_ip.as_deref().unwrap_or_default();
        if ip == "None" {
            return Some(Service::Headless);
        }
        let ports = spec.ports.iter().flatten();
        let ports = ports.filter_map(|p| port(p.name.as_ref(), p.protocol.as_ref(), Some(p.port)));
        Some(Service::Cluster { ip: ip.parse().ok()?, ports: ports.collect() })
    }

    fn endpoints(&self, namespace: &str, service: &str) -> Vec<Endpoint> {
        let mut endpoints = Vec::new();
        for slice in self.slices.by_index(BY_SERVICE, &format!("{namespace}/{service}")) {
            let ports = slice.ports.iter().flatten();
            let ports: Vec<Port> =
                ports.filter_map(|p| port(p.name.as_ref(), p.protocol.as_ref(), p.port)).collect();
            for endpoint in slice.endpoints.iter().flatten() {
                let ready = endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true);
                for ip in endpoint.addresses.iter().filter(|_| ready).filter_map(|ip| ip.parse().ok()) {
                    let hostname = endpoint.hostname.clone().filter(|name| !name.is_empty());
                    endpoints.push(Endpoint { ip, hostname, ports: ports.clone() });
                }
            }
        }
        endpoints.sort_by_key(|endpoint| endpoint.ip);
        endpoints
    }

    fn has_namespace(&self, namespace: &str) -> bool {
        self.namespaces.find("", namespace).is_some()
    }

    fn names_of(&self, ip: Ipv4Addr) -> Vec<String> {
        let text = ip.to_string();
        let services = self.services.by_index(BY_IP, &text);
        if let Some(service) = services.first() {
            let meta = &service.metadata;
            let name = meta.name.as_deref().unwrap_or_default();
            return vec![format!("{name}.{}.svc", meta.namespace.as_deref().unwrap_or_default())];
        }
        let mut names = Vec::new();
        for slice in self.slices.by_index(BY_IP, &text) {
            let Some(service) = service_of(&slice) else { continue };
            let Some((namespace, service)) = service.split_once('/') else { continue };
            let endpoints = slice.endpoints.iter().flatten().filter(|e| e.addresses.contains(&text));
            names.extend(endpoints.map(|endpoint| {
                let label = endpoint.hostname.clone().unwrap_or_else(|| text.replace('.', "-"));
                format!("{label}.{service}.{namespace}.svc")
            }));
        }
        names.sort();
        names.dedup();
        names
    }
}
