//! One member: a simulated machine with its disk, and the store that runs on it in one life after another.
//!
//! What a crash leaves is modelled in three parts. The log lies on a [`SimDisk`], which keeps apart what was synced. The state lies in
//! a [`MemoryEngine`]: as RocksDB without a log of its own, it keeps what was flushed and a prefix of the batches written
//! since, so that the log has to be replayed. Of what is wanted at once it refuses some ([`Reluctant`]), as RocksDB does with what is not in
//! memory. The identity of the member is a file written once; it is real, and survives.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use parking_lot::Mutex;
use raft::Work;
use raft::disk::{Crash, SimDisk};
use store::engine::{memory::MemoryEngine, reluctant::Reluctant};
use store::{ClusterState, Handle, Listeners, Options, Seams, Server, Sizes};
use store_client::{KeyRange, Kv, Revision, Watch, WatchMessage};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::ledger::{Eye, Ledger};
use crate::limits::{ELECTION_MS, HEARTBEAT_MS};
use crate::wire;

/// Where members listen for each other, and for clients.
const PEERS: u16 = 2380;
const CLIENTS: u16 = 2379;

/// The URL by which other members reach a member.
pub fn peer_url(name: &str) -> String {
    format!("http://{name}:{PEERS}")
}

/// The URL by which clients reach it.
pub fn client_url(name: &str) -> String {
    format!("http://{name}:{CLIENTS}")
}

/// How a run's members are set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The founders: name and URL.
    pub founders: BTreeMap<String, String>,
    /// Entries between two snapshots.
    pub snapshot_entries: u64,
    /// Sizes of the log.
    pub sizes: Sizes,
    /// Seconds of history; 0 for all.
    pub history_window_s: u64,
    /// Seconds between two comparisons of states.
    pub hash_check_interval_s: u64,
}

/// A member's machine.
pub struct Site {
    /// Its number, from 1 on.
    pub number: usize,
    /// Its name, which is its host.
    pub name: String,
    setup: Setup,
    ledger: Ledger,
    joins: bool,
    /// What time it is here.
    pub clock: Arc<Clock>,
    disk_latency: Duration,
    /// Its id in the group, once known.
    id: Arc<AtomicU64>,
    machine: Mutex<Machine>,
}

struct Machine {
    disk: SimDisk,
    engine: MemoryEngine,
    directory: tempfile::TempDir,
    running: Option<Handle>,
    ended: Option<String>,
}

impl Machine {
    fn new() -> anyhow::Result<Self> {
        // Memory, where there is some: whatever is synced to it costs nothing.
        let memory = PathBuf::from("/dev/shm");
        let directory = match memory.is_dir() {
            true => tempfile::tempdir_in(memory)?,
            false => tempfile::tempdir()?,
        };
        let (disk, engine) = (SimDisk::default(), MemoryEngine::new());
        Ok(Self { disk, engine, directory, running: None, ended: None })
    }
}

impl Site {
    /// An empty machine. One that joins asks the founders who it is.
    pub fn new(
        number: usize,
        setup: &Setup,
        joins: bool,
        clock: Clock,
        disk_latency: Duration,
        ledger: &Ledger,
    ) -> anyhow::Result<Self> {
        let site = Self {
            number,
            name: format!("m{number}"),
            setup: setup.clone(),
            ledger: ledger.clone(),
            joins,
            clock: Arc::new(clock),
            disk_latency,
            id: Arc::default(),
            machine: Mutex::new(Machine::new()?),
        };
        site.usual_pace();
        Ok(site)
    }

    /// The disk of its log.
    pub fn disk(&self) -> SimDisk {
        self.machine.lock().disk.clone()
    }

    /// From now on its disk is as fast as it usually is.
    pub fn usual_pace(&self) {
        self.disk().set_latency(self.disk_latency);
    }

    /// What keeps its state.
    pub fn engine(&self) -> MemoryEngine {
        self.machine.lock().engine.clone()
    }

    /// The way into the store that runs on it, if one does.
    pub fn handle(&self) -> Option<Handle> {
        self.machine.lock().running.clone()
    }

    /// Why the store ended by itself, if it did.
    pub fn ended(&self) -> Option<String> {
        self.machine.lock().ended.clone()
    }

    /// What is left after a crash. Nothing may run on it any more.
    pub fn crash(&self, crash: Crash, keep: impl FnOnce(usize) -> usize) -> usize {
        let mut machine = self.machine.lock();
        (machine.running, machine.ended) = (None, None);
        machine.disk.hang(false);
        machine.disk.crash(crash);
        machine.disk.set_latency(self.disk_latency);
        machine.engine.crash_after(keep)
    }

