//! The group as this member sees it: what a leader does when asked, and what any member can tell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use openraft::alias::{StoredMembershipOf, WatchReceiverOf};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{
    ChangeMembershipError, ClientWriteError, Fatal, ForwardToLeader, InitializeError, LinearizableReadError,
    RaftError,
};
use openraft::metrics::RaftServerMetrics;
use openraft::{ChangeMembers, Config, Raft, RaftMetrics, ReadPolicy, ServerState, SnapshotPolicy};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::log::LogStore;
use super::machine::Machine;
use super::outbound::Factory;
use super::proposals::Proposals;
use super::task::{Outcome, Refusal, Task};
use super::{Command, Types, convert};
#[cfg(feature = "known-bugs")]
use crate::bugs::Bug;
use crate::error::Error;
use crate::fuse::Fuse;
use crate::limits;
use crate::log::Log;
use crate::member::{Leadership, Member, MemberId, Status};
use crate::network::Peers;
use crate::options::Options;
use crate::state_machine::{LogIndex, Term};

/// Why a learner does not get a vote; etcd's words.
const LEARNER_BEHIND: &str = "can only promote a learner member which is in sync with leader";

/// Cheap to clone; all clones are one group.
#[derive(Clone)]
pub(crate) struct Group {
    raft: Raft<Types, Machine>,
    proposals: Proposals,
    machine: Machine,
    peers: Peers,
    metrics: WatchReceiverOf<Types, RaftMetrics<Types>>,
    /// Changes less often.
    server: WatchReceiverOf<Types, RaftServerMetrics<Types>>,
    fuse: Fuse,
    /// Whether the disk of the log is full.
    full: watch::Receiver<bool>,
    /// Whether this member must not lead, because its disk hangs.
    standing_back: Arc<AtomicBool>,
    /// Cancelled when this member ends: streams of peers end with it.
    ending: CancellationToken,
    id: MemberId,
    cluster_id: u64,
    command_bytes_max: usize,
    /// How long a quorum takes at most to answer signs of life, on the links that the interval between them is meant for.
    round_trip_max: Duration,
    /// How long members promise not to elect another.
    #[cfg(feature = "known-bugs")]
    lease: Duration,
}

/// openraft lets a follower wait for the end of the leader's lease, which lasts its longest election timeout, and only
/// then for an election timeout. What we promise is the sum of both: this splits it.
fn silence(options: &Options) -> (u64, u64) {
    let lease = options.election_timeout_max_ms / 2;
    (options.election_timeout_min_ms - lease, lease)
}

fn configuration(options: &Options) -> Result<Config, Error> {
    let (election_timeout_min, election_timeout_max) = silence(options);
    let config = Config {
        cluster_name: format!("{:x}", options.cluster_id),
        heartbeat_interval: options.heartbeat_interval_ms,
        election_timeout_min,
        election_timeout_max,
        install_snapshot_timeout: limits::SNAPSHOT_TRANSFER_MAX.as_millis() as u64,
        max_payload_entries: limits::APPEND_ENTRIES_MAX,
        max_append_entries: Some(limits::WRITE_ENTRIES_MAX),
        // A follower gets a snapshot when the log no longer holds what it lacks, not because it is slow.
        replication_lag_threshold: options
            .snapshot_entries
            .saturating_mul(4)
            .saturating_add(options.log_keep_entries),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(options.snapshot_entries),
        max_in_snapshot_log_to_keep: options.log_keep_entries,
        // Never so many that the log grows far beyond what it should keep.
        purge_batch_size: limits::PURGE_ENTRIES_MIN.min(options.log_keep_entries.max(1)),
        api_channel_size: Some(limits::API_QUEUE_MAX),
        api_batch_capacity: limits::API_BATCH_MAX,
        // Never wait for company: what arrives during a sync shares the next one anyway.
        api_batch_linger_ms: 0,
        enable_pre_vote: Some(true),
        // The state may be behind what was acknowledged, so a restarted leader is elected like any other.
        enable_leader_restore: Some(false),
        allow_log_reversion: Some(false),
        ..Config::default()
    };
    #[cfg(feature = "known-bugs")]
    let config = Config {
        // Where a bug has a leader believe in more than members hold, finding that out must not stop it.
        allow_log_reversion: Some([Bug::M1, Bug::M2].into_iter().any(crate::bugs::is_on)),
        ..config
    };
    config.validate().map_err(|error| Error::Options { option: "timing", detail: error.to_string() })
}

