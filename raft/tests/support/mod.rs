//! Members in one process: own directories, real servers on loopback, a state machine that remembers its commands.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use kontiki_raft::disk::SimDisk;
use kontiki_raft::{
    Batch, Error, Handle, Member, MemberId, Node, Options, PeerTls, Seams, StateMachine, StateMachineError,
};
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

const CLUSTER: u64 = 0xC1;

/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

pub fn command(number: u64) -> Bytes {
    Bytes::from(format!("command {number}"))
}

pub fn journal() -> Arc<Journal> {
    Arc::default()
}

/// Waits for a condition, with a deadline.
pub async fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

/// Remembers every command; durable only when flushed, like the real one.
#[derive(Default)]
pub struct Journal {
    live: Mutex<State>,
    durable: Mutex<State>,
    restored: AtomicUsize,
    trouble: Mutex<Option<Trouble>>,
    /// Applied batches: every other is applied at once.
    batches: AtomicUsize,
}

/// What becomes of the next batch.
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    Fails,
    Panics,
}

#[derive(Clone, Default)]
struct State {
    commands: Vec<Bytes>,
    position: Option<Bytes>,
}

impl Journal {
    pub fn commands(&self) -> Vec<Bytes> {
        self.live.lock().commands.clone()
    }

    pub fn restored(&self) -> usize {
        self.restored.load(Ordering::Relaxed)
    }

    pub fn trouble(&self, trouble: Trouble) {
        *self.trouble.lock() = Some(trouble);
    }

    /// What a crash leaves: only what was flushed. A new machine, so that nothing of the old life reaches it.
    fn crashed(&self) -> Self {
        let durable = self.durable.lock().clone();
        Self { live: Mutex::new(durable.clone()), durable: Mutex::new(durable), ..Self::default() }
    }
}

fn storage(source: std::io::Error) -> StateMachineError {
    StateMachineError::Storage { action: "image", source: source.into() }
}

impl StateMachine for Journal {
    fn apply(&self, batch: Batch) -> Result<Vec<Bytes>, StateMachineError> {
        match *self.trouble.lock() {
            None => {}
            Some(Trouble::Fails) => return Err(storage(std::io::Error::other("the disk is on fire"))),
            Some(Trouble::Panics) => panic!("this was not to be"),
        }
        self.batches.fetch_add(1, Ordering::Relaxed);
        let mut live = self.live.lock();
        let mut responses = Vec::new();
        for committed in batch.commands {
            live.commands.push(committed.command);
            responses.push(Bytes::from(live.commands.len().to_string()));
        }
        live.position = Some(batch.position);
        Ok(responses)
    }

    fn apply_at_once(&self, batch: &Batch) -> Option<Result<Vec<Bytes>, StateMachineError>> {
        self.batches.load(Ordering::Relaxed).is_multiple_of(2).then(|| self.apply(batch.clone()))
    }

    fn position(&self) -> Result<Option<Bytes>, StateMachineError> {
        Ok(self.live.lock().position.clone())
    }

    fn flush(&self) -> Result<bool, StateMachineError> {
        let live = self.live.lock().clone();
        *self.durable.lock() = live;
        Ok(true)
    }

    fn checkpoint(&self, into: &Path) -> Result<Option<Bytes>, StateMachineError> {
        let live = self.live.lock().clone();
        std::fs::create_dir(into).map_err(storage)?;
        std::fs::write(into.join("position"), live.position.as_deref().unwrap_or_default())
            .map_err(storage)?;
        std::fs::write(into.join("commands"), live.commands.join(&b'\n')).map_err(storage)?;
        Ok(live.position)
    }

