//! The Endpoints object of a Service, for clients that do not know slices. Pure.

use std::{collections::BTreeMap, sync::Arc};

use client::refs;
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Pod, Service};

use super::backends::{self, Port};
use crate::{limits, pods};

pub(super) const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";
const HEADLESS: &str = "service.kubernetes.io/headless";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

/// The object as it should be, keeping what the server gave it.
pub(super) fn wanted(service: &Service, selected: &[Arc<Pod>], known: Option<&Endpoints>) -> Endpoints {
    let (subsets, cut) = subsets(service, selected);
    let mut metadata = known.map(|e| e.metadata.clone()).unwrap_or_default();
    metadata.name.clone_from(&service.metadata.name);
    metadata.namespace.clone_from(&service.metadata.namespace);
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels.remove(HEADLESS);
    if backends::is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    metadata.labels = Some(labels);
    if cut {
        metadata.annotations.get_or_insert_default().insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
    } else if let Some(annotations) = &mut metadata.annotations {
        annotations.remove(OVER_CAPACITY);
    }
    Endpoints { metadata, subsets: Some(subsets).filter(|s| !s.is_empty()) }
}

fn subsets(service: &Service, selected: &[Arc<Pod>]) -> (Vec<EndpointSubset>, bool) {
    let publish = backends::publishes_not_ready(service);
    let family = backends::families(service)[0];
    let mut groups: BTreeMap<Vec<Port>, (Vec<EndpointAddress>, Vec<EndpointAddress>)> = BTreeMap::new();
    let (mut count, mut cut) = (0, false);
    for pod in selected.iter().filter(|p| backends::counts(p, publish)) {
        let Some(ip) = backends::address(pod, family) else { continue };
        let ports = backends::ports(service, pod);
        if ports.is_empty() && !backends::is_headless(service) {
            continue;
        }
        count += 1;
        if count > limits::ENDPOINTS_ADDRESSES {
            cut = true;
            break;
        }
        let address = EndpointAddress {
            ip,
            hostname: backends::hostname(service, pod),
            node_name: Some(pods::node_name(pod).to_owned()).filter(|n| !n.is_empty()),
            target_ref: Some(backends::target(pod)),
        };
        let (ready, not_ready) = groups.entry(ports).or_default();
        if publish || pods::is_ready(pod) { ready.push(address) } else { not_ready.push(address) }
    }
    let subset = |(ports, (ready, not_ready)): (Vec<Port>, (Vec<EndpointAddress>, Vec<EndpointAddress>))| {
        EndpointSubset {
            addresses: sorted(ready),
            not_ready_addresses: sorted(not_ready),
            ports: Some(ports.iter().map(port).collect()).filter(|p: &Vec<EndpointPort>| !p.is_empty()),
        }
    };
    (groups.into_iter().map(subset).collect(), cut)
}

fn sorted(mut addresses: Vec<EndpointAddress>) -> Option<Vec<EndpointAddress>> {
    addresses.sort_by(|a, b| a.ip.cmp(&b.ip));
    Some(addresses).filter(|a| !a.is_empty())
}

fn port(port: &Port) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone()).filter(|n| !n.is_empty()),
        port: port.number,
        protocol: Some(port.protocol.clone()),
        app_protocol: port.app_protocol.clone(),
    }
}

/// Whether the object is ours to delete.
pub(super) fn is_managed(endpoints: &Endpoints) -> bool {
    let labels = endpoints.metadata.labels.as_ref();
    labels.and_then(|l| l.get(MANAGED_BY)).is_some_and(|m| m == MANAGER) && !refs::is_terminating(endpoints)
}
