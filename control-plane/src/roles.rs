//! Scheduler and controllers as processes of their own: the same plugins, over TLS instead of an in-memory channel.

use std::{path::PathBuf, sync::Arc};

use client::{
    Context, Plugin,
    grpc::{ClientTls, Remote},
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::control_plane::{self, lead_scheduler, scheduler_election};

/// How a plugin in a process of its own reaches the API, and who it is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Options {
    /// Unique name of this process among those that stand for the same election. No default.
    pub name: String,
    /// Addresses of the API servers, `https://host:port`. No default.
    pub servers: Vec<String>,
    /// Certificate of the cluster's authority. No default.
    pub ca: PathBuf,
    /// Certificate of `system:kube-scheduler` or `system:kube-controller-manager`. No default.
    pub certificate: PathBuf,
    /// Its key. No default.
    pub key: PathBuf,
    /// What the whole cluster shares: ranges, domain, patience.
    pub cluster: Shared,
}

/// What every process of a cluster must be told alike.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Shared {
    /// Addresses of pods.
    pub cluster_cidr: ipnet::Ipv4Net,
    /// Seconds that others wait for a silent leader, at least 3.
    pub leadership_s: u64,
    /// Seconds after which a silent node is not ready.
    pub node_grace_s: u64,
}

impl Default for Shared {
    fn default() -> Self {
        let defaults = control_plane::Options::default();
        Self {
            cluster_cidr: defaults.cluster_cidr,
            leadership_s: defaults.leadership_s,
            node_grace_s: defaults.node_grace_s,
        }
    }
}

impl Options {
    fn read(path: &PathBuf) -> Result<Vec<u8>, control_plane::Error> {
        std::fs::read(path)
            .map_err(|source| crate::local::Error::File { action: "read", path: path.clone(), source }.into())
    }

    fn context(&self, stop: &CancellationToken) -> Result<Context, control_plane::Error> {
        crate::install_crypto();
        let tls = ClientTls {
            ca: Self::read(&self.ca)?,
            cert: Self::read(&self.certificate)?,
            key: Self::read(&self.key)?,
        };
        let bad = |why: &dyn std::fmt::Display| control_plane::Error::Options(why.to_string());
        if self.name.is_empty() || self.servers.is_empty() {
            return Err(bad(&"name and servers must be set"));
        }
        let remote = Remote::connect(&self.servers, &tls).map_err(|why| bad(&why))?;
        Ok(Context::new(Arc::new(remote), &self.name, stop.clone()))
    }
}

/// Schedules pods while elected, until `stop`.
pub async fn scheduler(options: Options, stop: CancellationToken) -> Result<(), control_plane::Error> {
    let context = options.context(&stop)?;
    lead_scheduler(scheduler_election(&options.name, options.cluster.leadership_s), context).await;
    Ok(())
}

/// Runs the controllers while elected, until `stop`.
pub async fn controllers(options: Options, stop: CancellationToken) -> Result<(), control_plane::Error> {
    let context = options.context(&stop)?;
    let ca = String::from_utf8_lossy(&Options::read(&options.ca)?).into_owned();
    let shared = &options.cluster;
    let settings = control_plane::controller_options(
        IpNet::V4(shared.cluster_cidr),
        shared.node_grace_s,
        shared.leadership_s,
        ca,
    );
    let plugin = controllers::Controllers::new(settings)
        .map_err(|why| control_plane::Error::Options(why.to_string()))?;
    plugin.run(context).await;
    Ok(())
}
