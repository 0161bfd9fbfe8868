//! Amounts of node resources: what a node offers, what a pod asks for.

use std::collections::BTreeMap;

use api::quantity::Quantity;
use k8s_openapi::{
    api::core::v1::{Container, PodSpec},
    apimachinery::pkg::api::resource::Quantity as Written,
};

/// CPU assumed for a container that asks for none, when nodes are scored. In millicores, kube-scheduler's value.
const SCORED_CPU_M: i64 = 100;
/// Memory assumed for a container that asks for none, when nodes are scored. In bytes, kube-scheduler's value.
const SCORED_MEMORY: i64 = 200 * 1024 * 1024;

/// Amounts. CPU in millicores, memory and storage in bytes, the rest in units.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Resources {
    /// Millicores.
    pub cpu_m: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes.
    pub ephemeral_storage: i64,
    /// Huge pages, devices and other extended resources by name.
    pub extended: BTreeMap<String, i64>,
}

impl Resources {
    /// Reads a resource list; what cannot be parsed counts as zero, since the API has validated it.
    pub fn read(list: Option<&BTreeMap<String, Written>>) -> Self {
        let mut amounts = Self::default();
        for (name, written) in list.into_iter().flatten() {
            let quantity: Quantity = written.0.parse().unwrap_or_default();
            match name.as_str() {
                "cpu" => amounts.cpu_m = quantity.millis(),
                "memory" => amounts.memory = quantity.units(),
                "ephemeral-storage" => amounts.ephemeral_storage = quantity.units(),
                "pods" => {}
                other => {
                    amounts.extended.insert(other.to_owned(), quantity.units());
                }
            }
        }
        amounts
    }

    /// What a pod asks for: the sum of its containers and sidecars, or the peak of its init containers if that
    /// is more, plus overhead (kubernetes/component-helpers `resource.PodRequests`).
    pub fn of_pod(spec: &PodSpec) -> Self {
        Self::aggregate(spec, |container| {
            Self::read(container.resources.as_ref().and_then(|r| r.requests.as_ref()))
        })
    }

    /// As [`Resources::of_pod`], with an assumed minimum for containers that ask for nothing, so that such
    /// pods do not pile up on one node.
    pub fn scored(spec: &PodSpec) -> Self {
        Self::aggregate(spec, |container| {
            let mut asked = Self::read(container.resources.as_ref().and_then(|r| r.requests.as_ref()));
            if asked.cpu_m == 0 {
                asked.cpu_m = SCORED_CPU_M;
            }
            if asked.memory == 0 {
                asked.memory = SCORED_MEMORY;
            }
            asked
        })
    }

    fn aggregate(spec: &PodSpec, ask: impl Fn(&Container) -> Self) -> Self {
        let mut total = Self::default();
        for container in &spec.containers {
            total.add(&ask(container));
        }
        let (mut sidecars, mut peak) = (Self::default(), Self::default());
        for container in spec.init_containers.iter().flatten() {
            let asked = ask(container);
            if container.restart_policy.as_deref() == Some("Always") {
                sidecars.add(&asked);
                total.add(&asked);
                peak.raise(&sidecars);
            } else {
                let mut while_it_runs = sidecars.clone();
                while_it_runs.add(&asked);
                peak.raise(&while_it_runs);
            }
        }
        total.raise(&peak);
        if let Some(pod) = spec.resources.as_ref().and_then(|r| r.requests.as_ref()) {
            total.raise(&Self::read(Some(pod)));
        }
        total.add(&Self::read(spec.overhead.as_ref()));
        total
    }

    /// Adds another amount.
    pub fn add(&mut self, other: &Self) {
        self.cpu_m = self.cpu_m.saturating_add(other.cpu_m);
        self.memory = self.memory.saturating_add(other.memory);
        self.ephemeral_storage = self.ephemeral_storage.saturating_add(other.ephemeral_storage);
        for (name, amount) in &other.extended {
            let slot = self.extended.entry(name.clone()).or_default();
            *slot = slot.saturating_add(*amount);
        }
    }

    /// Takes another amount away.
    pub fn subtract(&mut self, other: &Self) {
        self.cpu_m -= other.cpu_m;
        self.memory -= other.memory;
        self.ephemeral_storage -= other.ephemeral_storage;
        for (name, amount) in &other.extended {
            *self.extended.entry(name.clone()).or_default() -= amount;
        }
    }

    fn raise(&mut self, floor: &Self) {
        self.cpu_m = self.cpu_m.max(floor.cpu_m);
        self.memory = self.memory.max(floor.memory);
        self.ephemeral_storage = self.ephemeral_storage.max(floor.ephemeral_storage);
        for (name, amount) in &floor.extended {
            let slot = self.extended.entry(name.clone()).or_default();
            *slot = (*slot).max(*amount);
        }
    }
}
