//! The service proxy: Services as nftables maps.
//!
//! ```text
//!   informers (Service, EndpointSlice) --> plan (pure) --> Desired maps --> diff --> one `nft -f -` transaction
//!
//!   packet to 10.96.0.5:80 --vmap services--> chain pick-3 --> dnat to endpoints[10.96.0.5 . tcp . 80 . random 0..2]
//! ```
//!
//! The shape is what makes it fast: a service is one element of a flat map and an endpoint is another, so a change is a
//! few elements in one transaction, never a rewrite. A chain exists per *number* of endpoints, not per service.
//!
//! | map | key | value |
//! |---|---|---|
//! | `services` | address . protocol . port | goto `pick-<n>` or, with client affinity, `hash-<n>` |
//! | `endpoints` | address . protocol . port . index | pod address . pod port |
//! | `node-ports` | protocol . port | goto `node-pick-<n>` or `node-hash-<n>` |
//! | `node-endpoints` | protocol . port . index | pod address . pod port |
//! | `hairpin` (set) | pod address . pod address | a pod that reaches itself through its service is masqueraded |
//! | `dead-node-ports` (set) | protocol . port | refused: a service without endpoints |
//!
//! Cluster addresses without endpoints are refused too, by a rule over the whole service range: what still carries such
//! an address when it is forwarded was translated by nobody.
//!
//! Invariants: the kernel holds what was desired at the last successful transaction, or nothing of ours; after a
//! failed transaction the whole table is written anew. Bounds: one transaction at a time, changes in between are
//! merged.
//!
//! Not done: IPv6, SCTP, topology-aware routing, health-check node ports, load-balancer source ranges.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use client::{Informers, ObjectKey};
use ipnet::Ipv4Net;
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub mod nft;
pub mod plan;

pub use plan::Desired;

/// How the proxy behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the nftables table; one proxy per table and network namespace.
    pub table: String,
    /// This node's name: decides which endpoints are local.
    pub node_name: String,
    /// Range of the cluster addresses.
    pub service_cidr: Ipv4Net,
    /// Range of all pods; other sources are masqueraded when they reach a pod through a service.
    pub cluster_cidr: Ipv4Net,
}

/// Loads rule sets into the kernel.
#[async_trait]
pub trait Loader: Send + Sync + 'static {
    /// Runs one atomic transaction in nft's language.
    async fn load(&self, transaction: String) -> Result<(), nft::Error>;
}

/// Lets packets from `localhost` be led to pods. Our raw chain drops what would come in for 127.0.0.0/8 instead.
const ROUTE_LOCALNET: &str = "/proc/sys/net/ipv4/conf/all/route_localnet";

/// First wait after a transaction failed; doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(200);
/// Longest such wait.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// The proxy of one node.
pub struct Proxy {
    options: Options,
    loader: Arc<dyn Loader>,
}

impl Proxy {
    /// A proxy that writes through the `nft` program.
    pub fn new(options: Options) -> Self {
        Self { options, loader: Arc::new(nft::Program) }
    }

    /// A proxy that writes elsewhere, for tests.
    pub fn with_loader(options: Options, loader: Arc<dyn Loader>) -> Self {
        Self { options, loader }
    }

    /// Follows services and endpoints until shutdown. The rules stay, so that traffic flows while the agent is
    /// restarted; [`Proxy::remove`] takes them away.
    pub async fn run(self, informers: Informers, shutdown: CancellationToken) {
        if let Err(why) = std::fs::write(ROUTE_LOCALNET, "1") {
            warn!(error = %why, "node ports will not answer on localhost");
        }
        let services = informers.get::<Service>();
        let slices = informers.get::<EndpointSlice>();
        let (mut service_changes, mut slice_changes) = (services.changes(), slices.changes());
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = async { services.wait_synced().await; slices.wait_synced().await } => {}
        }
        info!(table = %self.options.table, "service proxy follows services and endpoints");
        let mut planner = plan::Planner::new(self.options.clone());
        for slice in slices.list() {
            planner.put_slice(&ObjectKey::of(&slice.metadata), Some(&slice));
        }
        for service in services.list() {
            planner.put_service(&ObjectKey::of(&service.metadata), Some(&service));
        }
        let mut applied: Option<Desired> = None;
        let mut retry = RETRY_MIN;
        loop {
            let failed = !self.apply(&planner, &mut applied).await;
            retry = if failed { (retry * 2).min(RETRY_MAX) } else { RETRY_MIN };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(retry), if failed => {}
                keys = service_changes.next_batch() => take(&keys, |key| planner.put_service(key, services.get(key).as_deref())),
                keys = slice_changes.next_batch() => take(&keys, |key| planner.put_slice(key, slices.get(key).as_deref())),
            }
        }
    }

    async fn apply(&self, planner: &plan::Planner, applied: &mut Option<Desired>) -> bool {
        let desired = planner.desired();
        let transaction = match applied.as_ref() {
            Some(before) => nft::difference(&self.options, before, &desired),
            None => nft::whole(&self.options, &desired),
        };
        if transaction.is_empty() {
            return true;
        }
        match self.loader.load(transaction).await {
            Ok(()) => {
                *applied = Some(desired);
                true
            }
            Err(why) => {
                warn!(table = %self.options.table, error = %why, "service rules were not loaded, writing them anew");
                *applied = None;
                false
            }
        }
    }

    /// Takes the rules away.
    pub async fn remove(&self) -> Result<(), nft::Error> {
        self.loader.load(nft::removal(&self.options)).await
    }
}

fn take(keys: &BTreeSet<ObjectKey>, mut put: impl FnMut(&ObjectKey)) {
    keys.iter().for_each(&mut put);
}

#[cfg(test)]
mod tests;
