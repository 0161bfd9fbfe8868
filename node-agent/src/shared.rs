//! What every pod's worker shares.

use std::sync::Arc;

use client::{Informer, events::Recorder};
use k8s_openapi::api::core::v1::Service;
use parking_lot::RwLock;
use tokio::sync::Semaphore;

use crate::{
    cri,
    env::field::Allocatable,
    options::Options,
    pod::{report, status},
    references::References,
    sys::{Clock, Facts, Kernel},
};

/// The parts of the agent that pods need.
pub struct Shared {
    /// What the agent was told.
    pub options: Options,
    /// The container runtime.
    pub runtime: Arc<dyn cri::Runtime>,
    /// The API.
    pub client: client::Client,
    /// Events for people.
    pub recorder: Recorder,
    /// Mounts and owners.
    pub kernel: Arc<dyn Kernel>,
    /// The time.
    pub clock: Clock,
    /// ConfigMaps and Secrets.
    pub references: References,
    /// Services, for variables.
    pub services: Informer<Service>,
    /// Statuses on their way to the API.
    pub reporter: report::Handle,
    /// Pulls at once.
    pub pulls: Semaphore,
    /// Probes at once.
    pub probes: Arc<Semaphore>,
    /// The machine.
    pub facts: Facts,
    /// The node, as pods' statuses show it.
    pub node: RwLock<status::Node>,
}

impl Shared {
    /// The node's addresses.
    pub fn host_ips(&self) -> Vec<String> {
        self.node.read().ips.clone()
    }

    /// What pods without limits may use.
    pub fn allocatable(&self) -> Allocatable {
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        Allocatable {
            cpu_millis: number(self.facts.cpus.saturating_mul(1_000)),
            memory_bytes: number(self.facts.memory_bytes),
            disk_bytes: number(self.facts.disk_bytes),
        }
    }
}
