//! What the kernel should hold for a set of services and endpoints. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::Ipv4Addr,
};

use client::ObjectKey;
use k8s_openapi::api::{
    core::v1::{Service, ServicePort},
    discovery::v1::EndpointSlice,
};

use super::Options;

/// Transport protocol of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// As nft writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    fn read(text: Option<&str>) -> Option<Self> {
        match text.unwrap_or("TCP") {
            "TCP" => Some(Self::Tcp),
            "UDP" => Some(Self::Udp),
            _ => None,
        }
    }
}

/// An address, protocol and port that clients connect to.
pub type Front = (Ipv4Addr, Protocol, u16);
/// A port of the node that clients connect to.
pub type NodeFront = (Protocol, u16);
/// Where a pod listens.
pub type Back = (Ipv4Addr, u16);

/// How a connection finds its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pick {
    /// Among how many.
    pub count: usize,
    /// By the client's address instead of at random.
    pub by_client: bool,
}

/// What the kernel should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Map `services`.
    pub services: BTreeMap<Front, Pick>,
    /// Map `endpoints`.
    pub endpoints: BTreeMap<(Front, usize), Back>,
    /// Map `node-ports`.
    pub node_ports: BTreeMap<NodeFront, Pick>,
    /// Map `node-endpoints`.
    pub node_endpoints: BTreeMap<(NodeFront, usize), Back>,
    /// Set `dead-node-ports`.
    pub dead_node_ports: BTreeSet<NodeFront>,
    /// Set `hairpin`.
    pub hairpin: BTreeSet<Ipv4Addr>,
}

/// A service port with everything that can be known without its endpoints.
#[derive(Clone, Debug)]
struct Port {
    name: String,
    protocol: Protocol,
    port: u16,
    node_port: Option<u16>,
}

#[derive(Clone, Debug)]
struct Fronts {
    addresses: Vec<Ipv4Addr>,
    ports: Vec<Port>,
    by_client: bool,
    local_outside: bool,
    local_inside: bool,
}

#[derive(Clone, Debug)]
struct Endpoint {
    address: Ipv4Addr,
    ready: bool,
    serving_while_terminating: bool,
    local: bool,
}

#[derive(Clone, Debug)]
struct Slice {
    service: ObjectKey,
    /// Port by name and protocol.
    ports: HashMap<(String, Protocol), u16>,
    endpoints: Vec<Endpoint>,
}

/// Keeps services and slices in the form the plan needs, so that a change costs what changed.
pub struct Planner {
    options: Options,
    services: BTreeMap<ObjectKey, Fronts>,
    slices: BTreeMap<ObjectKey, Slice>,
    by_service: BTreeMap<ObjectKey, BTreeSet<ObjectKey>>,
}

impl Planner {
    /// With nothing yet.
    pub fn new(options: Options) -> Self {
        Self { options, services: BTreeMap::new(), slices: BTreeMap::new(), by_service: BTreeMap::new() }
    }

    /// A service appeared, changed or went away.
    pub fn put_service(&mut self, key: &ObjectKey, service: Option<&Service>) {
        match service.and_then(fronts) {
            Some(fronts) => {
                self.services.insert(key.clone(), fronts);
            }
            None => {
                self.services.remove(key);
            }
        }
    }

    /// A slice appeared, changed or went away.
    pub fn put_slice(&mut self, key: &ObjectKey, slice: Option<&EndpointSlice>) {
        if let Some(before) = self.slices.remove(key)
            && let Some(keys) = self.by_service.get_mut(&before.service)
        {
            keys.remove(key);
            if keys.is_empty() {
                self.by_service.remove(&before.service);
            }
        }
        let Some(slice) = slice.and_then(|slice| self.read(slice)) else { return };
        self.by_service.entry(slice.service.clone()).or_default().insert(key.clone());
        self.slices.insert(key.clone(), slice);
    }

