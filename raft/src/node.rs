//! The service: one member of the group.

use std::sync::Arc;
use std::time::Duration;

use proto::raft::peer_server::PeerServer;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::adapter::group::Group;
use crate::adapter::machine::Machine;
use crate::error::Error;
use crate::forward;
use crate::fuse::Fuse;
use crate::handle::Handle;
use crate::limits;
use crate::log::{Log, Setup};
use crate::member::Leadership;
use crate::meters::Meters;
use crate::network::{Identity, PeerTls, Peers, Service, incarnations};
use crate::options::Options;
use crate::reads;
use crate::record::Owner;
use crate::route::Route;
use crate::seams::Seams;
use crate::snapshot::Images;
use crate::state_machine::StateMachine;
use crate::watchdog;

/// One member of the group. It takes part from [`start`](Self::start) on; [`run`](Self::run) watches over it and
/// ends it. Dropping it ends it too, without waiting.
pub struct Node {
    handle: Handle,
    service: Service,
    group: Group,
    machine: Machine,
    log: Log,
    fuse: Fuse,
    stopped: CancellationToken,
    /// Cancelled when everything that was sent to a leader is answered, after the end began.
    carried: CancellationToken,
    /// Aborted when dropped.
    tasks: JoinSet<()>,
}

/// Log and state, both open and found whole.
struct Stores {
    log: Log,
    machine: Machine,
}

/// Opens log and state. Blocks.
fn open(
    options: &Options,
    machine: Arc<dyn StateMachine>,
    fuse: &Fuse,
    seams: Seams,
    meters: &Meters,
) -> Result<Stores, Error> {
    let (work, witness) = (seams.work, seams.witness.clone());
    let setup = Setup {
        directory: options.data_dir.join("log"),
        owner: Owner { cluster: options.cluster_id, member: options.id.0 },
        cache_bytes: options.log_cache_bytes,
        segment_bytes: options.log_segment_bytes,
        reserve_bytes: options.log_reserve_bytes,
        seams,
        meters: meters.clone(),
    };
    let log = Log::open(&setup, fuse.clone())?;
    let images_dir = options.data_dir.join("images");
    let images = Images::open(images_dir.clone())
        .map_err(|error| Error::Directory { path: images_dir, detail: error.to_string() })?;
    let machine = Machine::open(machine, images, fuse.clone(), work, witness, options.snapshot_bytes)?;
    let (purged, applied) = (log.ends().purged, machine.position().applied);
    if purged > applied {
        let detail = format!(
            "the log before {purged:?} is gone but the state stands at {applied:?}; this member must be replaced by a new one"
        );
        return Err(Error::damaged("opening the state", detail));
    }
    Ok(Stores { log, machine })
}

impl Node {
    /// Opens log and state, checks that both are whole, and joins the group they describe.
    ///
    /// Nobody can reach this member before [`service`](Self::service) is served on its `peer_url`. When `tls` changes,
    /// connections that are opened from then on use the new keys.
    pub async fn start(
        options: Options,
        machine: Arc<dyn StateMachine>,
        tls: Option<watch::Receiver<PeerTls>>,
    ) -> Result<Self, Error> {
        Self::start_on(options, machine, tls, Seams::default()).await
    }

