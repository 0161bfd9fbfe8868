//! Which EndpointSlices a Service needs, given those it has. Pure.
//!
//! Addresses stay in the slice they are in, so that a change of one pod is a change of one slice.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use client::refs;
use k8s_openapi::{
    api::{
        core::v1::{Pod, Service},
        discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::backends::{self, Port};
use crate::{limits, pods};

pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub(super) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub(super) const MANAGER: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";

/// What to write.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) create: Vec<EndpointSlice>,
    pub(super) update: Vec<EndpointSlice>,
    pub(super) delete: Vec<Arc<EndpointSlice>>,
}

type Group = (&'static str, Vec<Port>);

/// Compares slices wanted with slices there are; `zones` maps nodes to zones.
pub(super) fn plan(
    service: &Service,
    selected: &[Arc<Pod>],
    existing: &[Arc<EndpointSlice>],
    zones: &HashMap<String, String>,
) -> Plan {
    let mut wanted: BTreeMap<Group, Vec<Endpoint>> = BTreeMap::new();
    for family in backends::families(service) {
        for pod in selected.iter().filter(|p| backends::counts(p, true)) {
            let Some(address) = backends::address(pod, family) else { continue };
            let group = (family, backends::ports(service, pod));
            wanted.entry(group).or_default().push(endpoint(service, pod, address, zones));
        }
        // A Service without pods has one empty slice, which says so.
        if !wanted.keys().any(|(f, _)| *f == family) {
            wanted.insert((family, Vec::new()), Vec::new());
        }
    }
    let mut plan = Plan::default();
    let mut unused: Vec<Arc<EndpointSlice>> = existing.to_vec();
    for (group, endpoints) in wanted {
        let fits = |s: &Arc<EndpointSlice>| s.address_type == group.0 && ports_of(s) == group.1;
        let (own, rest) = unused.into_iter().partition(fits);
        unused = rest;
        pack(service, &group, endpoints, own, &mut plan);
    }
    plan.delete.extend(unused);
    plan
}

/// Distributes the endpoints of one group: known ones stay, new ones fill gaps, the rest gets new slices.
fn pack(
    service: &Service,
    group: &Group,
    endpoints: Vec<Endpoint>,
    own: Vec<Arc<EndpointSlice>>,
    plan: &mut Plan,
) {
    let mut left: HashMap<String, Endpoint> = endpoints.into_iter().map(|e| (identity(&e), e)).collect();
    let mut slices: Vec<(Arc<EndpointSlice>, Vec<Endpoint>)> = Vec::with_capacity(own.len());
    for slice in own {
        let known = slice.endpoints.iter().flatten();
        let kept: Vec<Endpoint> = known.filter_map(|e| left.remove(&identity(e))).collect();
        slices.push((slice, kept));
    }
    let mut left: Vec<Endpoint> = left.into_values().collect();
    left.sort_by_key(identity);
    let mut left = left.into_iter();
    for (_, kept) in &mut slices {
        let room = limits::SLICE_ENDPOINTS.saturating_sub(kept.len());
        kept.extend(left.by_ref().take(room));
    }
    let mut kept_one = false;
    let nothing_left = left.len() == 0;
    for (slice, endpoints) in slices {
        let needed = !endpoints.is_empty() || !kept_one && nothing_left && plan_is_placeholder(group);
        if !needed {
            plan.delete.push(slice);
            continue;
        }
        kept_one = true;
        let changed = new_slice(service, group, endpoints, &slice.metadata);
        if changed != *slice {
            plan.update.push(changed);
        }
    }
    let rest: Vec<Endpoint> = left.collect();
    if rest.is_empty() && !kept_one {
        plan.create.push(new_slice(service, group, Vec::new(), &ObjectMeta::default()));
    }
    for chunk in rest.chunks(limits::SLICE_ENDPOINTS) {
        plan.create.push(new_slice(service, group, chunk.to_vec(), &ObjectMeta::default()));
    }
}

/// An empty group exists only as the placeholder of a Service without pods.
fn plan_is_placeholder(group: &Group) -> bool {
    group.1.is_empty()
}

fn identity(endpoint: &Endpoint) -> String {
    let uid = endpoint.target_ref.as_ref().and_then(|t| t.uid.clone()).unwrap_or_default();
    format!("{uid}/{}", endpoint.addresses.join(","))
}

fn endpoint(service: &Service, pod: &Pod, address: String, zones: &HashMap<String, String>) -> Endpoint {
    let terminating = refs::is_terminating(pod);
    let serving = pods::is_ready(pod);
    let ready = backends::publishes_not_ready(service) || serving && !terminating;
    let node = Some(pods::node_name(pod).to_owned()).filter(|n| !n.is_empty());
    Endpoint {
        addresses: vec![address],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: backends::hostname(service, pod),
        zone: node.as_ref().and_then(|n| zones.get(n)).cloned(),
        node_name: node,
        target_ref: Some(backends::target(pod)),
        ..Endpoint::default()
    }
}

/// The slice as it should be, keeping the metadata the server gave it.
fn new_slice(
    service: &Service,
    group: &Group,
    endpoints: Vec<Endpoint>,
    known: &ObjectMeta,
) -> EndpointSlice {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.to_owned(), refs::name(service).to_owned());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels.remove(HEADLESS);
    if backends::is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    let mut metadata = known.clone();
    if metadata.name.is_none() {
        metadata.generate_name = Some(format!("{}-", refs::name(service)));
        metadata.namespace.clone_from(&service.metadata.namespace);
    }
    metadata.labels = Some(labels);
    metadata.owner_references = Some(vec![refs::controller_reference(service)]);
    EndpointSlice {
        metadata,
        address_type: group.0.to_owned(),
        endpoints: Some(endpoints),
        ports: Some(group.1.iter().map(port).collect()),
    }
}

fn port(port: &Port) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone()),
        port: Some(port.number),
        protocol: Some(port.protocol.clone()),
        app_protocol: port.app_protocol.clone(),
    }
}