    fn read(&self, slice: &EndpointSlice) -> Option<Slice> {
        if slice.address_type != "IPv4" {
            return None;
        }
        let labels = slice.metadata.labels.as_ref()?;
        let service = labels.get("kubernetes.io/service-name")?;
        let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
        let ports = slice.ports.iter().flatten().filter_map(|port| {
            let protocol = Protocol::read(port.protocol.as_deref())?;
            Some(((port.name.clone().unwrap_or_default(), protocol), u16::try_from(port.port?).ok()?))
        });
        let endpoints = slice.endpoints.iter().flatten().flat_map(|endpoint| {
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            let terminating = conditions.terminating.unwrap_or(false);
            let local = endpoint.node_name.as_deref() == Some(self.options.node_name.as_str());
            endpoint.addresses.iter().filter_map(move |address| {
                Some(Endpoint {
                    address: address.parse().ok()?,
                    ready: conditions.ready.unwrap_or(true),
                    serving_while_terminating: terminating && conditions.serving.unwrap_or(false),
                    local,
                })
            })
        });
        Some(Slice {
            service: ObjectKey::new(namespace, service),
            ports: ports.collect(),
            endpoints: endpoints.collect(),
        })
    }

    /// Ready endpoints of a port or, when none is ready, those that still serve while they terminate.
    fn backs(&self, service: &ObjectKey, port: &Port, local_only: bool) -> Vec<Back> {
        let slices =
            || self.by_service.get(service).into_iter().flatten().filter_map(|key| self.slices.get(key));
        let gather = |wanted: fn(&Endpoint) -> bool| -> Vec<Back> {
            let mut backs: BTreeSet<Back> = BTreeSet::new();
            for slice in slices() {
                let Some(target) = slice.ports.get(&(port.name.clone(), port.protocol)) else { continue };
                let usable = slice.endpoints.iter().filter(|e| wanted(e) && (!local_only || e.local));
                backs.extend(usable.map(|e| (e.address, *target)));
            }
            backs.into_iter().collect()
        };
        let ready = gather(|e| e.ready);
        if ready.is_empty() { gather(|e| e.serving_while_terminating) } else { ready }
    }

    /// Everything the kernel should hold.
    pub fn desired(&self) -> Desired {
        let mut desired = Desired::default();
        for (key, fronts) in &self.services {
            for port in &fronts.ports {
                let inside = self.backs(key, port, fronts.local_inside);
                let outside = self.backs(key, port, fronts.local_outside);
                let pick = |backs: &[Back]| Pick { count: backs.len(), by_client: fronts.by_client };
                desired.hairpin.extend(inside.iter().chain(&outside).map(|(address, _)| *address));
                for address in fronts.addresses.iter().filter(|_| !inside.is_empty()) {
                    let front = (*address, port.protocol, port.port);
                    desired.services.insert(front, pick(&inside));
                    desired
                        .endpoints
                        .extend(inside.iter().enumerate().map(|(at, back)| ((front, at), *back)));
                }
                let Some(node_port) = port.node_port else { continue };
                let front = (port.protocol, node_port);
                if outside.is_empty() {
                    desired.dead_node_ports.insert(front);
                } else {
                    desired.node_ports.insert(front, pick(&outside));
                    desired
                        .node_endpoints
                        .extend(outside.iter().enumerate().map(|(at, back)| ((front, at), *back)));
                }
            }
        }
        desired
    }
}

/// What clients connect to; `None` for services that need no proxy (headless, external names).
fn fronts(service: &Service) -> Option<Fronts> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    let cluster: Vec<Ipv4Addr> = match &spec.cluster_ips {
        Some(ips) => ips.iter().filter_map(|ip| ip.parse().ok()).collect(),
        None => spec.cluster_ip.iter().filter_map(|ip| ip.parse().ok()).collect(),
    };
    if cluster.is_empty() {
        return None;
    }
    let external = spec.external_ips.iter().flatten().filter_map(|ip| ip.parse().ok());
    let status = service.status.as_ref().and_then(|s| s.load_balancer.as_ref());
    let balanced = status
        .into_iter()
        .flat_map(|lb| lb.ingress.iter().flatten())
        .filter_map(|i| i.ip.as_ref()?.parse().ok());
    let is = |policy: &Option<String>| policy.as_deref() == Some("Local");
    Some(Fronts {
        addresses: cluster.into_iter().chain(external).chain(balanced).collect(),
        ports: spec.ports.iter().flatten().filter_map(port).collect(),
        by_client: spec.session_affinity.as_deref() == Some("ClientIP"),
        local_outside: is(&spec.external_traffic_policy),
        local_inside: is(&spec.internal_traffic_policy),
    })
}

fn port(port: &ServicePort) -> Option<Port> {
    Some(Port {
        name: port.name.clone().unwrap_or_default(),
        protocol: Protocol::read(port.protocol.as_deref())?,
        port: u16::try_from(port.port).ok()?,
        node_port: port.node_port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0),
    })
}
