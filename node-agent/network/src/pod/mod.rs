//! The pod network of one node.
//!
//! ```text
//!   pod A (10.1.0.2/32)      pod B (10.1.0.3/32)
//!     eth0                     eth0
//!      │ veth                   │ veth
//!   ───┴────────── bridge ──────┴───   10.1.0.1, routes 10.1.0.0/24
//!                    │
//!              routes to other nodes' pod CIDRs
//! ```
//!
//! A pod's address has a host mask and its only route leads to the bridge's own address. So every packet between pods
//! passes through the node's routing, where service addresses are translated in both directions; on a plain
//! bridge the answers would bypass that. Traffic that leaves the cluster is masqueraded.
//!
//! [`PodNetwork::attach`] and [`PodNetwork::detach`] may be repeated after any failure. Addresses are reserved on disk
//! before they are used. A CNI configuration, when there is one, replaces all of this for attaching and detaching.

pub mod cni;
mod error;
mod ipam;
mod links;
mod nft;
mod options;
mod routes;
mod thread;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use parking_lot::Mutex;

pub use error::{Error, Result};
pub use options::Options;

use ipam::Ipam;

/// How a pod is reached.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Attachment {
    /// Its addresses, the primary one first.
    pub addresses: Vec<IpAddr>,
}

/// A host port that leads to a pod's port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct PortMapping {
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// Address on the host; none is all of them.
    pub host_ip: Option<IpAddr>,
    /// Port on the host.
    pub host_port: u16,
    /// Port of the pod.
    pub container_port: u16,
}

/// The pod network of one node, in the network namespace of the process that makes it.
#[derive(Debug)]
pub struct PodNetwork {
    options: Options,
    cidrs: Mutex<Vec<IpNet>>,
    peers: Mutex<Vec<(IpNet, IpAddr)>>,
    /// Held while the shared parts (bridge, tables) are changed. True when they are as they should be.
    prepared: tokio::sync::Mutex<bool>,
}

impl PodNetwork {
    /// Nothing is changed in the kernel until pod CIDRs are known and the first pod is attached.
    pub fn new(options: Options) -> Result<Self> {
        options.validate()?;
        let cidrs = Mutex::new(options.pod_cidrs.clone());
        Ok(Self { options, cidrs, peers: Mutex::default(), prepared: tokio::sync::Mutex::default() })
    }

    /// The pod CIDRs of this node, at most one of each family.
    pub fn pod_cidrs(&self) -> Vec<IpNet> {
        self.cidrs.lock().clone()
    }

    /// Why no pod can be attached now, if so: what CRI reports as the condition `NetworkReady`.
    pub fn not_ready(&self) -> Option<String> {
        if self.cidrs.lock().is_empty() && cni::Plugins::load(&self.options.cni).is_none() {
            return Some("the node has no pod CIDR yet, and there is no CNI configuration".into());
        }
        None
    }

    /// Sets the pod CIDRs and prepares bridge, forwarding and masquerading for them.
    pub async fn set_pod_cidrs(&self, cidrs: Vec<IpNet>) -> Result<()> {
        options::check_cidrs(&cidrs)?;
        let changed = {
            let mut current = self.cidrs.lock();
            let changed = *current != cidrs;
            *current = cidrs;
            changed
        };
        if changed { self.prepare().await } else { Ok(()) }
    }

    /// Makes the bridge, forwarding and masquerading what they should be.
    pub async fn prepare(&self) -> Result<()> {
        *self.prepared.lock().await = false;
        self.ensure_prepared().await
    }

    async fn ensure_prepared(&self) -> Result<()> {
        let mut prepared = self.prepared.lock().await;
        let cidrs = self.pod_cidrs();
        if *prepared || cidrs.is_empty() {
            return Ok(());
        }
        links::ensure_bridge(&self.options, &cidrs).await?;
        let peers = self.peers.lock().clone();
        nft::apply(&self.options, &cidrs, &peers).await?;
        *prepared = true;
        Ok(())
    }

    /// Gives a pod, by its pinned network namespace, an interface and addresses.
    pub async fn attach(&self, id: &str, namespace: &Path) -> Result<Attachment> {
        if let Some(plugins) = cni::Plugins::load(&self.options.cni) {
            let cache = self.options.state_dir.join("cni");
            return plugins.add(id, namespace, &cache).await;
        }
        let cidrs = self.pod_cidrs();
        if cidrs.is_empty() {
            return Err(Error::NotReady(self.not_ready().unwrap_or_default()));
        }
        self.ensure_prepared().await?;
        let addresses = self.ipam().reserve(id, &cidrs)?;
        let mut connected = links::connect(&self.options, id, namespace, &addresses, &cidrs).await;
        if connected.is_err() {
            // Somebody may have taken the bridge away.
            self.prepare().await?;
            connected = links::connect(&self.options, id, namespace, &addresses, &cidrs).await;
        }
        match connected {
            Ok(()) => Ok(Attachment { addresses }),
            Err(error) => {
                links::disconnect(id).await?;
                self.ipam().release(id)?;
                Err(error)
            }
        }
    }

    /// Takes the interface and addresses away. `namespace` may be gone already. That nothing is there is success.
    pub async fn detach(&self, id: &str, namespace: &Path) -> Result<()> {
        let cache = self.options.state_dir.join("cni");
        if let Some(plugins) = cni::Plugins::of_attachment(id, &cache, &self.options.cni)? {
            return plugins.delete(id, namespace, &cache).await;
        }
        links::disconnect(id).await?;
        nft::unmap_ports(&self.options, id).await?;
        self.ipam().release(id)
    }

    /// Leads ports of the host to a pod. Replaces earlier mappings of the same pod.
    pub async fn map_ports(&self, id: &str, addresses: &[IpAddr], mappings: &[PortMapping]) -> Result<()> {
        if mappings.is_empty() {
            return Ok(());
        }
        let _changing = self.prepared.lock().await;
        nft::map_ports(&self.options, id, addresses, mappings).await
    }

    /// Releases addresses of pods that are no longer known: after a crash between reserving and attaching.
    pub fn retain(&self, known: &BTreeSet<String>) -> Result<()> {
        self.ipam().retain(known)
    }

    /// Other nodes' pod CIDRs and the node address each is reached by. Replaces all earlier ones.
    pub async fn set_peers(&self, peers: Vec<(IpNet, IpAddr)>) -> Result<()> {
        let _changing = self.prepared.lock().await;
        routes::set(&peers).await?;
        *self.peers.lock() = peers.clone();
        let cidrs = self.pod_cidrs();
        if cidrs.is_empty() { Ok(()) } else { nft::apply(&self.options, &cidrs, &peers).await }
    }

    /// Removes everything from the kernel: bridge, tables, routes.
    pub async fn remove(&self) -> Result<()> {
        *self.prepared.lock().await = false;
        routes::set(&[]).await?;
        nft::remove(&self.options).await?;
        links::remove_bridge(&self.options).await
    }

    fn ipam(&self) -> Ipam {
        Ipam::new(self.options.state_dir.join("addresses"))
    }
}
