//! `kontiki agent`

use std::{
    fs::File,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Args;
use kontiki::{
    agent::{self, Options},
    program,
};
use nix::sched::{CloneFlags, setns};

/// Run one node in the foreground: containers, pod network, service proxy and DNS. Needs root.
///
/// The certificates are those that `kontiki kubeconfig --node NAME --out DIR` writes on a server.
/// Stopping or killing the agent stops no container; the next one takes them over.
#[derive(Args)]
pub struct Agent {
    /// Read all options from this JSON file; other flags change what it says
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Name of the node
    #[arg(long)]
    name: Option<String>,
    /// Where the node keeps its state
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address by which servers and other nodes reach this one
    #[arg(long)]
    address: Option<IpAddr>,
    /// An API server; may be repeated
    #[arg(long = "server", value_name = "URL")]
    servers: Vec<String>,
    /// Directory with ca.crt, client.crt, client.key, server.crt and server.key
    #[arg(long, value_name = "DIR")]
    pki_dir: Option<PathBuf>,
    /// Socket of another CRI runtime, such as containerd's
    #[arg(long, value_name = "SOCKET")]
    container_runtime_endpoint: Option<PathBuf>,
    /// Instead of running, remove the containers, networks and mounts of a stopped agent
    #[arg(long)]
    clean_up: bool,
}

impl Agent {
    pub fn run(self) -> anyhow::Result<()> {
        program::start_log();
        let clean_up = self.clean_up;
        let options = self.options()?;
        if let Some(namespace) = &options.network_namespace {
            enter(namespace)?;
        }
        if clean_up {
            return Ok(program::block_on(agent::clean_up(options))??);
        }
        program::block_on(async move {
            let stop = program::until_asked_to_stop()?;
            let agent = agent::Agent::start(options).await.context("the agent cannot start")?;
            Ok(agent.run(stop).await?)
        })?
    }

    fn options(self) -> anyhow::Result<Options> {
        let mut options: Options = match &self.config {
            Some(path) => program::read_config(path)?,
            None => Options::default(),
        };
        options.name = self.name.unwrap_or(options.name);
        options.data_dir = self.data_dir.unwrap_or(options.data_dir);
        options.address = self.address.unwrap_or(options.address);
        if !self.servers.is_empty() {
            options.servers = self.servers;
        }
        if let Some(dir) = self.pki_dir {
            options.ca = dir.join("ca.crt");
            options.client_certificate = dir.join("client.crt");
            options.client_key = dir.join("client.key");
            options.server_certificate = dir.join("server.crt");
            options.server_key = dir.join("server.key");
        }
        options.container_runtime_endpoint =
            self.container_runtime_endpoint.or(options.container_runtime_endpoint);
        Ok(options)
    }
}

/// Enters a network namespace. Only the calling thread does, so this comes before any other thread exists.
fn enter(namespace: &Path) -> anyhow::Result<()> {
    let file =
        File::open(namespace).with_context(|| format!("opening the namespace {}", namespace.display()))?;
    setns(file, CloneFlags::CLONE_NEWNET)
        .with_context(|| format!("entering the namespace {}", namespace.display()))
}