impl Group {
    /// Starts this member's part in the group.
    pub(crate) async fn start(
        options: &Options,
        log: Log,
        machine: Machine,
        peers: Peers,
        fuse: Fuse,
    ) -> Result<Self, Error> {
        let config = Arc::new(configuration(options)?);
        let full = log.full();
        let store = LogStore::new(log, fuse.clone());
        let raft = Raft::new(options.id.0, config, Factory::new(peers.clone()), store, machine.clone()).await;
        let raft = raft.map_err(|error| {
            fuse.check().err().unwrap_or_else(|| Error::damaged("starting the group", error.to_string()))
        })?;
        let (metrics, server) = (raft.metrics(), raft.server_metrics());
        let ending = CancellationToken::new();
        Ok(Self {
            proposals: Proposals::start(raft.clone(), ending.clone()),
            raft,
            machine,
            peers,
            metrics,
            server,
            fuse,
            full,
            standing_back: Arc::default(),
            ending,
            id: options.id,
            cluster_id: options.cluster_id,
            command_bytes_max: options.command_bytes_max,
            round_trip_max: Duration::from_millis(options.heartbeat_interval_ms)
                * limits::ROUND_TRIP_INTERVALS,
            #[cfg(feature = "known-bugs")]
            lease: Duration::from_millis(silence(options).1),
        })
    }

    pub(super) fn raft(&self) -> &Raft<Types, Machine> {
        &self.raft
    }

    /// This member.
    pub(crate) fn id(&self) -> MemberId {
        self.id
    }

    pub(super) fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Cancelled when this member's part in the group ends.
    pub(super) fn ending(&self) -> &CancellationToken {
        &self.ending
    }

    /// Ends this member's part in the group.
    pub(crate) async fn stop(&self) {
        self.ending.cancel();
        match tokio::time::timeout(limits::STOP_MAX, self.raft.shutdown()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the group ended badly"),
            Err(_) => tracing::error!("the group did not end in time"),
        }
    }

    /// Gives the group its first members.
    pub(crate) async fn initialize(&self, members: BTreeMap<MemberId, Member>) -> Result<(), Error> {
        let members: BTreeMap<u64, Member> = members.into_iter().map(|(id, member)| (id.0, member)).collect();
        match self.raft.initialize(members).await {
            Ok(()) => Ok(()),
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Err(Error::AlreadyInitialized),
            Err(RaftError::APIError(error @ InitializeError::NotInMembers(_))) => {
                Err(Error::Membership(error.to_string()))
            }
            Err(RaftError::Fatal(fatal)) => Err(self.fatal(&fatal)),
        }
    }

    /// Does what only a leader can do.
    pub(crate) async fn perform(&self, task: Task) -> Result<Outcome, Refusal> {
        if self.standing_back.load(Ordering::Relaxed) {
            return Err(Refusal::NotLeader(None));
        }
        match task {
            Task::Propose(command) => self.propose(command).await,
            // On the heap: else each proposal carried the room for what is rare.
            Task::ReadIndex => Box::pin(self.read_index()).await,
            Task::AddLearner(id, member) => Box::pin(self.add_learner(id, member)).await,
            Task::Promote(id) => Box::pin(self.promote(id)).await,
            Task::Remove(id) => Box::pin(self.remove(id)).await,
            Task::Update(id, member) => Box::pin(self.update(id, member)).await,
            Task::TransferLeadership(to) => Box::pin(self.transfer_leadership(to)).await,
        }
    }

    async fn propose(&self, command: Bytes) -> Result<Outcome, Refusal> {
        let (size, limit) = (command.len(), self.command_bytes_max);
        if size > limit {
            return Err(Error::TooLarge { size, limit }.into());
        }
        if *self.full.borrow() {
            return Err(Error::NoSpace.into());
        }
        let written = self.proposals.propose(Command(command)).await;
        let written = written.map_err(|error| self.write_refusal("proposing a command", error))?;
        Ok(Outcome::Applied { id: convert::log_id_record(&written.log_id), response: written.data })
    }

