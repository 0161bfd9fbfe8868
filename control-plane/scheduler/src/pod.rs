//! A pod as the scheduler sees it: what constrains its placement, parsed once.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use k8s_openapi::api::core::v1::{Affinity, Pod as KubePod, PodSpec, Toleration, TopologySpreadConstraint};

use crate::resources::Resources;

/// A port claimed on the node itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// Address it is bound to; `0.0.0.0` conflicts with all.
    pub ip: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The port.
    pub port: i32,
}

impl HostPort {
    /// Whether both cannot be bound at once.
    pub fn conflicts(&self, other: &Self) -> bool {
        let any = |ip: &str| ip == "0.0.0.0" || ip.is_empty();
        self.port == other.port
            && self.protocol == other.protocol
            && (any(&self.ip) || any(&other.ip) || self.ip == other.ip)
    }
}

/// What decides where a pod may go. Pods with equal requirements form a class and are judged once per node.
#[derive(Clone, Debug)]
pub struct Requirements {
    /// The pod's namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it asks for.
    pub requests: Resources,
    /// What it is taken to use when nodes are compared.
    pub scored: Resources,
    /// Ports it claims on the node.
    pub host_ports: Vec<HostPort>,
    /// `spec.nodeName` wanted by the user, for pods that name a node but are not bound by us.
    pub node_selector: BTreeMap<String, String>,
    /// Node, pod and anti-affinity.
    pub affinity: Affinity,
    /// What it tolerates.
    pub tolerations: Vec<Toleration>,
    /// How it must spread.
    pub spread: Vec<TopologySpreadConstraint>,
    /// UID of its controller, or empty: siblings are spread by default.
    pub controller: String,
    /// Equal for pods that are judged alike.
    pub class: u64,
}

impl Requirements {
    /// Whether the judgement of a node depends on pods of other nodes.
    pub fn looks_at_other_nodes(&self) -> bool {
        !self.spread.is_empty()
            || self.affinity.pod_affinity.is_some()
            || self.affinity.pod_anti_affinity.is_some()
    }
}

/// Identity of a pod and what constrains it.
#[derive(Clone, Debug)]
pub struct Pod {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `spec.nodeName`, or empty.
    pub node: String,
    /// `spec.priority`.
    pub priority: i32,
    /// Whether deletion has begun.
    pub terminating: bool,
    /// Whether `status.phase` is final.
    pub finished: bool,
    /// Whether `spec.schedulingGates` still hold it back.
    pub gated: bool,
    /// `spec.schedulerName`.
    pub scheduler: String,
    /// What decides where it may go.
    pub requirements: Arc<Requirements>,
}

impl Pod {
    /// Reads a pod; `None` when it has no name or spec, which the API never delivers.
    pub fn read(pod: &KubePod) -> Option<Self> {
        let meta = &pod.metadata;
        let spec = pod.spec.as_ref()?;
        let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default();
        let namespace = meta.namespace.clone().unwrap_or_default();
        Some(Self {
            name: meta.name.clone()?,
            uid: meta.uid.clone().unwrap_or_default(),
            node: spec.node_name.clone().unwrap_or_default(),
            priority: spec.priority.unwrap_or(0),
            terminating: meta.deletion_timestamp.is_some(),
            finished: matches!(phase, "Succeeded" | "Failed"),
            gated: spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty()),
            scheduler: spec.scheduler_name.clone().unwrap_or_default(),
            requirements: Arc::new(requirements(pod, spec, &namespace)),
            namespace,
        })
    }

    /// `namespace/name`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

fn requirements(pod: &KubePod, spec: &PodSpec, namespace: &str) -> Requirements {
    let controller = pod
        .metadata
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true))
        .map(|owner| owner.uid.clone())
        .unwrap_or_default();
    let mut requirements = Requirements {
        namespace: namespace.to_owned(),
        labels: pod.metadata.labels.clone().unwrap_or_default(),
        requests: Resources::of_pod(spec),
        scored: Resources::scored(spec),
        host_ports: host_ports(spec),
        node_selector: spec.node_selector.clone().unwrap_or_default(),
        affinity: spec.affinity.clone().unwrap_or_default(),
        tolerations: spec.tolerations.clone().unwrap_or_default(),
        spread: spec.topology_spread_constraints.clone().unwrap_or_default(),
        controller,
        class: 0,
    };
    requirements.class = class(&requirements);
    requirements
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let init =
        spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let mut ports: Vec<HostPort> = spec
        .containers
        .iter()
        .chain(init)
        .flat_map(|container| container.ports.iter().flatten())
        .filter_map(|port| {
            Some(HostPort {
                ip: port.host_ip.clone().unwrap_or_default(),
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                port: port.host_port.filter(|port| *port != 0)?,
            })
        })
        .collect();
    ports.sort();
    ports
}

/// Equal requirements give equal classes. Typed API structs have no `Hash`; their debug form is complete.
fn class(requirements: &Requirements) -> u64 {
    let mut hasher = DefaultHasher::new();
    requirements.namespace.hash(&mut hasher);
    requirements.requests.hash(&mut hasher);
    requirements.scored.hash(&mut hasher);
    requirements.host_ports.hash(&mut hasher);
    requirements.node_selector.hash(&mut hasher);
    requirements.controller.hash(&mut hasher);
    requirements.labels.hash(&mut hasher);
    if requirements.affinity != Affinity::default()
        || !requirements.tolerations.is_empty()
        || !requirements.spread.is_empty()
    {
        format!("{:?}{:?}{:?}", requirements.affinity, requirements.tolerations, requirements.spread)
            .hash(&mut hasher);
    }
    hasher.finish()
}