    /// Somebody takes all disks out and puts empty ones in. Nothing may run on it.
    pub fn wipe(&self) -> anyhow::Result<()> {
        *self.machine.lock() = Machine::new()?;
        self.usual_pace();
        Ok(())
    }

    fn options(&self) -> Options {
        let directory = self.machine.lock().directory.path().to_owned();
        let mut members = self.setup.founders.clone();
        members.insert(self.name.clone(), peer_url(&self.name));
        Options {
            cluster_state: if self.joins { ClusterState::Existing } else { ClusterState::New },
            client_urls: vec![client_url(&self.name)],
            heartbeat_interval_ms: HEARTBEAT_MS,
            election_timeout_ms: ELECTION_MS,
            snapshot_entries: self.setup.snapshot_entries,
            history_window_s: self.setup.history_window_s,
            hash_check_interval_s: self.setup.hash_check_interval_s,
            free_bytes_min: 0,
            ..Options::member(&self.name, directory, members)
        }
    }

    fn seams(&self) -> Seams {
        let machine = self.machine.lock();
        let witness = Eye { ledger: self.ledger.clone(), member: self.number, id: self.id.clone() };
        Seams {
            engine: Some(Arc::new(Reluctant::new(machine.engine.clone()))),
            raft: raft::Seams {
                disk: Arc::new(machine.disk.clone()),
                work: Work::Inline,
                dial: wire::dial,
                witness: Some(Arc::new(witness)),
            },
            sizes: Some(self.setup.sizes),
            clock: Some(self.clock.start()),
        }
    }

    /// Whether its log holds fewer entries from before the state was made durable than their number alone leaves
    /// where nothing was restarted since; after a restart the state may be durable further than a snapshot was made.
    pub fn is_log_short(&self, handle: &Handle) -> bool {
        let status = handle.raft().status();
        let kept = status.snapshot_index.0.saturating_sub(status.purged_index.0);
        status.purged_index.0 > 0 && (1..self.setup.snapshot_entries).contains(&kept)
    }

    /// One life of the member; what its host runs. It stays, silent, after its end: only the driver takes hosts down.
    pub async fn live(self: Arc<Self>) {
        let reason = match self.serve().await {
            Ok(()) => "it was told to stop".to_owned(),
            Err(error) => full(&*error),
        };
        self.machine.lock().ended = Some(reason);
        std::future::pending().await
    }

    async fn serve(&self) -> Result<(), Box<dyn std::error::Error>> {
        let server = Server::start_with(self.options(), Listeners::default(), self.seams()).await?;
        let handle = server.handle();
        self.id.store(handle.member_id().0, Ordering::Relaxed);
        self.ledger.note(format_args!("m{} runs as {:x}", self.number, handle.member_id().0));
        self.machine.lock().running = Some(handle.clone());
        let mut tasks = JoinSet::new();
        for (port, routes) in [(PEERS, server.peer_routes()), (CLIENTS, server.client_routes())] {
            let incoming = wire::incoming(port).await?;
            let listener = tonic::transport::Server::builder();
            tasks.spawn(async move {
                let served = listener.clone().add_routes(routes).serve_with_incoming(incoming).await;
                served.map_err(|error| error.to_string())
            });
        }
        let (ledger, number) = (self.ledger.clone(), self.number);
        tasks.spawn(async move {
            listen_in(handle, ledger, number).await;
            Ok(())
        });
        tokio::select! {
            ended = server.run(CancellationToken::new()) => Ok(ended?),
            Some(ended) = tasks.join_next() => Err(format!("a listener ended: {ended:?}").into()),
        }
    }
}

/// Tells every change that the member's state goes through.
async fn listen_in(handle: Handle, ledger: Ledger, number: usize) {
    let mut start = handle.revision().0 + 1;
    loop {
        let watch = Watch {
            keys: KeyRange::From(Vec::new().into()),
            start: Revision(start),
            prev_kv: false,
            progress: false,
        };
        let Ok(mut changes) = handle.watch(watch).await else {
            start = handle.revision().0 + 1;
            continue;
        };
        while let Some(Ok(message)) = changes.next().await {
            if let WatchMessage::Changes { revision, changes } = message {
                ledger.told(number, revision.0, &changes);
                start = revision.0 + 1;
            }
        }
        // It jumped over what is compacted, with an image.
        start = start.max(handle.revision().0 + 1);
        tokio::task::yield_now().await;
    }
}

/// An error with all its causes.
fn full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
