//! A whole cluster on one machine: `kontiki up`, `down` and `status`.
//!
//! ```text
//!   DIR/cluster.json        what the cluster consists of (made once, then only read)
//!   DIR/pki/                the authority and the keys every server shares
//!   DIR/kubeconfig          for people
//!   DIR/servers/<name>/     one server process: config.json, data/, log, pid
//!   DIR/agents/<name>/      one agent process: config.json, data/, log, pid
//!   DIR/images/             archives every agent imports when it starts
//! ```
//!
//! Everything is derived from `cluster.json`, so `up` on a cluster that partly runs starts only what is missing: that
//! is how a killed server comes back. [`plan`] decides (pure), [`machine`] touches the kernel, [`process`] starts and
//! stops, [`state`] reads and writes the directory.
//!
//! With one agent, the node is the machine itself, so node ports are on `localhost`. With several, or when asked, each
//! agent has a network namespace of its own, all joined by one bridge.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;

pub mod images;
pub mod machine;
pub mod plan;
pub mod process;
pub mod state;

mod down;
mod ready;
mod up;

pub use down::{Down, down};
pub use up::{Request, Started, up};

/// Why a local cluster could not be started, stopped or looked at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the cluster could not be read or written.
    #[error("cannot {action} {path}", path = path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// `cluster.json` is not what this version writes.
    #[error("{path} cannot be understood: {why}", path = path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// There is no cluster in the directory.
    #[error("there is no cluster in {dir}; `kontiki up --data-dir {dir}` starts one", dir = dir.display())]
    NoCluster {
        /// The directory.
        dir: PathBuf,
    },
    /// What was asked for contradicts what is there.
    #[error("{0}")]
    Refused(String),
    /// A program that configures the kernel failed.
    #[error("{command} failed: {why}")]
    Command {
        /// The command line.
        command: String,
        /// What it said.
        why: String,
    },
    /// Keys or certificates could not be made.
    #[error("cannot make the cluster's certificates: {0}")]
    Pki(String),
    /// A process did not start, or ended.
    #[error("{name} {what}; its log ends with:\n{log}")]
    Process {
        /// Which.
        name: String,
        /// What happened.
        what: String,
        /// Last lines of its log.
        log: String,
    },
    /// Something took too long.
    #[error("gave up after {after:?} waiting for {what}")]
    Timeout {
        /// For what.
        what: String,
        /// How long.
        after: Duration,
    },
}

/// What a local cluster looks like now.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The directory.
    pub data_dir: PathBuf,
    /// The kubeconfig for people.
    pub kubeconfig: PathBuf,
    /// Its servers.
    pub servers: Vec<ServerStatus>,
    /// Its agents.
    pub agents: Vec<AgentStatus>,
}

/// One server process.
#[derive(Clone, Debug, Serialize)]
pub struct ServerStatus {
    /// Its name.
    pub name: String,
    /// Its process, when it runs.
    pub pid: Option<u32>,
    /// Where it is reached.
    pub urls: Urls,
    /// Whether it answers and is ready.
    pub ready: bool,
    /// Whether it leads the store.
    pub leader: bool,
}

/// Where a server is reached.
#[derive(Clone, Debug, Serialize)]
pub struct Urls {
    /// The Kubernetes API.
    pub api: String,
    /// The store's peers.
    pub peer: String,
}

/// One agent process.
#[derive(Clone, Debug, Serialize)]
pub struct AgentStatus {
    /// Its name, also the name of its node.
    pub name: String,
    /// Its process, when it runs.
    pub pid: Option<u32>,
    /// The node's address.
    pub address: String,
    /// Whether its node is ready.
    pub ready: bool,
}

/// Looks at a cluster without changing anything.
pub async fn status(data_dir: &Path) -> Result<Status, Error> {
    let layout = state::Layout::new(data_dir);
    let cluster = layout.read()?;
    let probe = ready::Probe::new(&layout)?;
    let mut servers = Vec::new();
    for server in &cluster.servers {
        let pid = process::running(&layout.server(&server.name));
        let answer = match pid {
            Some(_) => probe.server(server).await,
            None => None,
        };
        servers.push(ServerStatus {
            name: server.name.clone(),
            pid,
            urls: Urls { api: server.api_url(), peer: server.peer_url() },
            ready: answer.is_some_and(|answer| answer.ready),
            leader: answer.is_some_and(|answer| answer.leader),
        });
    }
    let ready = probe.ready_nodes(&cluster).await;
    let agents = cluster.agents.iter().map(|agent| AgentStatus {
        name: agent.name.clone(),
        pid: process::running(&layout.agent(&agent.name)),
        address: agent.address.to_string(),
        ready: ready.contains(&agent.name),
    });
    let agents = agents.collect();
    Ok(Status { data_dir: layout.root().to_owned(), kubeconfig: layout.kubeconfig(), servers, agents })
}
