//! Members of a store on loopback: `kontiki store` or etcd, which take the same flags.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
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
    before: &'static [&'static str],
}

impl Program {
    /// Ours: the whole program, or the one that is only the store.
    pub fn kontiki(path: PathBuf) -> Self {
        let whole = path.file_name().is_none_or(|name| name != process::STORE_PROGRAM);
        Self { name: "kontiki", path, before: if whole { &["store"] } else { &[] } }
    }

    /// The peer; says which version it is.
    pub fn etcd(path: PathBuf) -> anyhow::Result<Self> {
        let version = machine::first_line(&path, "--version")?;
        println!("peer: {version} ({})\n", path.display());
        // Without a larger quota, the peer refuses writes in the middle of the long rows.
        Ok(Self { name: "etcd", path, before: &["--quota-backend-bytes", "34359738368"] })
    }
}

/// Running members; killed when dropped.
pub struct Members {
    /// Where each serves clients.
    pub targets: Vec<Target>,
    children: Vec<Child>,
    /// How each was started.
    flags: Vec<Vec<(&'static str, String)>>,
    /// From the start of the last process to the first answered read.
    pub first_read: Duration,
    pinned: bool,
    // After the children, so that they are gone before their directory.
    dir: tempfile::TempDir,
}

impl Members {
    /// Founds a store, and waits until each member answers a linearizable read.
    pub async fn start(program: &Program, members: usize, pinned: bool) -> anyhow::Result<Self> {
        Self::start_in(&std::env::temp_dir(), program, members, pinned).await
    }

    /// The same, with the data below this directory.
    pub async fn start_in(
        parent: &Path,
        program: &Program,
        members: usize,
        pinned: bool,
    ) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("kontiki-bench-").tempdir_in(parent)?;
        let ports = free_ports(2 * members)?;
        let (client_ports, peer_ports) = ports.split_at(members);
        let founders: Vec<String> = (0..members).map(|at| format!("m{at}={}", url(peer_ports[at]))).collect();
        let mut cluster = Self {
            targets: Vec::new(),
            children: Vec::new(),
            flags: Vec::new(),
            first_read: Duration::ZERO,
            pinned,
            dir,
        };
        let begin = Instant::now();
        for at in 0..members {
            cluster.flags.push(vec![
                ("--name", format!("m{at}")),
                ("--data-dir", cluster.dir.path().join(format!("m{at}")).display().to_string()),
                ("--listen-client-urls", url(client_ports[at])),
                ("--advertise-client-urls", url(client_ports[at])),
                ("--listen-peer-urls", url(peer_ports[at])),
                ("--initial-advertise-peer-urls", url(peer_ports[at])),
                ("--initial-cluster", founders.join(",")),
            ]);
            let child = cluster.spawn(program, at)?;
            cluster.children.push(child);
            cluster
                .targets
                .push(Target { address: (Ipv4Addr::LOCALHOST, client_ports[at]).into(), tls: None });
        }
        for at in 0..members {
            cluster.ready(at).await?;
        }
        cluster.first_read = begin.elapsed();
        Ok(cluster)
    }

    /// Kills a member as a crash would, starts it again and waits until it answers a linearizable read.
    pub async fn restart(&mut self, program: &Program, at: usize) -> anyhow::Result<()> {
        tokio::time::timeout(ANSWER_MAX, self.children[at].kill())
            .await
            .context("a member does not end")??;
        let begin = Instant::now();
        self.children[at] = self.spawn(program, at)?;
        self.ready(at).await?;
        self.first_read = begin.elapsed();
        Ok(())
    }

    fn spawn(&self, program: &Program, at: usize) -> anyhow::Result<Child> {
        let mut command = process::command(&program.path, self.pinned);
        command.args(program.before);
        for (flag, value) in &self.flags[at] {
            command.arg(flag).arg(value);
        }
        let log = self.dir.path().join(format!("m{at}.log"));
        let log = std::fs::File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = tokio::process::Command::from(command).kill_on_drop(true).spawn();
        child.with_context(|| format!("running {}", program.path.display()))
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
