//! Members of a store on loopback: `kontiki store` or etcd, which take the same flags.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Instant,
};

use anyhow::Context;
use proto::etcd::etcdserverpb::{RangeRequest, RangeResponse};
use tokio::process::Child;

use crate::{
    grpc,
    limits::{ANSWER_MAX, CLUSTER_MAX, READY_POLL},
    machine, process,
    wire::{Connection, Target},
};

/// A program that is a store.
pub struct Program {
    /// What the table calls it.
    pub name: &'static str,
    path: PathBuf,
    /// What comes before the flags.
    subcommand: Option<&'static str>,
}

impl Program {
    /// Ours.
    pub fn kontiki(path: PathBuf) -> Self {
        Self { name: "kontiki", path, subcommand: Some("store") }
    }

    /// The peer; says which version it is.
    pub fn etcd(path: PathBuf) -> anyhow::Result<Self> {
        let version = machine::first_line(&path, "--version")?;
        println!("peer: {version} ({})\n", path.display());
        Ok(Self { name: "etcd", path, subcommand: None })
    }
}

/// Running members; killed when dropped.
pub struct Members {
    /// Where each serves clients.
    pub targets: Vec<Target>,
    children: Vec<Child>,
    // After the children, so that they are gone before their directory.
    dir: tempfile::TempDir,
}

impl Members {
    /// Founds a store, and waits until each member answers a linearizable read.
    pub async fn start(program: &Program, members: usize, pinned: bool) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("kontiki-bench-").tempdir()?;
        let ports = free_ports(2 * members)?;
        let (client_ports, peer_ports) = ports.split_at(members);
        let founders: Vec<String> = (0..members).map(|at| format!("m{at}={}", url(peer_ports[at]))).collect();
        let mut cluster = Self { targets: Vec::new(), children: Vec::new(), dir };
        for at in 0..members {
            let flags = [
                ("--name", format!("m{at}")),
                ("--data-dir", cluster.dir.path().join(format!("m{at}")).display().to_string()),
                ("--listen-client-urls", url(client_ports[at])),
                ("--advertise-client-urls", url(client_ports[at])),
                ("--listen-peer-urls", url(peer_ports[at])),
                ("--initial-advertise-peer-urls", url(peer_ports[at])),
                ("--initial-cluster", founders.join(",")),
            ];
            cluster.children.push(spawn(
                program,
                &flags,
                &cluster.dir.path().join(format!("m{at}.log")),
                pinned,
            )?);
            cluster
                .targets
                .push(Target { address: (Ipv4Addr::LOCALHOST, client_ports[at]).into(), tls: None });
        }
        for at in 0..members {
            cluster.ready(at).await?;
        }
        Ok(cluster)
    }

    /// The processes.
    pub fn pids(&self) -> Vec<u32> {
        self.children.iter().filter_map(Child::id).collect()
    }

    /// Ends all of them, and deletes what they stored.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        for child in &mut self.children {
            tokio::time::timeout(ANSWER_MAX, child.kill()).await.context("a member does not end")??;
        }
        Ok(())
    }

    async fn ready(&mut self, at: usize) -> anyhow::Result<()> {
        let deadline = Instant::now() + CLUSTER_MAX;
        loop {
            let asked = async {
                let connection = Connection::open(&self.targets[at]).await?;
                let request = RangeRequest { key: "ready".into(), ..RangeRequest::default() };
                grpc::unary::<RangeResponse>(&connection, grpc::RANGE, &request).await
            };
            let asked = tokio::time::timeout(ANSWER_MAX, asked).await.map_err(anyhow::Error::from).flatten();
            let Err(error) = asked else { return Ok(()) };
            let ended = self.children[at].try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read(self.dir.path().join(format!("m{at}.log"))).unwrap_or_default();
                let log = String::from_utf8_lossy(&log[log.len().saturating_sub(2000)..]).into_owned();
                return Err(error.context(format!("member {at} does not serve (ended: {ended:?}): {log}")));
            }
            tokio::time::sleep(READY_POLL).await;
        }
    }
}

fn spawn(program: &Program, flags: &[(&str, String)], log: &Path, pinned: bool) -> anyhow::Result<Child> {
    let mut command = process::command(&program.path, pinned);
    command.args(program.subcommand);
    for (flag, value) in flags {
        command.arg(flag).arg(value);
    }
    let log = std::fs::File::create(log)?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let child = tokio::process::Command::from(command).kill_on_drop(true).spawn();
    child.with_context(|| format!("running {}", program.path.display()))
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Ports that were free a moment ago, all different.
fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    let listeners: Result<Vec<_>, _> =
        (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect();
    Ok(listeners?
        .iter()
        .map(TcpListener::local_addr)
        .map(|at| at.map(|at| at.port()))
        .collect::<Result<_, _>>()?)
}