fn ports_of(slice: &EndpointSlice) -> Vec<Port> {
    let port = |p: &EndpointPort| Port {
        name: p.name.clone().unwrap_or_default(),
        number: p.port.unwrap_or(0),
        protocol: p.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
        app_protocol: p.app_protocol.clone(),
    };
    slice.ports.iter().flatten().map(port).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service() -> Service {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "ns", "uid": "s", "labels": {"team": "a"}},
            "spec": {"clusterIP": "10.0.0.1", "selector": {"app": "web"},
                     "ports": [{"name": "http", "port": 80, "targetPort": "web"}]}
        }))
        .unwrap()
    }

    fn pod(i: usize, ready: bool) -> Arc<Pod> {
        let ready = if ready { "True" } else { "False" };
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": format!("p{i}"), "namespace": "ns", "uid": format!("u{i:03}")},
                "spec": {"nodeName": "n", "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}]},
                "status": {"phase": "Running", "podIP": format!("10.1.0.{i}"), "conditions": [{"type": "Ready", "status": ready}]}
            }))
            .unwrap(),
        )
    }

    fn stored(plan: &Plan) -> Vec<Arc<EndpointSlice>> {
        let name = |(i, slice): (usize, &EndpointSlice)| {
            let mut slice = slice.clone();
            slice.metadata.name = Some(format!("web-{i}"));
            Arc::new(slice)
        };
        plan.create.iter().enumerate().map(name).collect()
    }

    #[test]
    fn pods_become_endpoints_with_resolved_ports_and_conditions() {
        let mut ending = (*pod(3, true)).clone();
        ending.metadata.deletion_timestamp = Some(client::clock::time());
        let pods = [pod(1, true), pod(2, false), Arc::new(ending)];
        let zones = HashMap::from([("n".to_owned(), "z".to_owned())]);
        let plan = plan(&service(), &pods, &[], &zones);
        let slice = &plan.create[0];
        assert_eq!(slice.ports.as_ref().unwrap()[0].port, Some(8080));
        let conditions: Vec<_> = slice
            .endpoints
            .iter()
            .flatten()
            .map(|e| {
                assert_eq!(e.zone.as_deref(), Some("z"));
                let c = e.conditions.clone().unwrap();
                (c.ready.unwrap(), c.serving.unwrap(), c.terminating.unwrap())
            })
            .collect();
        assert_eq!(conditions, [(true, true, false), (false, false, false), (false, true, true)]);
        let labels = slice.metadata.labels.as_ref().unwrap();
        assert_eq!((labels[SERVICE_NAME].as_str(), labels["team"].as_str()), ("web", "a"));
    }

    #[test]
    fn what_is_as_it_should_be_is_not_written() {
        let pods: Vec<_> = (1..=150).map(|i| pod(i, true)).collect();
        let first = plan(&service(), &pods, &[], &HashMap::new());
        let sizes: Vec<usize> = first.create.iter().map(|s| s.endpoints.as_ref().unwrap().len()).collect();
        assert_eq!(sizes, [100, 50]);
        let slices = stored(&first);
        assert_eq!(plan(&service(), &pods, &slices, &HashMap::new()), Plan::default());
        let fewer = plan(&service(), &pods[..100], &slices, &HashMap::new());
        assert_eq!((fewer.create.len(), fewer.update.len(), fewer.delete.len()), (0, 0, 1));
        let changed = plan(&service(), &[&pods[1..], &[pod(200, true)]].concat(), &slices, &HashMap::new());
        assert_eq!((changed.create.len(), changed.update.len(), changed.delete.len()), (0, 1, 0));
    }

    #[test]
    fn a_service_without_pods_keeps_one_empty_slice() {
        let first = plan(&service(), &[], &[], &HashMap::new());
        assert_eq!(first.create.len(), 1);
        assert_eq!(plan(&service(), &[], &stored(&first), &HashMap::new()), Plan::default());
        let with_pod = plan(&service(), &[pod(1, true)], &stored(&first), &HashMap::new());
        assert_eq!((with_pod.create.len(), with_pod.delete.len()), (1, 1));
    }
}