    fn restore(&self, from: &Path) -> Result<(), StateMachineError> {
        let position = std::fs::read(from.join("position")).map_err(storage)?;
        let commands = std::fs::read(from.join("commands")).map_err(storage)?;
        let commands = commands.split(|byte| *byte == b'\n').map(Bytes::copy_from_slice).collect();
        let state = State { commands, position: Some(position.into()) };
        *self.live.lock() = state.clone();
        *self.durable.lock() = state;
        self.restored.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Starts a member whose former life in this process may still hold the lock of its directory.
async fn start_patiently(
    options: &Options,
    machine: Arc<Journal>,
    tls: Option<PeerTls>,
    seams: Seams,
) -> Node {
    let patience = tokio::time::Instant::now() + PATIENCE;
    loop {
        let machine = Arc::clone(&machine) as Arc<dyn StateMachine>;
        match Node::start_on(
            options.clone(),
            machine,
            tls.clone().map(|tls| watch::channel(tls).1),
            seams.clone(),
        )
        .await
        {
            Ok(node) => return node,
            Err(error) if tokio::time::Instant::now() > patience => panic!("{error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

fn server_tls(tls: &PeerTls) -> ServerTlsConfig {
    ServerTlsConfig::new()
        .identity(Identity::from_pem(&tls.cert_pem, &tls.key_pem))
        .client_ca_root(Certificate::from_pem(&tls.ca_pem))
}

/// Keys of members on this machine, all of one authority. Worthless anywhere else; valid for a hundred years.
pub fn our_keys() -> PeerTls {
    PeerTls {
        ca_pem: include_bytes!("keys/ours-ca.pem").to_vec(),
        cert_pem: include_bytes!("keys/ours-cert.pem").to_vec(),
        key_pem: include_bytes!("keys/ours-key.pem").to_vec(),
    }
}

/// The same of another authority.
pub fn foreign_keys() -> PeerTls {
    PeerTls {
        ca_pem: include_bytes!("keys/theirs-ca.pem").to_vec(),
        cert_pem: include_bytes!("keys/theirs-cert.pem").to_vec(),
        key_pem: include_bytes!("keys/theirs-key.pem").to_vec(),
    }
}

/// A member that runs.
pub struct Running {
    address: SocketAddr,
    handle: Handle,
    node: Option<JoinHandle<Result<(), Error>>>,
    closed: CancellationToken,
    shutdown: CancellationToken,
    /// Removed with the member.
    directory: Option<TempDir>,
}

impl Running {
    async fn start(
        options: Options,
        machine: Arc<Journal>,
        listener: TcpListener,
        tls: Option<PeerTls>,
        seams: Seams,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let node = start_patiently(&options, machine, tls.clone(), seams).await;
        let (handle, service) = (node.handle(), node.service());
        let shutdown = CancellationToken::new();
        let closed = CancellationToken::new();
        let mut server = tonic::transport::Server::builder().tcp_nodelay(true);
        if let Some(tls) = &tls {
            server = server.tls_config(server_tls(tls)).unwrap();
        }
        let server = server
            .add_service(service)
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), closed.clone().cancelled_owned());
        tokio::spawn(async move { server.await.unwrap() });
        let node = Some(tokio::spawn(node.run(shutdown.clone())));
        Self { address, handle, node, closed, shutdown, directory: None }
    }

    /// A member of a cluster of its own, without members.
    pub async fn foreign(cluster_id: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = Options {
            id: MemberId(7),
            cluster_id,
            data_dir: directory.path().to_owned(),
            ..Options::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut running = Self::start(options, Arc::default(), listener, None, Seams::default()).await;
        running.directory = Some(directory);
        running
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Gone without a farewell.
    fn kill(&mut self) {
        self.closed.cancel();
        if let Some(node) = self.node.take() {
            node.abort();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Members of one group, numbered from one.
pub struct Cluster {
    directory: TempDir,
    addresses: BTreeMap<u64, SocketAddr>,
    machines: BTreeMap<u64, Arc<Journal>>,
    running: BTreeMap<u64, Running>,
    handles: BTreeMap<u64, Handle>,
    tls: BTreeMap<u64, PeerTls>,
    /// Members that keep their log on a simulated disk.
    disks: BTreeMap<u64, SimDisk>,
    /// How long bytes take from member to member.
    delay: Option<Duration>,
}

/// Hands on what connections carry, later.
async fn relay(listener: TcpListener, to: SocketAddr, delay: Duration) {
    while let Ok((near, _)) = listener.accept().await {
        // A member that has stopped.
        let Ok(far) = TcpStream::connect(to).await else { continue };
        let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
        tokio::spawn(later(near_in, far_out, delay));
        tokio::spawn(later(far_in, near_out, delay));
    }
}

/// One direction of a connection.
async fn later(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (sender, mut under_way) = tokio::sync::mpsc::channel::<(tokio::time::Instant, Bytes)>(1024);
    let arriving = async move {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let due = tokio::time::Instant::now() + delay;
            if sender.send((due, Bytes::copy_from_slice(&buffer[..read]))).await.is_err() {
                return;
            }
        }
    };
    let leaving = async move {
        while let Some((due, bytes)) = under_way.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(arriving, leaving);
}

impl Cluster {
    /// A group of so many voters that has a leader.
    pub async fn new(size: u64) -> Self {
        Self::with_tls(size, BTreeMap::new()).await
    }

    /// The same; members that have keys use them.
    async fn with_tls(size: u64, tls: BTreeMap<u64, PeerTls>) -> Self {
        let everybody: Vec<u64> = (1..=size).collect();
        Self::with_tls_quorum(size, tls, &everybody).await
    }

    /// The same, but only `quorum` is expected to find together.
    pub async fn with_tls_quorum(size: u64, tls: BTreeMap<u64, PeerTls>, quorum: &[u64]) -> Self {
        Self::build(size, tls, quorum, BTreeMap::new(), None).await
    }

    /// A group of so many voters far from each other.
    pub async fn far_apart(size: u64, delay: Duration) -> Self {
        let everybody: Vec<u64> = (1..=size).collect();
        Self::build(size, BTreeMap::new(), &everybody, BTreeMap::new(), Some(delay)).await
    }

    /// A group of so many voters, with their logs on simulated disks.
    pub async fn on_simulated_disks(size: u64) -> Self {
        let disks = (1..=size).map(|id| (id, SimDisk::default())).collect();
        let everybody: Vec<u64> = (1..=size).collect();
        Self::build(size, BTreeMap::new(), &everybody, disks, None).await
    }

    async fn build(
        size: u64,
        tls: BTreeMap<u64, PeerTls>,
        quorum: &[u64],
        disks: BTreeMap<u64, SimDisk>,
        delay: Option<Duration>,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut cluster = Self {
            directory,
            addresses: BTreeMap::new(),
            machines: BTreeMap::new(),
            running: BTreeMap::new(),
            handles: BTreeMap::new(),
            tls,
            disks,
            delay,
        };
        for id in 1..=size {
            cluster.prepare(id).await;
        }
        let members = cluster.members(size);
        cluster.handle(1).initialize(members).await.unwrap();
        cluster.leader_of(quorum).await;
        cluster
    }

    fn options(&self, id: u64) -> Options {
        Options {
            id: MemberId(id),
            cluster_id: CLUSTER,
            data_dir: self.directory.path().join(id.to_string()),
            log_keep_entries: 10,
            log_keep_bytes: 32 << 20,
            snapshot_entries: 100_000,
            snapshot_bytes: 256 << 10,
            propose_timeout_ms: 8_000,
            read_timeout_ms: 15_000,
            leader_wait_ms: 6_000,
            ..Options::default()
        }
    }

    /// Starts a member that is in no group yet.
    pub async fn prepare(&mut self, id: u64) -> Member {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut address = listener.local_addr().unwrap();
        if let Some(delay) = self.delay {
            let between = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let to = std::mem::replace(&mut address, between.local_addr().unwrap());
            tokio::spawn(relay(between, to, delay));
        }
        self.addresses.insert(id, address);
        self.machines.insert(id, Arc::default());
        self.launch(id, listener).await;
        self.member(id)
    }

    async fn launch(&mut self, id: u64, listener: TcpListener) {
        let seams = match self.disks.get(&id) {
            Some(disk) => Seams { disk: Arc::new(disk.clone()), ..Seams::default() },
            None => Seams::default(),
        };
        let tls = self.tls.get(&id).cloned();
        let running = Running::start(self.options(id), self.machine(id), listener, tls, seams).await;
        self.handles.insert(id, running.handle());
        self.running.insert(id, running);
    }

    fn member(&self, id: u64) -> Member {
        let scheme = if self.tls.contains_key(&id) { "https" } else { "http" };
        Member {
            name: format!("member-{id}"),
            peer_url: format!("{scheme}://{}", self.addresses[&id]),
            client_urls: Vec::new(),
        }
    }

    pub fn members(&self, size: u64) -> BTreeMap<MemberId, Member> {
        (1..=size).map(|id| (MemberId(id), self.member(id))).collect()
    }

    pub fn handle(&self, id: u64) -> Handle {
        self.handles[&id].clone()
    }

    pub fn machine(&self, id: u64) -> Arc<Journal> {
        Arc::clone(&self.machines[&id])
    }

    /// The simulated disk of a member.
    pub fn disk(&self, id: u64) -> SimDisk {
        self.disks[&id].clone()
    }

    pub fn commands(&self, id: u64) -> Vec<Bytes> {
        self.machines[&id].commands()
    }

    /// Waits until all running members agree on a leader that runs.
    pub async fn leader(&self) -> u64 {
        let running: Vec<u64> = self.running.keys().copied().collect();
        self.leader_of(&running).await
    }

    /// The same of some of them.
    pub async fn leader_among(&self, members: &[u64]) -> u64 {
        self.leader_of(members).await
    }

    async fn leader_of(&self, members: &[u64]) -> u64 {
        let agreed = Mutex::new(0);
        let condition = || {
            let mut leaders = members.iter().map(|id| self.handles[id].leadership().borrow().leader);
            let Some(MemberId(first)) = leaders.next().flatten() else { return false };
            *agreed.lock() = first;
            members.contains(&first)
                && self.running.contains_key(&first)
                && leaders.all(|leader| leader == Some(MemberId(first)))
        };
        wait_for("a leader", condition).await;
        agreed.into_inner()
    }

    /// As `kill -9` would: nothing is flushed, and the state machine forgets what it had not flushed.
    pub async fn kill(&mut self, id: u64) {
        self.running.remove(&id).unwrap().kill();
        self.handles.remove(&id);
        let machine = self.machine(id);
        self.forget(id);
        // A process is gone at once; what runs in ours takes a moment.
        wait_for("the end of a member", || Arc::strong_count(&machine) == 1).await;
    }

    /// Everything a member that does not run had is lost.
    pub fn wipe(&mut self, id: u64) {
        std::fs::remove_dir_all(self.directory.path().join(id.to_string())).unwrap();
        self.machines.insert(id, Arc::default());
    }

    fn forget(&mut self, id: u64) {
        let crashed = Arc::new(self.machines[&id].crashed());
        self.machines.insert(id, crashed);
    }

    /// Ends a member properly.
    pub async fn stop(&mut self, id: u64) {
        let mut running = self.running.remove(&id).unwrap();
        running.shutdown.cancel();
        running.node.take().unwrap().await.unwrap().unwrap();
        running.kill();
        self.forget(id);
    }

    /// What `run` of a member returned.
    pub async fn wait_end(&mut self, id: u64) -> Result<(), Error> {
        let node = self.running.get_mut(&id).unwrap().node.take().unwrap();
        tokio::time::timeout(PATIENCE, node).await.unwrap().unwrap()
    }

    /// Starts a member that was there before, on another address.
    pub async fn relocate(&mut self, id: u64) -> Member {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.addresses.insert(id, listener.local_addr().unwrap());
        self.launch(id, listener).await;
        self.member(id)
    }

    /// Starts a member that was there before, on its old address.
    pub async fn start(&mut self, id: u64) {
        let address = self.addresses[&id];
        let patience = tokio::time::Instant::now() + PATIENCE;
        let listener = loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(error) if tokio::time::Instant::now() > patience => panic!("{address}: {error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        self.launch(id, listener).await;
    }
}
