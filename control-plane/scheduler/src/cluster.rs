//! The scheduler's picture of the cluster: nodes in columns, and the pods on them.
//!
//! Every change of a node, or of the pods on it, raises the node's generation; judgements of a node are kept
//! until its generation moves. Pods that were just given a node are *assumed* until the API confirms them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Node as KubeNode, Taint};

use crate::{
    pod::{HostPort, Pod, Requirements},
    resources::Resources,
};

/// A node, or a pod's claim on one.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `spec.taints`.
    pub taints: Vec<Taint>,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// What pods may use in all.
    pub allocatable: Resources,
    /// How many pods it may run.
    pub pods_max: i64,
    /// What its pods ask for.
    pub requested: Resources,
    /// What its pods are taken to use when nodes are compared.
    pub scored: Resources,
    /// Ports claimed by its pods.
    pub host_ports: Vec<HostPort>,
    /// Its pods by UID.
    pub pods: HashMap<String, Arc<Requirements>>,
    /// How many of its pods have each controller.
    pub siblings: HashMap<String, usize>,
    /// How many of its pods have required anti-affinity, which binds newcomers too.
    pub anti_affine: usize,
    /// Raised by every change.
    pub generation: u64,
    /// Whether the Node object exists; pods may be known before their node.
    pub known: bool,
}

impl Node {
    fn place(&mut self, uid: &str, pod: Arc<Requirements>) {
        self.requested.add(&pod.requests);
        self.scored.add(&pod.scored);
        self.host_ports.extend(pod.host_ports.iter().cloned());
        if !pod.controller.is_empty() {
            *self.siblings.entry(pod.controller.clone()).or_default() += 1;
        }
        self.anti_affine += usize::from(is_anti_affine(&pod));
        self.pods.insert(uid.to_owned(), pod);
    }

    fn displace(&mut self, uid: &str) {
        let Some(pod) = self.pods.remove(uid) else { return };
        self.requested.subtract(&pod.requests);
        self.scored.subtract(&pod.scored);
        for port in &pod.host_ports {
            if let Some(at) = self.host_ports.iter().position(|other| other == port) {
                self.host_ports.swap_remove(at);
            }
        }
        if let Some(count) = self.siblings.get_mut(&pod.controller) {
            *count -= 1;
            if *count == 0 {
                self.siblings.remove(&pod.controller);
            }
        }
        self.anti_affine -= usize::from(is_anti_affine(&pod));
    }
}

fn is_anti_affine(pod: &Requirements) -> bool {
    let anti = pod.affinity.pod_anti_affinity.as_ref();
    anti.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref())
        .is_some_and(|terms| !terms.is_empty())
}

/// Position of a node in [`Cluster::nodes`]; stable while the node exists.
pub type Slot = usize;

/// All nodes and the pods on them.
#[derive(Debug, Default)]
pub struct Cluster {
    /// Nodes by slot; a freed slot holds an unknown node without pods.
    pub nodes: Vec<Node>,
    slots: HashMap<String, Slot>,
    free: Vec<Slot>,
    placed: HashMap<String, Slot>,
    generation: u64,
    /// Labels of namespaces, for affinity terms with a namespace selector.
    pub namespaces: HashMap<String, BTreeMap<String, String>>,
}

impl Cluster {
    /// How many nodes exist.
    pub fn len(&self) -> usize {
        self.nodes.iter().filter(|node| node.known).count()
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a pod is placed somewhere.
    pub fn is_placed(&self, uid: &str) -> bool {
        self.placed.contains_key(uid)
    }

    fn slot(&mut self, name: &str) -> Slot {
        if let Some(slot) = self.slots.get(name) {
            return *slot;
        }
        let node = Node { name: name.to_owned(), ..Node::default() };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.nodes[slot] = node;
                slot
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        };
        self.slots.insert(name.to_owned(), slot);
        slot
    }

    fn touch(&mut self, slot: Slot) {
        self.generation += 1;
        self.nodes[slot].generation = self.generation;
    }

    /// A node appeared or changed. Answers whether anything that matters to scheduling did.
    pub fn put_node(&mut self, node: &KubeNode) -> bool {
        let Some(name) = node.metadata.name.as_deref() else { return false };
        let spec = node.spec.clone().unwrap_or_default();
        let status = node.status.as_ref();
        let allocatable = status.and_then(|s| s.allocatable.as_ref().or(s.capacity.as_ref()));
        let pods_max =
            allocatable.and_then(|list| list.get("pods")).and_then(|q| q.0.parse::<Quantity>().ok());
        let slot = self.slot(name);
        let entry = &mut self.nodes[slot];
        let labels = node.metadata.labels.clone().unwrap_or_default();
        let taints = spec.taints.unwrap_or_default();
        let allocatable = Resources::read(allocatable);
        let pods_max = pods_max.map_or(0, Quantity::units);
        let unschedulable = spec.unschedulable.unwrap_or(false);
        let same = entry.known
            && entry.labels == labels
            && entry.taints == taints
            && entry.allocatable == allocatable
            && entry.pods_max == pods_max
            && entry.unschedulable == unschedulable;
        if same {
            return false;
        }
        entry.known = true;
        entry.labels = labels;
        entry.taints = taints;
        entry.allocatable = allocatable;
        entry.pods_max = pods_max;
        entry.unschedulable = unschedulable;
        self.touch(slot);
        true
    }

    /// A node went away. Its pods stay known until they go too.
    pub fn remove_node(&mut self, name: &str) {
        let Some(slot) = self.slots.get(name).copied() else { return };
        self.nodes[slot].known = false;
        self.touch(slot);
        self.release(slot);
    }

    fn release(&mut self, slot: Slot) {
        let node = &self.nodes[slot];
        if !node.known && node.pods.is_empty() {
            self.slots.remove(&node.name);
            self.nodes[slot].name.clear();
            self.free.push(slot);
        }
    }

    /// A pod is on a node: by the API's word, or assumed. Finished pods hold nothing.
    pub fn place(&mut self, pod: &Pod, node: &str) {
        if self.placed.get(&pod.uid).is_some_and(|slot| self.nodes[*slot].name == node && !pod.finished) {
            return;
        }
        self.displace(&pod.uid);
        if pod.finished {
            return;
        }
        let slot = self.slot(node);
        self.nodes[slot].place(&pod.uid, Arc::clone(&pod.requirements));
        self.placed.insert(pod.uid.clone(), slot);
        self.touch(slot);
    }

    /// A pod left its node. Answers whether it was on one.
    pub fn displace(&mut self, uid: &str) -> bool {
        let Some(slot) = self.placed.remove(uid) else { return false };
        self.nodes[slot].displace(uid);
        self.touch(slot);
        self.release(slot);
        true
    }
}