    /// The same, on another disk than this machine's, or without threads: for simulations.
    pub async fn start_on(
        options: Options,
        machine: Arc<dyn StateMachine>,
        tls: Option<watch::Receiver<PeerTls>>,
        seams: Seams,
    ) -> Result<Self, Error> {
        options.validate()?;
        let fuse = Fuse::new();
        let identity = Identity { cluster: options.cluster_id, member: options.id };
        let meters = Meters::default();
        let peers = Peers::new(identity, tls, seams.dial, meters.clone());
        peers.check()?;
        let (opening, opening_fuse, opening_meters) = (options.clone(), fuse.clone(), meters.clone());
        let work = seams.work;
        let (disk, log_dir) = (Arc::clone(&seams.disk), options.data_dir.join("log"));
        disk.ready().await;
        let opened = work.run(move || open(&opening, machine, &opening_fuse, seams, &opening_meters)).await;
        let opened = opened.unwrap_or_else(|error| Err(Error::storage("opening log and state", error)));
        let Stores { log, machine } = opened?;
        let found = log.ends().last.map(|last| last.index);
        let peers_known = peers.incarnations().clone();
        let written = incarnations::read(&*disk, &log_dir);
        let written = written.map_err(|error| Error::storage("reading which members were met", error))?;
        peers_known.adopt(log.incarnation(), written);
        let group = Group::start(&options, log.clone(), machine.clone(), peers.clone(), fuse.clone()).await?;

        let stopped = CancellationToken::new();
        let (leadership_sender, leadership) = watch::channel(group.leadership_now());
        let (errands, courier) = forward::errands(peers.clone(), leadership.clone());
        let route = Route { group: group.clone(), errands, leadership, stopped: stopped.clone() };
        let leader_wait = Duration::from_millis(options.leader_wait_ms);
        let (reads, rounds) = reads::rounds(
            route.clone(),
            leader_wait,
            Duration::from_millis(options.read_timeout_ms),
            meters.clone(),
        );
        let short_of_space = watch::Sender::new(false);
        let shortage = short_of_space.subscribe();
        let handle = Handle::new(route, reads, short_of_space, found, &options, meters.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(rounds.run());
        let carried = CancellationToken::new();
        let (until, done) = (stopped.clone(), carried.clone().drop_guard());
        tasks.spawn(async move {
            courier.run(until).await;
            drop(done);
        });
        tasks.spawn(peers_known.clone().keep(disk, log_dir));
        tasks.spawn(follow(group.clone(), peers, leadership_sender, meters));
        let keep = Keep { bytes: options.log_keep_bytes, shortage };
        tasks.spawn(flush_by_bytes(group.clone(), machine.clone(), log.clone(), keep));
        let patience = Duration::from_millis(options.election_timeout_max_ms);
        let interval = Duration::from_millis(options.heartbeat_interval_ms);
        tasks.spawn(watchdog::watch(group.clone(), log.clone(), patience, interval));
        let service = Service::new(identity, peers_known, fuse.clone(), Arc::new(group.clone()));
        Ok(Self { handle, service, group, machine, log, fuse, stopped, carried, tasks })
    }

    /// The way in.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The gRPC service the other members call; add it to the server that listens on this member's `peer_url`.
    pub fn service(&self) -> PeerServer<Service> {
        PeerServer::new(self.service.clone())
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    /// Runs until `shutdown`, then hands over the leadership, and flushes and closes log and state. Keep serving
    /// [`service`](Self::service) until it returns. Returns an error as soon as storage fails
    /// (S7); the process must then exit, and may be started again.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        let ended = tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            error = self.fuse.blown() => Err(error),
            error = self.group.ended() => Err(error),
        };
        if ended.is_ok() {
            self.group.hand_over().await;
        }
        self.stopped.cancel();
        if ended.is_ok() && tokio::time::timeout(limits::CARRY_MAX, self.carried.cancelled()).await.is_err() {
            tracing::info!(
                "a leader has not answered everything that it was asked for callers of this member"
            );
        }
        self.group.stop().await;
        self.tasks.shutdown().await;
        ended?;
        self.machine.close().await?;
        self.log.close().await?;
        self.fuse.check()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.stopped.is_cancelled() {
            return;
        }
        self.stopped.cancel();
        let group = self.group.clone();
        // Drop cannot wait. The group ends by itself within a bounded time; no runtime means it has ended.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            drop(runtime.spawn(async move { group.stop().await }));
        }
    }
}

/// How much the log keeps of what is durable in the state.
struct Keep {
    bytes: u64,
    /// Whether the disk is short of space: as little as possible then.
    shortage: watch::Receiver<bool>,
}

impl Keep {
    fn bytes(&self) -> u64 {
        if *self.shortage.borrow() { 0 } else { self.bytes }
    }

    /// Returns when space has become short.
    async fn begins_to_be_little(&mut self) {
        loop {
            if self.shortage.changed().await.is_err() {
                // Nobody is left who could say so.
                return std::future::pending().await;
            }
            if *self.shortage.borrow_and_update() {
                return;
            }
        }
    }
}

/// Makes the state durable when much was applied, and keeps the log from taking much, however few entries it is. For their
/// number openraft does.
async fn flush_by_bytes(group: Group, machine: Machine, log: Log, mut keep: Keep) {
    loop {
        tokio::select! {
            () = machine.heavy() => {}
            () = keep.begins_to_be_little() => {}
        }
        let flushed = group.snapshot(limits::SNAPSHOT_BY_BYTES_MAX).await;
        // Even where there was no space to flush: what was durable before is let go.
        let shortened = match log.first_within(keep.bytes()) {
            Some(first) => group.purge_before(first).await,
            None => Ok(()),
        };
        match flushed.and(shortened) {
            Ok(()) => {}
            Err(Error::Stopped) => return,
            // Without space there is none; the next one is asked for when more was applied.
            Err(error) => tracing::debug!(%error, "the state could not be made durable yet"),
        }
    }
}

/// Keeps what is known of leader and members up to date.
async fn follow(mut group: Group, peers: Peers, leadership: watch::Sender<Leadership>, meters: Meters) {
    let mut led = None;
    loop {
        let members = group.members();
        for (id, (member, _)) in &members {
            peers.learn(*id, &member.peer_url);
        }
        if !members.is_empty() {
            peers.retain(|id| members.contains_key(&id));
            meters.retain(|id| members.contains_key(&id));
        }
        let now = group.leadership_now();
        if now.leader.is_some() && led.replace(now.leader) != Some(now.leader) {
            meters.leader_changed();
        }
        leadership.send_if_modified(|known| {
            let modified = *known != now;
            *known = now;
            modified
        });
        if group.changed().await.is_err() {
            leadership.send_replace(Leadership { leader: None, is_self: false, ..now });
            return;
        }
    }
}
