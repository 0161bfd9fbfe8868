//! Three members as processes of the program that users run.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use proto::etcd::etcdserverpb as pb;
use proto::etcd::etcdserverpb::kv_client::KvClient;
use proto::etcd::etcdserverpb::lease_client::LeaseClient;
use proto::etcd::etcdserverpb::maintenance_client::MaintenanceClient;
use rustix::process::{Pid, Signal, kill_process};
use tonic::transport::{Channel, Endpoint};

use crate::limits::{CALL, POLL, READY};
use crate::network::{CLIENT_PORT, Network, PEER_PORT};

/// The members; killed when dropped.
pub struct Cluster {
    /// Their network.
    pub network: Network,
    members: Vec<Option<Child>>,
    directory: tempfile::TempDir,
    program: PathBuf,
    shim: PathBuf,
}

/// What the machine lacks for these tests, if anything.
pub fn missing() -> Option<&'static str> {
    let runs = |program: &str, argument: &str| Command::new(program).arg(argument).output().is_ok();
    if !rustix::process::geteuid().is_root() {
        return Some("root");
    }
    let programs = [("ip", "-V"), ("nft", "-v"), ("cc", "--version")];
    programs.into_iter().find(|(program, argument)| !runs(program, argument)).map(|(program, _)| program)
}

/// The program beside the test in the target directory.
fn program() -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe()?;
    let mut folders = here.ancestors().skip(1).take(2);
    folders
        .find_map(|folder| Some(folder.join("kontiki-store")).filter(|path| path.exists()))
        .context("kontiki-store is missing: build it first with `cargo build --release -p kontiki-store-bin`")
}

fn shim(directory: &Path) -> anyhow::Result<PathBuf> {
    let source = directory.join("disk.c");
    std::fs::write(&source, include_str!("../shim/disk.c"))?;
    let library = directory.join("disk.so");
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(&source)
        .arg("-ldl")
        .status();
    ensure!(status.context("running cc")?.success(), "the shim does not compile");
    Ok(library)
}

impl Cluster {
    /// Founds a store, and waits until each member answers a linearizable read.
    pub async fn start(members: usize) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("kontiki-faults-").tempdir()?;
        let shim = shim(directory.path())?;
        let network = Network::new(members)?;
        let members = (0..members).map(|_| None).collect();
        let mut cluster = Self { network, members, directory, program: program()?, shim };
        for at in 0..cluster.len() {
            cluster.spawn(at)?;
        }
        for at in 0..cluster.len() {
            cluster.ready(at).await?;
        }
        Ok(cluster)
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Where a member serves clients.
    pub fn client_address(&self, at: usize) -> SocketAddr {
        (self.network.address(Some(at)), CLIENT_PORT).into()
    }

    /// Where a member keeps everything.
    pub fn data(&self, at: usize) -> PathBuf {
        self.directory.path().join(format!("m{at}"))
    }