    async fn read_index(&self) -> Result<Outcome, Refusal> {
        #[cfg(feature = "known-bugs")]
        if crate::bugs::is_on(Bug::M6) && self.leadership_now().is_self {
            return Ok(Outcome::ReadIndex(self.status().applied.0));
        }
        #[cfg(feature = "known-bugs")]
        if crate::bugs::is_on(Bug::M7)
            && let Some(index) = self.applied_under_lease()
        {
            return Ok(Outcome::ReadIndex(index));
        }
        let confirmed = self.confirmed_index();
        tokio::pin!(confirmed);
        if let Ok(index) = tokio::time::timeout(self.round_trip_max, &mut confirmed).await {
            return index.map(Outcome::ReadIndex);
        }
        if *self.full.borrow() {
            return confirmed.await.map(Outcome::ReadIndex);
        }
        tokio::select! {
            biased;
            index = confirmed => index.map(Outcome::ReadIndex),
            index = self.committed_index() => index.map(Outcome::ReadIndex),
        }
    }

    /// The index of what is committed, once a quorum has answered signs of life.
    async fn confirmed_index(&self) -> Result<u64, Refusal> {
        match self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(linearizer) => Ok(linearizer.read_log_id().index()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(not_leader(&forward))
            }
            Err(RaftError::APIError(error @ LinearizableReadError::QuorumNotEnough(_))) => {
                Err(Error::ReadNotConfirmed { detail: error.to_string() }.into())
            }
            Err(RaftError::Fatal(fatal)) => Err(self.fatal(&fatal).into()),
        }
    }

    /// The index of an entry without effect, committed by a quorum. openraft does not wait for a sign of life longer than until the next
    /// one is due; where a round trip takes that long, none would ever confirm a read.
    async fn committed_index(&self) -> Result<u64, Refusal> {
        match self.raft.write_blank().await {
            Ok(written) => Ok(written.log_id.index()),
            Err(error) => Err(match self.write_refusal("confirming a read", error) {
                Refusal::Failed(Error::Unknown { detail, .. }) => Error::ReadNotConfirmed { detail }.into(),
                other => other,
            }),
        }
    }

    /// Bug M7: what this member has applied, if it leads and a quorum has lately promised to elect no other. That promise does not bind whom
    /// it has itself asked to lead.
    #[cfg(feature = "known-bugs")]
    fn applied_under_lease(&self) -> Option<u64> {
        use openraft::Instant as _;
        let metrics = self.metrics.borrow_watched();
        let promised = metrics.last_quorum_acked.is_some_and(|at| at.into_inner().elapsed() < self.lease);
        let own_term =
            metrics.last_applied.is_some_and(|id| id.committed_leader_id().term == metrics.current_term);
        (promised && own_term && self.leadership_now().is_self).then_some(())?;
        self.machine.applied_next().checked_sub(1)
    }

    /// Up to where this member has applied the log, if it leads and is the only voter: nobody else can have acknowledged anything.
    ///
    /// Metrics may be older than the messages that openraft has handled since. But it publishes them after it has handled an entry that
    /// makes others voters, or a vote for another, and before anything can follow from that: what a quorum with others in it commits
    /// needs one more message from here or to here.
    pub(crate) fn applied_alone(&self) -> Option<u64> {
        if self.standing_back.load(Ordering::Relaxed) || self.fuse.check().is_err() {
            return None;
        }
        let metrics = self.metrics.borrow_watched();
        let leads = metrics.running_state.is_ok()
            && metrics.state == ServerState::Leader
            && metrics.current_leader == Some(self.id.0);
        let own_term =
            metrics.last_applied.is_some_and(|id| id.committed_leader_id().term == metrics.current_term);
        let alone = match metrics.membership_config.membership().get_joint_config().as_slice() {
            [voters] => voters.len() == 1 && voters.contains(&self.id.0),
            _ => false,
        };
        (leads && own_term && alone).then(|| self.machine.applied_next().checked_sub(1)).flatten()
    }

    async fn add_learner(&self, id: MemberId, member: Member) -> Result<Outcome, Refusal> {
        if let Some((known, _)) = self.members().get(&id) {
            if *known == member {
                return Ok(Outcome::Done);
            }
            return Err(Error::Membership(format!("member {id} exists and is reached elsewhere")).into());
        }
        if self.peers.incarnations().has_met(id) {
            let detail = format!("member {id} was here before, and ids are not used again: choose a new one");
            return Err(Error::Membership(detail).into());
        }
        let added = self.raft.add_learner(id.0, member, false).await;
        added.map(|_| Outcome::Done).map_err(|error| self.write_refusal("adding a learner", error))
    }

    async fn promote(&self, id: MemberId) -> Result<Outcome, Refusal> {
        match self.members().get(&id) {
            None => return Err(Error::Membership(format!("member {id} is not known; add it first")).into()),
            Some((_, true)) => return Ok(Outcome::Done),
            Some((_, false)) => {}
        }
        self.caught_up(id).await?;
        self.change("promoting a learner", ChangeMembers::AddVoterIds(BTreeSet::from([id.0])), true).await
    }

    /// Waits until the member holds nearly all of the log.
    async fn caught_up(&self, id: MemberId) -> Result<(), Refusal> {
        let caught_up = |metrics: &RaftMetrics<Types>| {
            let Some(replication) = &metrics.replication else { return true };
            let next = metrics.last_log_index.map_or(0, |index| index + 1);
            let matched = replication.get(&id.0).and_then(|id| id.as_ref()).map_or(0, |id| id.index() + 1);
            matched > 0 && next.saturating_sub(matched) <= limits::PROMOTE_LAG_MAX
        };
        match tokio::time::timeout(limits::PROMOTE_CATCH_UP_MAX, self.reached(caught_up)).await {
            Ok(reached) => Ok(reached?),
            Err(_) => Err(Error::Membership(LEARNER_BEHIND.to_owned()).into()),
        }
    }

    async fn remove(&self, id: MemberId) -> Result<Outcome, Refusal> {
        if id == self.id
            && let Some(heir) = self.heir()
        {
            // What is under way would otherwise lose its leader in the middle, and nobody would answer for it.
            self.transfer_leadership(heir).await?;
            return Err(Refusal::NotLeader(Some(heir)));
        }
        let ids = BTreeSet::from([id.0]);
        match self.members().get(&id) {
            None => Ok(Outcome::Done),
            Some((_, true)) => self.change("removing a voter", ChangeMembers::RemoveVoters(ids), false).await,
            Some((_, false)) => {
                self.change("removing a learner", ChangeMembers::RemoveNodes(ids), false).await
            }
        }
    }

    async fn update(&self, id: MemberId, member: Member) -> Result<Outcome, Refusal> {
        if !self.members().contains_key(&id) {
            return Err(Error::Membership(format!("member {id} is not known")).into());
        }
        let members = BTreeMap::from([(id.0, member)]);
        self.change("updating a member", ChangeMembers::SetNodes(members), true).await
    }

    async fn change(
        &self,
        action: &'static str,
        change: ChangeMembers<u64, Member>,
        retain: bool,
    ) -> Result<Outcome, Refusal> {
        let changed = self.raft.change_membership(change, retain).await;
        changed.map(|_| Outcome::Done).map_err(|error| self.write_refusal(action, error))
    }

    async fn transfer_leadership(&self, to: MemberId) -> Result<Outcome, Refusal> {
        let leadership = self.leadership_now();
        if !leadership.is_self {
            return Err(Refusal::NotLeader(leadership.leader));
        }
        if to == self.id {
            return Ok(Outcome::Done);
        }
        if !self.members().get(&to).is_some_and(|(_, voter)| *voter) {
            return Err(Error::Membership(format!("member {to} is not a voter")).into());
        }
        self.raft.trigger().transfer_leader(to.0).await.map_err(|fatal| self.fatal(&fatal))?;
        let moved = self.reached(|metrics| metrics.current_leader == Some(to.0));
        match tokio::time::timeout(limits::TRANSFER_MAX, moved).await {
            Ok(moved) => Ok(moved.map(|()| Outcome::Done)?),
            Err(_) => Err(Error::Membership(format!("member {to} did not take over")).into()),
        }
    }

    /// The voter that holds most of the log, besides this member, if this member leads.
    fn heir(&self) -> Option<MemberId> {
        if !self.leadership_now().is_self {
            return None;
        }
        let status = self.status();
        let others = status
            .matched
            .iter()
            .filter(|(id, _)| **id != self.id && status.members.get(id).is_some_and(|(_, voter)| *voter));
        others.max_by_key(|(_, matched)| **matched).map(|(id, _)| *id)
    }

    /// Asks the heir to take over, if there is one. Whether it did shows in the metrics.
    async fn offer_leadership(&self) -> Option<MemberId> {
        let heir = self.heir()?;
        match self.raft.trigger().transfer_leader(heir.0).await {
            Ok(()) => Some(heir),
            Err(fatal) => {
                tracing::debug!(%fatal, "the group ended before its leadership was handed over");
                None
            }
        }
    }

    /// Before stopping: gives the leadership to the voter that holds most of the log, so that the others need not
    /// wait for an election. Tries for a bounded time.
    pub(crate) async fn hand_over(&self) {
        let Some(heir) = self.offer_leadership().await else { return };
        let moved = self.reached(|metrics| metrics.current_leader != Some(self.id.0));
        if tokio::time::timeout(limits::HAND_OVER_MAX, moved).await.is_err() {
            tracing::info!(%heir, "the leadership was not taken over; the others will elect");
        }
    }

    /// Stops leading, and does not stand for election until [`stand_again`](Self::stand_again): hands over, refuses what
    /// only a leader can do, and falls silent, so that the others elect if the heir cannot.
    pub(crate) async fn stand_back(&self) {
        self.standing_back.store(true, Ordering::Relaxed);
        self.raft.runtime_config().elect(false);
        self.raft.runtime_config().heartbeat(false);
        // The core may be waiting for the same disk.
        if tokio::time::timeout(limits::HAND_OVER_MAX, self.offer_leadership()).await.is_err() {
            tracing::info!("the leadership could not be offered; the others will elect");
        }
    }

    /// Takes part as any other member again.
    pub(crate) fn stand_again(&self) {
        self.raft.runtime_config().elect(true);
        self.raft.runtime_config().heartbeat(true);
        self.standing_back.store(false, Ordering::Relaxed);
    }

    /// Makes the state durable and lets the log before it go.
    pub(crate) async fn snapshot(&self, within: Duration) -> Result<(), Error> {
        let target = self.metrics.borrow_watched().last_applied;
        self.raft.trigger().snapshot().await.map_err(|fatal| self.fatal(&fatal))?;
        let made = self.reached(|metrics| metrics.snapshot >= target);
        match tokio::time::timeout(within, made).await {
            Ok(made) => made,
            Err(_) => Err(Error::Unknown { action: "making a snapshot", detail: "it takes too long".into() }),
        }
    }

    /// Lets the entries before `first` go, as far as they are durable in the state and no member is being sent them.
    pub(crate) async fn purge_before(&self, first: u64) -> Result<(), Error> {
        let Some(last) = first.checked_sub(1) else { return Ok(()) };
        self.raft.trigger().purge_log(last).await.map_err(|fatal| self.fatal(&fatal))
    }

    /// Waits until the local state machine has applied `index`.
    pub(crate) async fn applied(&self, index: u64, until: Instant) -> Result<(), Error> {
        if self.machine.applied_next() > index {
            return Ok(());
        }
        let mut applied = self.machine.applied();
        let reached = applied.wait_for(|next| *next > index);
        match tokio::time::timeout_at(until, reached).await.map(|reached| reached.map(drop)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Error::Stopped),
            Err(_) => Err(Error::ReadNotConfirmed {
                detail: format!("this member has not applied entry {index} yet"),
            }),
        }
    }

    /// Who leads, as far as known.
    pub(crate) fn leadership_now(&self) -> Leadership {
        leadership(&self.server.borrow_watched())
    }

    /// Returns when who leads, or who takes part, may have changed; an error when the group has ended. Cancel-safe.
    pub(crate) async fn changed(&mut self) -> Result<(), Error> {
        self.server.changed().await.map_err(|_| Error::Stopped)
    }

    /// Returns when the group has ended, with the reason. Cancel-safe.
    pub(crate) async fn ended(&self) -> Error {
        // openraft says at its end why, and that there will be no more. All of its metrics would wake whoever waits with each entry.
        let mut server = self.server.clone();
        while server.changed().await.is_ok() {}
        match &self.metrics.borrow_watched().running_state {
            Err(fatal) => self.fatal(fatal),
            Ok(()) => Error::Stopped,
        }
    }

    /// Returns once the metrics satisfy `condition`. Cancel-safe.
    async fn reached(&self, condition: impl Fn(&RaftMetrics<Types>) -> bool) -> Result<(), Error> {
        let mut metrics = self.metrics.clone();
        while !condition(&metrics.borrow_and_update()) {
            metrics.changed().await.map_err(|_| Error::Stopped)?;
        }
        Ok(())
    }

    /// All members, with whether each votes.
    pub(crate) fn members(&self) -> BTreeMap<MemberId, (Member, bool)> {
        members(&self.server.borrow_watched().membership_config)
    }

    /// Whether a membership is known.
    pub(crate) fn is_initialized(&self) -> bool {
        self.server.borrow_watched().membership_config.nodes().next().is_some()
    }

    /// A moment in the life of this member.
    pub(crate) fn status(&self) -> Status {
        let metrics = self.metrics.borrow_watched();
        let index = |id: &Option<_>| LogIndex(convert::log_id_option_record(id).map_or(0, |id| id.index));
        let matched =
            metrics.replication.iter().flatten().map(|(id, matched)| (MemberId(*id), index(matched)));
        Status {
            id: self.id,
            cluster_id: self.cluster_id,
            term: Term(metrics.current_term),
            leader: metrics.current_leader.map(MemberId),
            last_index: LogIndex(metrics.last_log_index.unwrap_or(0)),
            committed: index(&metrics.local_committed),
            applied: index(&metrics.last_applied),
            snapshot_index: index(&metrics.snapshot),
            purged_index: index(&metrics.purged),
            // openraft tells of these a moment earlier, and who leads is known from the same: whoever learns that it leads finds itself here.
            members: self.members(),
            matched: matched.collect(),
        }
    }

    fn write_refusal(
        &self,
        action: &'static str,
        error: RaftError<Types, ClientWriteError<Types>>,
    ) -> Refusal {
        match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => not_leader(&forward),
            RaftError::APIError(error @ ClientWriteError::LogEntryDiscarded(_)) => {
                Error::Unknown { action, detail: error.to_string() }.into()
            }
            // A change is under way, or this leader has just been elected: soon it may be possible.
            RaftError::APIError(ClientWriteError::ChangeMembershipError(
                ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_),
            )) => Error::Overloaded { what: "membership changes" }.into(),
            RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => {
                Error::Membership(error.to_string()).into()
            }
            RaftError::APIError(ClientWriteError::PreconditionFailed(error)) => {
                Error::Membership(error.to_string()).into()
            }
            // The entry may have been written, and even have reached a quorum, before the end.
            RaftError::Fatal(fatal) => {
                Error::Unknown { action, detail: self.fatal(&fatal).to_string() }.into()
            }
        }
    }

    fn fatal(&self, fatal: &Fatal<Types>) -> Error {
        match (self.fuse.check(), fatal) {
            (Err(error), _) => error,
            (Ok(()), Fatal::StorageError(error)) => Error::damaged("running the group", error.to_string()),
            (Ok(()), Fatal::Panicked) => Error::damaged("running the group", "it panicked"),
            (Ok(()), Fatal::Stopped) => Error::Stopped,
        }
    }
}

fn not_leader(forward: &ForwardToLeader<Types>) -> Refusal {
    Refusal::NotLeader(forward.leader_id.map(MemberId))
}

fn leadership(metrics: &RaftServerMetrics<Types>) -> Leadership {
    let leader = metrics.current_leader;
    Leadership {
        leader: leader.map(MemberId),
        term: Term(metrics.vote.leader_id.term),
        is_self: metrics.state == ServerState::Leader && leader == Some(metrics.id),
    }
}

fn members(stored: &StoredMembershipOf<Types>) -> BTreeMap<MemberId, (Member, bool)> {
    let membership = stored.membership();
    let voters: BTreeSet<u64> = membership.voter_ids().collect();
    membership.nodes().map(|(id, member)| (MemberId(*id), (member.clone(), voters.contains(id)))).collect()
}
