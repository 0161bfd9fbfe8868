//! What the runtime can be told, and what follows from it. Every name it gives to anything outside its own
//! directories derives from here, so that several runtimes share a machine.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Configuration of [`crate::Server`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Directory of what must survive a reboot: images and the records of sandboxes and containers.
    pub root: PathBuf,
    /// Directory of what a reboot may take: control sockets and pinned namespaces. Best on tmpfs.
    pub run_dir: PathBuf,
    /// Where CRI is served.
    pub socket: PathBuf,
    /// Directories whose archives (`*.tar`, `*.tar.gz`, `*.tgz`) are imported when the server starts.
    #[serde(default)]
    pub image_dirs: Vec<PathBuf>,
    /// Cgroup, as an absolute path in the hierarchy, under which shims live, and pods whose
    /// `cgroup_parent` is empty. No two runtimes of a machine may share it.
    pub cgroup_parent: String,
    /// Program and first arguments that become a shim, for example `["/usr/bin/kontiki", "shim"]`.
    pub shim_command: Vec<String>,
    /// Address of the server behind exec, attach and port-forward URLs. Loopback, with a port the kernel picks.
    #[serde(default = "default_streaming_address")]
    pub streaming_address: SocketAddr,
    /// The pod network. Pods on the host's network work without it.
    pub network: network::pod::Options,
    /// Where images are fetched from.
    #[serde(default)]
    pub registries: Registries,
}

/// How registries are reached.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registries {
    /// Registry host to hosts that are asked before it, in this order.
    #[serde(default)]
    pub mirrors: std::collections::BTreeMap<String, Vec<String>>,
    /// Hosts spoken to without TLS.
    #[serde(default)]
    pub plain_http: Vec<String>,
}

fn default_streaming_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

impl Options {
    /// The usual layout inside one directory. `name` (letters, digits and dashes) tells this runtime from others on
    /// the machine: the bridge, the cgroup and the nftables table carry it. `shim_command` as in the field.
    pub fn in_dir(dir: &Path, name: &str, shim_command: Vec<String>) -> Self {
        let root = dir.join("runtime");
        Self {
            run_dir: dir.join("run"),
            socket: dir.join("run/cri.sock"),
            image_dirs: vec![dir.join("images")],
            cgroup_parent: format!("/kontiki-{name}"),
            shim_command,
            streaming_address: default_streaming_address(),
            network: network::pod::Options::new(name, root.join("network")),
            registries: Registries::default(),
            root,
        }
    }

    /// Adds pod CIDRs that are known before the node is registered.
    #[must_use]
    pub fn with_pod_cidrs(mut self, cidrs: Vec<IpNet>) -> Self {
        self.network.pod_cidrs = cidrs;
        self
    }

    /// Says which field cannot be used, and why.
    pub fn validate(&self) -> Result<()> {
        if self.shim_command.is_empty() {
            return Err(Error::Invalid("shim_command is empty: no program to start shims with".into()));
        }
        let parent = &self.cgroup_parent;
        if !parent.starts_with('/') || parent.len() < 2 || parent.split('/').any(|part| part == "..") {
            return Err(Error::Invalid(format!("cgroup_parent {parent:?} is not an absolute cgroup path")));
        }
        if !self.streaming_address.ip().is_loopback() {
            return Err(Error::Invalid(format!(
                "streaming_address {} is not loopback; its URLs carry no other protection than a token",
                self.streaming_address
            )));
        }
        for (name, path) in [("root", &self.root), ("run_dir", &self.run_dir), ("socket", &self.socket)] {
            if !path.is_absolute() {
                return Err(Error::Invalid(format!("{name} {} is not an absolute path", path.display())));
            }
        }
        self.network.validate().map_err(Error::Network)
    }
}
