//! What an agent is told before it starts. Nothing else is global: directories, cgroups, ports and names all
//! derive from here, so several agents live on one machine.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{Error, limits};

/// Options of an [`Agent`](crate::Agent).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Options {
    /// Name of the Node object. No default.
    pub node_name: String,
    /// InternalIP of the node: where the API server reaches the agent, and what pods see as host IP.
    pub node_ip: IpAddr,
    /// Labels put on the Node besides the well-known ones.
    pub labels: BTreeMap<String, String>,
    /// Everything of the agent: pods' volumes and files below `pods/`.
    pub root_dir: PathBuf,
    /// Container logs below `pods/`. Default: `logs` in `root_dir`.
    pub log_dir: Option<PathBuf>,
    /// Unix socket of the CRI runtime.
    pub runtime_endpoint: PathBuf,
    /// Cluster DNS servers, written into pods with dnsPolicy ClusterFirst. Empty: pods get the host's.
    pub cluster_dns: Vec<IpAddr>,
    /// Domain of the cluster, for search lists.
    pub cluster_domain: String,
    /// The host's resolver configuration, for dnsPolicy Default.
    pub resolv_conf: PathBuf,
    /// Pods the node takes.
    pub pods_max: u32,
    /// Where the agent's HTTPS server listens; port 0 takes a free one.
    pub server_addr: SocketAddr,
    /// Certificates of the server; without them it does not start (and logs and exec do not work).
    pub server_tls: Option<ServerTls>,
    /// Parent of all pod cgroups, as CRI understands it; empty for the root.
    pub cgroup_root: String,
    /// Version in the node's status.
    pub kubelet_version: String,
    /// How often the node's status is computed. It is written when it changed.
    pub status_interval: Duration,
    /// How long an unchanged node status may go unwritten.
    pub status_report_interval: Duration,
    /// How often the node's Lease is renewed.
    pub lease_interval: Duration,
    /// How long the Lease is good for.
    pub lease_duration: Duration,
}

/// Files of the agent's HTTPS server. They are read again when they change.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerTls {
    /// Certificate chain, PEM.
    pub certificate: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
    /// Authority whose client certificates are taken, PEM.
    pub client_ca: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            node_name: String::new(),
            node_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            labels: BTreeMap::new(),
            root_dir: PathBuf::from("/var/lib/kontiki/agent"),
            log_dir: None,
            runtime_endpoint: PathBuf::from("/run/kontiki/runtime.sock"),
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".into(),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            pods_max: limits::PODS_MAX,
            server_addr: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 10250)),
            server_tls: None,
            cgroup_root: String::new(),
            kubelet_version: concat!("v1.36.0-kontiki", env!("CARGO_PKG_VERSION")).into(),
            status_interval: Duration::from_secs(10),
            status_report_interval: Duration::from_secs(5 * 60),
            lease_interval: Duration::from_secs(10),
            lease_duration: Duration::from_secs(40),
        }
    }
}

impl Options {
    /// Says what is wrong, if anything.
    pub fn validate(&self) -> Result<(), Error> {
        let fault = |text: &str| Err(Error::Options(text.to_owned()));
        if self.node_name.is_empty() {
            return fault("nodeName is empty");
        }
        if !self.root_dir.is_absolute() {
            return fault("rootDir is not an absolute path");
        }
        if self.lease_interval.is_zero() || self.status_interval.is_zero() {
            return fault("an interval is zero");
        }
        if self.lease_duration <= self.lease_interval {
            return fault("leaseDuration is not longer than leaseInterval");
        }
        Ok(())
    }

    /// Directory of one pod's volumes and files.
    pub fn pod_dir(&self, uid: &str) -> PathBuf {
        self.pods_dir().join(uid)
    }

    /// Directory of all pods.
    pub fn pods_dir(&self) -> PathBuf {
        self.root_dir.join("pods")
    }

    /// Directory of one pod's logs.
    pub fn pod_log_dir(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.log_root().join(format!("{namespace}_{name}_{uid}"))
    }

    /// Directory of all pods' logs.
    pub fn log_root(&self) -> PathBuf {
        self.log_dir.clone().unwrap_or_else(|| self.root_dir.join("logs")).join("pods")
    }
}