    /// Starts a member that does not run.
    pub fn spawn(&mut self, at: usize) -> anyhow::Result<()> {
        let url = |address: Ipv4Addr, port: u16| format!("http://{address}:{port}");
        let peer = |at| url(self.network.address(Some(at)), PEER_PORT);
        let client = url(self.network.address(Some(at)), CLIENT_PORT);
        let founders: Vec<String> = (0..self.len()).map(|at| format!("m{at}={}", peer(at))).collect();
        let log = std::fs::File::options().create(true).append(true).open(self.log(at))?;
        let mut command = self.network.command(at, &self.program);
        command
            .args(["--name", &format!("m{at}")])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer(at), "--initial-advertise-peer-urls", &peer(at)])
            .args(["--initial-cluster", &founders.join(","), "--auto-compaction-retention", "0"])
            .arg("--data-dir")
            .arg(self.data(at))
            .env("LD_PRELOAD", &self.shim)
            .env("FAULTS_DISK", self.disk(at))
            .env("FAULTS_CLOCK", self.clock(at))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.members[at] = Some(command.spawn().context("running kontiki-store")?);
        Ok(())
    }

    /// Kills a member at once and waits until it is gone.
    pub fn kill(&mut self, at: usize) -> anyhow::Result<()> {
        if let Some(mut member) = self.members[at].take() {
            member.kill()?;
            member.wait()?;
        }
        Ok(())
    }

    /// Stops a member in its tracks, or lets it go on.
    pub fn pause(&self, at: usize, paused: bool) -> anyhow::Result<()> {
        let member = self.members[at].as_ref().context("it does not run")?;
        let pid = i32::try_from(member.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("no process has such a number")?;
        Ok(kill_process(pid, if paused { Signal::STOP } else { Signal::CONT })?)
    }

    /// Whether a member has ended by itself.
    pub fn has_ended(&mut self, at: usize) -> anyhow::Result<bool> {
        let Some(member) = self.members[at].as_mut() else { return Ok(true) };
        let ended = member.try_wait()?.is_some();
        if ended {
            self.members[at] = None;
        }
        Ok(ended)
    }

    /// Tells the shim of a member what to do with syncs; empty for nothing.
    pub fn disturb_disk(&self, at: usize, order: &str) -> anyhow::Result<()> {
        tell(&self.disk(at), order)
    }

    /// Sets the time of day of a member so many seconds ahead of the machine's.
    pub fn set_clock(&self, at: usize, seconds: i64) -> anyhow::Result<()> {
        tell(&self.clock(at), &seconds.to_string())
    }

    fn clock(&self, at: usize) -> PathBuf {
        self.directory.path().join(format!("m{at}.clock"))
    }

    fn disk(&self, at: usize) -> PathBuf {
        self.directory.path().join(format!("m{at}.disk"))
    }

    fn log(&self, at: usize) -> PathBuf {
        self.directory.path().join(format!("m{at}.log"))
    }

    /// The end of what a member logged.
    pub fn last_words(&self, at: usize) -> String {
        let log = std::fs::read(self.log(at)).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(3000)..]).into_owned()
    }

    /// Waits until a member answers a linearizable read.
    pub async fn ready(&mut self, at: usize) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY;
        loop {
            let request = pb::RangeRequest { key: "ready".into(), ..Default::default() };
            let Err(error) = KvClient::new(channel(self.client_address(at))).range(request).await else {
                return Ok(());
            };
            if self.has_ended(at)? || Instant::now() > deadline {
                bail!("member {at} does not serve: {error}\n{}", self.last_words(at));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The member that leads and knows it.
    pub async fn leader(&self) -> anyhow::Result<usize> {
        let deadline = Instant::now() + READY;
        loop {
            for at in 0..self.len() {
                let Ok(status) = self.status(at).await else { continue };
                if status.header.is_some_and(|header| header.member_id == status.leader) {
                    return Ok(at);
                }
            }
            ensure!(Instant::now() < deadline, "nobody leads");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until all members hold the same content at a revision, and says so if they do not.
    pub async fn agree(&self, revision: i64) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY;
        let mut hashes = Vec::new();
        for at in 0..self.len() {
            loop {
                let request = pb::HashKvRequest { revision };
                match self.maintenance(at).hash_kv(request).await {
                    Ok(answer) => break hashes.push(answer.into_inner().hash),
                    Err(error) => {
                        ensure!(Instant::now() < deadline, "member {at} does not reach {revision}: {error}")
                    }
                }
                tokio::time::sleep(POLL).await;
            }
        }
        ensure!(
            hashes.windows(2).all(|pair| pair[0] == pair[1]),
            "S5: hashes at revision {revision}: {hashes:?}"
        );
        Ok(())
    }

    /// What a member says of itself.
    pub async fn status(&self, at: usize) -> anyhow::Result<pb::StatusResponse> {
        Ok(self.maintenance(at).status(pb::StatusRequest::default()).await?.into_inner())
    }

    /// Whether a member other than `old` leads, in a later term than `term`.
    pub async fn leads_since(&self, term: u64, old: usize) -> bool {
        for at in (0..self.len()).filter(|at| *at != old) {
            let Ok(status) = self.status(at).await else { continue };
            let itself = status.header.is_some_and(|header| header.member_id == status.leader);
            if itself && status.raft_term > term {
                return true;
            }
        }
        false
    }

    /// Asks a member for a lease of so many seconds.
    pub async fn grant(&self, at: usize, seconds: i64) -> anyhow::Result<i64> {
        let request = pb::LeaseGrantRequest { ttl: seconds, id: 0 };
        Ok(self.leases(at).lease_grant(request).await?.into_inner().id)
    }

    /// The seconds left of a lease; -1 when it is gone.
    pub async fn time_to_live(&self, at: usize, lease: i64) -> anyhow::Result<i64> {
        let request = pb::LeaseTimeToLiveRequest { id: lease, keys: false };
        Ok(self.leases(at).lease_time_to_live(request).await?.into_inner().ttl)
    }

    fn leases(&self, at: usize) -> LeaseClient<Channel> {
        LeaseClient::new(channel(self.client_address(at)))
    }

    fn maintenance(&self, at: usize) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(channel(self.client_address(at)))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in self.members.iter_mut().flatten() {
            let _gone = member.kill();
            let _gone = member.wait();
        }
    }
}

/// Gives the shim an order in one step: it must not see half of it.
fn tell(file: &Path, order: &str) -> anyhow::Result<()> {
    let draft = file.with_extension("new");
    std::fs::write(&draft, order)?;
    Ok(std::fs::rename(draft, file)?)
}

/// A connection that is made when it is used.
pub fn channel(address: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address makes a URL");
    endpoint.connect_timeout(Duration::from_millis(500)).timeout(CALL).connect_lazy()
}
