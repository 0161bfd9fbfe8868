//! The service `default/kubernetes` and the addresses behind it.

use std::net::{IpAddr, SocketAddr};

use api::{Reason, Status, objects::Target};
use serde_json::{Value, json};

use super::{caller, create_missing, target_of, write_options};
use crate::{Registry, tree::set};

const NAME: &str = "kubernetes";
const NAMESPACE: &str = "default";
const DEFAULT_PORT: u16 = 6443;

/// Makes `endpoints` the addresses behind the service `default/kubernetes`: those of the live servers. All of
/// one address family; the port of the first is the port of all.
pub async fn publish_servers(registry: &Registry, endpoints: &[SocketAddr]) -> Result<(), Status> {
    let port = endpoints.first().map_or(DEFAULT_PORT, SocketAddr::port);
    create_missing(registry, service(registry, port)).await?;
    let mut addresses: Vec<IpAddr> = endpoints.iter().map(SocketAddr::ip).collect();
    addresses.sort_unstable();
    addresses.dedup();
    put(registry, slice(&addresses, port)).await?;
    put(registry, old_style(&addresses, port)).await
}

fn service(registry: &Registry, port: u16) -> Value {
    let first = registry.options().service_cidrs.first().and_then(|cidr| cidr.hosts().next());
    let mut service = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": {"component": "apiserver", "provider": NAME}},
        "spec": {"type": "ClusterIP", "sessionAffinity": "None",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}]}});
    if let Some(first) = first {
        set(&mut service, &["spec", "clusterIP"], first.to_string());
    }
    service
}

fn slice(addresses: &[IpAddr], port: u16) -> Value {
    let family = if addresses.first().is_some_and(IpAddr::is_ipv6) { "IPv6" } else { "IPv4" };
    let endpoints: Vec<Value> = addresses
        .iter()
        .map(|ip| json!({"addresses": [ip.to_string()], "conditions": {"ready": true}}))
        .collect();
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": {"kubernetes.io/service-name": NAME}},
        "addressType": family, "endpoints": endpoints,
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}]})
}

fn old_style(addresses: &[IpAddr], port: u16) -> Value {
    let addresses: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip.to_string()})).collect();
    let subsets = match addresses.is_empty() {
        true => json!([]),
        false => {
            json!([{"addresses": addresses, "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}])
        }
    };
    json!({"apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": NAME, "namespace": NAMESPACE,
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": subsets})
}

async fn put(registry: &Registry, object: Value) -> Result<(), Status> {
    let target: Target = target_of(registry, &object)?;
    match registry.update(&caller(), &target, object.clone(), &write_options()).await {
        Err(status) if status.is(Reason::NotFound) => create_missing(registry, object).await,
        Err(status) => Err(status),
        Ok(_) => Ok(()),
    }
}
