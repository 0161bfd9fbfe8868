//! The way in to a member, without gRPC.
//!
//! S4: a linearizable read asks Raft for an index that is not older than any write acknowledged before, waits until this
//! member has applied it, and only then reads. S2: a write is answered after a quorum holds it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream;
use parking_lot::Mutex;
use raft::{Leadership, MemberId, Work};
use store_client::{
    Error, KeyRange, Kv, Lease, LeaseId, Op, Range, RangeResult, Revision, Txn, TxnResult, Watch,
    WatchStream, validate,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::access::patiently;
use super::agreement::Verdict;
use super::bootstrap::Identity;
use super::broken::Broken;
use super::space::Space;
use super::{Options, renewals};
use crate::auth::check::Rights;
use crate::auth::{Caller, jwt::Signer, password::Hasher};
use crate::backup::{self, export::Origin};
use crate::engine::Pace;
use crate::history::{self, Clock, clock::now_unix_ms};
use crate::limits::{
    ANNOUNCE_PATIENCE, IMAGE_PIECES_IN_FLIGHT, IMAGES_MAX, LEASE_TTL_S_MIN, RECORD_BYTES_MAX,
};
use crate::machine::{Machine, command::Command, response::Response};
use crate::metrics::calls::Calls;
use crate::metrics::stages::{Stage, noting};
use crate::mvcc::draft::Failure;
use crate::mvcc::txn::is_read_only;
use crate::mvcc::{self, Facts};
use crate::service::protocol;
use crate::watch::Subscription;

/// Reads, writes and watches the store through this member, leader or not. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    /// On whose behalf; whoever embeds the store is trusted.
    caller: Caller,
}

struct Shared {
    identity: Identity,
    options: Options,
    raft: raft::Handle,
    leadership: watch::Receiver<Leadership>,
    machine: Arc<Machine>,
    renewals: renewals::Sender,
    promotions: mpsc::Sender<MemberId>,
    space: Space,
    images: Arc<Semaphore>,
    diffs: Arc<Semaphore>,
    hasher: Hasher,
    signer: Option<Signer>,
    broken: Broken,
    announced: CancellationToken,
    agreement: Mutex<Agreement>,
    clock: Clock,
    calls: Calls,
}

/// What is known of the last comparison of the members' states.
#[derive(Default)]
struct Agreement {
    /// What this member answered.
    said: Option<(Facts, u32)>,
    /// Who was found to differ.
    corrupt: Vec<MemberId>,
}

/// Who does what a member does not do at once.
pub(super) struct Duties {
    pub(super) renewals: renewals::Sender,
    pub(super) promotions: mpsc::Sender<MemberId>,
}

/// Bytes of an image, and how many follow; or why there is no more.
pub type ImagePiece = Result<(Bytes, u64), Error>;

impl Handle {
    pub(super) fn new(
        options: &Options,
        identity: &Identity,
        raft: raft::Handle,
        machine: Arc<Machine>,
        duties: Duties,
        signer: Option<Signer>,
        clock: Option<Clock>,
    ) -> Self {
        let leadership = raft.leadership();
        let (identity, options) = (*identity, options.clone());
        let images = Arc::new(Semaphore::new(IMAGES_MAX));
        let clock = clock.unwrap_or_else(|| Arc::new(now_unix_ms));
        let Duties { renewals, promotions } = duties;
        let hasher = Hasher::new(options.bcrypt_cost, machine.work());
        let shared = Shared {
            identity,
            options,
            raft,
            leadership,
            machine,
            renewals,
            promotions,
            space: Space::default(),
            images,
            diffs: history::permits(),
            hasher,
            signer,
            broken: Broken::default(),
            announced: CancellationToken::new(),
            agreement: Mutex::default(),
            clock,
            calls: Calls::new(&protocol()),
        };
        let warn_apply = Duration::from_millis(shared.options.warning_apply_duration_ms);
        shared.machine.metrics().warn_apply_over(warn_apply);
        Self { shared: Arc::new(shared), caller: Caller::Trusted }
    }

    /// The same member, for somebody else.
    pub(crate) fn acting_for(&self, caller: Caller) -> Self {
        Self { shared: self.shared.clone(), caller }
    }

    /// On whose behalf this handle acts.
    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// What makes signed tokens, where those are wanted.
    pub(super) fn signer(&self) -> Option<&Signer> {
        self.shared.signer.as_ref()
    }

    pub(crate) fn hasher(&self) -> &Hasher {
        &self.shared.hasher
    }

    pub(crate) fn identity(&self) -> Identity {
        self.shared.identity
    }

    pub(crate) fn options(&self) -> &Options {
        &self.shared.options
    }

    /// This member.
    pub fn member_id(&self) -> MemberId {
        self.shared.identity.id
    }

    /// The cluster.
    pub fn cluster_id(&self) -> u64 {
        self.shared.identity.cluster_id
    }

    /// Who leads, now and from now on.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.shared.leadership.clone()
    }

    /// Who leads now.
    pub fn leadership_now(&self) -> Leadership {
        *self.shared.leadership.borrow()
    }

    /// How long a member without a leader may hope for one before its clients should go elsewhere.
    pub(crate) fn leader_patience(&self) -> Duration {
        Duration::from_millis(3 * self.shared.options.election_timeout_ms)
    }

    /// Makes a learner a voter once it is there and has caught up. Ends with this process: an operator then promotes by
    /// hand.
    pub(crate) fn promote_later(&self, id: MemberId) {
        let _full = self.shared.promotions.try_send(id);
    }

    /// The Raft member below: status and membership.
    pub fn raft(&self) -> &raft::Handle {
        &self.shared.raft
    }

    /// The newest revision this member has applied; it may be behind.
    pub fn revision(&self) -> Revision {
        Revision(self.shared.machine.facts().revision)
    }

    pub(crate) fn machine(&self) -> &Arc<Machine> {
        &self.shared.machine
    }

    /// What is counted of the calls of clients.
    pub(crate) fn calls(&self) -> &Calls {
        &self.shared.calls
    }

    /// What is known of the free space of this member's disk.
    pub(super) fn space(&self) -> &Space {
        &self.shared.space
    }

    /// Does not count a member as damaged until the next comparison; returns whether it did.
    pub(super) fn forget_corrupt(&self, id: MemberId) -> bool {
        let corrupt = &mut self.shared.agreement.lock().corrupt;
        let before = corrupt.len();
        corrupt.retain(|other| *other != id);
        corrupt.len() < before
    }

    /// Hash of the readable content at a revision (0 for the newest); equal on all members (invariant S5). Returns the
    /// hash, the compacted revision and the revision that was hashed.
    pub async fn hash(&self, revision: Revision) -> Result<(u32, Revision, Revision), Error> {
        let machine = self.shared.machine.clone();
        let (hash, facts) = self.blocking(move || machine.hash(revision)).await?;
        Ok((hash, Revision(facts.compacted), Revision(facts.revision)))
    }

    /// Milliseconds since 1970 UTC, as this member believes.
    pub(crate) fn unix_ms(&self) -> u64 {
        (self.shared.clock)()
    }

    /// An image of this member's state (see [`backup`](crate::backup)), in pieces, each with the number of bytes that
    /// follow. It is made as it is read; dropping the receiver ends it.
    pub fn image(&self) -> Result<mpsc::Receiver<ImagePiece>, Error> {
        let permit = self.shared.images.clone().try_acquire_owned().map_err(|_| {
            Error::Unavailable(format!("{IMAGES_MAX} images of {} are being made already", self.member_id()))
        })?;
        let origin = self.origin();
        let machine = self.shared.machine.clone();
        let member = self.clone();
        let (pieces, receiver) = mpsc::channel(IMAGE_PIECES_IN_FLIGHT);
        tokio::task::spawn_blocking(move || {
            let _while_it_lasts = permit;
            let mut sink = |bytes, left| match pieces.blocking_send(Ok((bytes, left))) {
                Ok(()) => std::ops::ControlFlow::Continue(()),
                Err(_nobody_reads) => std::ops::ControlFlow::Break(()),
            };
            if let Err(error) = machine.export(origin, &mut sink) {
                let told = match error {
                    backup::Error::State(error) => member.broken(error),
                    other => Error::Internal(other.to_string()),
                };
                // Whoever reads learns it; if nobody does, nobody needs to.
                drop(pieces.blocking_send(Err(told)));
            }
        });
        Ok(receiver)
    }

    pub(crate) fn origin(&self) -> Origin {
        let Identity { id, cluster_id } = self.identity();
        Origin { cluster_id, member_id: id.0, made_unix_ms: self.unix_ms() }
    }

    /// Ids of all leases in order.
    pub async fn leases(&self) -> Result<Vec<LeaseId>, Error> {
        patiently!(self, |member| {
            member.confirm().await?;
            let (machine, caller) = (member.machine().clone(), member.caller.clone());
            member.blocking(move || machine.leases_as(&caller)).await
        })
    }

    /// Watches with control over progress and without copying; what the gRPC service uses.
    pub(crate) async fn subscribe(&self, watch: Watch) -> Result<Subscription, Error> {
        validate::keys(&watch.keys)?;
        patiently!(self, |member| {
            let machine = member.machine();
            let subscribe = || Ok(Subscription::new(machine.clone(), &watch)?);
            let check = |rights: &Rights<'_>| Ok(rights.read(&watch.keys)?);
            machine.read_as(&member.caller, check, subscribe).map_err(|failure| member.failure(failure))
        })
    }

    /// Waits until this member holds everything acknowledged before the call.
    pub(crate) async fn confirm(&self) -> Result<(), Error> {
        noting(Stage::Confirm, pin!(self.shared.raft.read_index())).await.map_err(raft_error)?;
        Ok(())
    }

    /// The cluster knows under which name and URLs this member is reached.
    pub(super) fn set_announced(&self) {
        self.shared.announced.cancel();
    }

    /// Waits until the cluster knows where this member serves clients, though not for long: what keeps that from being known need not
    /// matter to who asks.
    pub(crate) async fn announced(&self) {
        if !self.shared.announced.is_cancelled() {
            drop(timeout(ANNOUNCE_PATIENCE, self.shared.announced.cancelled()).await);
        }
    }

    /// Replicates a command and returns its answer.
    pub(crate) async fn propose(&self, command: &Command) -> Result<Response, Error> {
        let answer = match self.caller {
            Caller::Trusted | Caller::Nobody => self.propose_once(command).await,
            // On the heap: else each command of others carried the room for it.
            Caller::User(_) => Box::pin(self.propose_patiently(command)).await,
        };
        answer.map(|(response, _)| response)
    }

    async fn propose_patiently(&self, command: &Command) -> Result<(Response, u64), Error> {
        patiently!(self, |member| member.propose_once(command).await)
    }

    /// Replicates a command and returns its answer and its index.
    pub(super) async fn propose_once(&self, command: &Command) -> Result<(Response, u64), Error> {
        let bytes = command.encode_for(&self.caller).map_err(|error| Error::TooLarge(error.to_string()))?;
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(Error::TooLarge(format!("a command has at most {RECORD_BYTES_MAX} bytes")));
        }
        let proposing = pin!(self.shared.raft.propose(bytes));
        let proposed = noting(Stage::Propose, proposing).await.map_err(|error| {
            if matches!(error, raft::Error::NoSpace) {
                self.space().doubt();
            }
            raft_error(error)
        })?;
        match Response::decode(&proposed.response) {
            Ok(Response::Refused(refusal)) => Err(refusal),
            Ok(response) => Ok((response, proposed.index.0)),
            Err(error) => Err(Error::Internal(error.to_string())),
        }
    }

    /// Runs a read that may wait for the disk where it does not hold up others.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        run: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Error> {
        match self.shared.machine.work() {
            Work::Threads => self.joined(tokio::task::spawn_blocking(run)).await,
            Work::Inline => run().map_err(|failure| self.failure(failure)),
        }
    }

    /// What a read at once returned; `None` when it would have had to wait for the disk.
    fn at_once<T>(&self, result: Result<T, Failure>) -> Option<Result<T, Error>> {
        match result {
            Err(failure) if failure.is_impatience() => None,
            other => Some(other.map_err(|failure| self.failure(failure))),
        }
    }

    /// What a read that runs elsewhere returned.
    pub(crate) async fn joined<T>(&self, reading: JoinHandle<Result<T, Failure>>) -> Result<T, Error> {
        let result = noting(Stage::Read, reading).await;
        result
            .map_err(|_| Error::Unavailable("the member has stopped".to_owned()))?
            .map_err(|failure| self.failure(failure))
    }

    pub(super) fn failure(&self, failure: Failure) -> Error {
        match failure {
            Failure::Refused(refusal) => refusal,
            Failure::Broken(error) => self.broken(error),
        }
    }

    /// Notes that the state cannot be read, which stops the member (invariant S7), and returns what to tell the caller.
    pub(crate) fn broken(&self, error: mvcc::Error) -> Error {
        let told = Error::Internal(error.to_string());
        self.shared.broken.report(error);
        told
    }

    /// Returns why the state cannot be read, once that is so.
    pub(super) async fn found_broken(&self) -> mvcc::Error {
        self.shared.broken.reported().await
    }

    /// Hash of what can be read between two revisions, once this member has applied the newer one; `None` when it cannot
    /// tell.
    pub(crate) async fn state_hash(&self, asked: Facts) -> Result<Option<u32>, Error> {
        self.confirm().await?;
        let machine = self.shared.machine.clone();
        let hash = self.blocking(move || Ok(machine.hash_between(asked)?)).await?;
        self.remember_hash(asked, hash);
        Ok(hash)
    }

    /// Remembers what this member said of its state.
    pub(crate) fn remember_hash(&self, asked: Facts, hash: Option<u32>) {
        self.shared.agreement.lock().said = hash.map(|hash| (asked, hash));
    }

    /// Takes note of whose state differs; if it is this member's, and it did say so, the member stops.
    pub(crate) fn take_verdict(&self, asked: Facts, verdict: &Verdict) {
        let said = {
            let mut agreement = self.shared.agreement.lock();
            agreement.corrupt = verdict.corrupt.clone();
            agreement.said
        };
        let (Some(right), Some((facts, hash))) = (verdict.hash, said) else { return };
        if facts == asked && hash != right {
            let detail =
                format!("hash {hash:08x} at revision {}, a majority has {right:08x}", asked.revision);
            self.broken(mvcc::Error::corrupt("state", detail));
        }
    }

    /// Members whose state differed when it was compared last, as long as they are members.
    pub fn corrupt_members(&self) -> Vec<MemberId> {
        let found = self.shared.agreement.lock().corrupt.clone();
        if found.is_empty() {
            return found;
        }
        let members = self.shared.raft.status().members;
        found.into_iter().filter(|id| members.contains_key(id)).collect()
    }

    /// The right to compare two moments; `None` while too many others do.
    pub(crate) fn permit_diff(&self) -> Option<OwnedSemaphorePermit> {
        self.shared.diffs.clone().try_acquire_owned().ok()
    }

    async fn propose_done(&self, command: &Command) -> Result<Revision, Error> {
        match self.propose(command).await? {
            Response::Done(revision) => Ok(revision),
            other => Err(unexpected(&other)),
        }
    }

    async fn range_once(&self, range: Range) -> Result<RangeResult, Error> {
        if !range.serializable {
            self.confirm().await?;
        }
        let (machine, caller) = (self.shared.machine.clone(), self.caller.clone());
        if let KeyRange::Key(_) = range.keys
            && let Some(result) = self.at_once(machine.range_as(&caller, &range, Pace::AtOnce))
        {
            return result;
        }
        self.blocking(move || machine.range_as(&caller, &range, Pace::Patient)).await
    }

    /// The beginning of a range, see [`Machine::page`].
    pub(crate) async fn page(&self, range: Range) -> Result<RangeResult, Error> {
        validate::range(&range)?;
        match self.caller {
            Caller::Trusted | Caller::Nobody => self.page_once(range).await,
            Caller::User(_) => patiently!(self, |member| member.page_once(range.clone()).await),
        }
    }

    async fn page_once(&self, range: Range) -> Result<RangeResult, Error> {
        if !range.serializable {
            self.confirm().await?;
        }
        let (machine, caller) = (self.shared.machine.clone(), self.caller.clone());
        self.blocking(move || machine.page_as(&caller, &range)).await
    }

    async fn read_only_txn(&self, txn: Txn) -> Result<TxnResult, Error> {
        match self.caller {
            Caller::Trusted | Caller::Nobody => self.read_only_txn_once(txn).await,
            Caller::User(_) => patiently!(self, |member| member.read_only_txn_once(txn.clone()).await),
        }
    }

    async fn read_only_txn_once(&self, txn: Txn) -> Result<TxnResult, Error> {
        // Serializable only if every read in it says so.
        let local = !txn.success.is_empty() && txn.success.iter().chain(&txn.failure).all(is_serializable);
        if !local {
            self.confirm().await?;
        }
        let (machine, caller) = (self.shared.machine.clone(), self.caller.clone());
        if is_single_keys(&txn)
            && let Some(result) = self.at_once(machine.read_only_txn_as(&caller, &txn, Pace::AtOnce))
        {
            return result;
        }
        self.blocking(move || machine.read_only_txn_as(&caller, &txn, Pace::Patient)).await
    }
}

#[async_trait]
impl Kv for Handle {
    async fn range(&self, range: Range) -> Result<RangeResult, Error> {
        validate::range(&range)?;
        match self.caller {
            Caller::Trusted | Caller::Nobody => self.range_once(range).await,
            Caller::User(_) => patiently!(self, |member| member.range_once(range.clone()).await),
        }
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResult, Error> {
        validate::txn(&txn)?;
        if is_read_only(&txn) {
            // On the heap: else each write carried the room for it.
            return Box::pin(self.read_only_txn(txn)).await;
        }
        self.check_space(has_put(&txn))?;
        match self.propose(&Command::Txn(txn)).await? {
            Response::Txn(result) => Ok(result),
            other => Err(unexpected(&other)),
        }
    }

    async fn watch(&self, watch: Watch) -> Result<WatchStream, Error> {
        let subscription = self.subscribe(watch).await?;
        Ok(Box::pin(stream::unfold(subscription, |mut subscription| async move {
            subscription.message().await.map(|message| (message, subscription))
        })))
    }

    async fn read_revision(&self) -> Result<Revision, Error> {
        self.confirm().await?;
        Ok(self.revision())
    }

    async fn lease_grant(&self, id: LeaseId, ttl_s: i64) -> Result<Lease, Error> {
        validate::lease_grant(ttl_s)?;
        self.check_space(true)?;
        let ttl_s = ttl_s.max(LEASE_TTL_S_MIN);
        // Chosen here, not while applying, which must not know randomness.
        let id = if id.0 == 0 { LeaseId(rand::random_range(1..i64::MAX)) } else { id };
        self.propose_done(&Command::LeaseGrant { id, ttl_s }).await?;
        Ok(Lease { id, granted_ttl_s: ttl_s, ttl_s, keys: Vec::new() })
    }

    async fn lease_revoke(&self, id: LeaseId) -> Result<Revision, Error> {
        self.propose_done(&Command::LeaseRevoke(id)).await
    }

    async fn lease_keep_alive(&self, id: LeaseId) -> Result<Lease, Error> {
        if self.must_identify() {
            patiently!(self, |member| {
                let (machine, caller) = (member.machine().clone(), member.caller.clone());
                member.blocking(move || machine.check_renewal(&caller, id)).await
            })?;
        }
        let ttl_s = self.shared.renewals.renew(id).await?;
        Ok(Lease { id, granted_ttl_s: ttl_s, ttl_s, keys: Vec::new() })
    }

    async fn lease_time_to_live(&self, id: LeaseId, keys: bool) -> Result<Lease, Error> {
        let found = patiently!(self, |member| {
            member.confirm().await?;
            let (machine, caller) = (member.machine().clone(), member.caller.clone());
            member.blocking(move || machine.lease_as(&caller, id, keys)).await
        })?;
        Ok(match found {
            None => Lease { id, granted_ttl_s: 0, ttl_s: -1, keys: Vec::new() },
            Some((record, keys)) => Lease {
                id,
                granted_ttl_s: record.granted_ttl_s,
                ttl_s: self.shared.machine.deadlines().left_s(id, Instant::now()).unwrap_or(0),
                keys,
            },
        })
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.propose_done(&Command::Compact(revision)).await?;
        Ok(())
    }
}

fn unexpected(response: &Response) -> Error {
    Error::Internal(format!("the command was answered with {response:?}"))
}

fn has_put(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        Op::Put { .. } => true,
        Op::Range(_) | Op::Delete { .. } => false,
        Op::Txn(nested) => has_put(nested),
    })
}

fn is_serializable(op: &Op) -> bool {
    match op {
        Op::Range(range) => range.serializable,
        Op::Put { .. } | Op::Delete { .. } => false,
        Op::Txn(nested) => nested.success.iter().chain(&nested.failure).all(is_serializable),
    }
}

fn is_single_keys(txn: &Txn) -> bool {
    let single = |keys: &KeyRange| matches!(keys, KeyRange::Key(_));
    txn.compare.iter().all(|compare| single(&compare.keys))
        && txn.success.iter().chain(&txn.failure).all(|op| match op {
            Op::Range(range) => single(&range.keys),
            Op::Put { .. } | Op::Delete { .. } => false,
            Op::Txn(nested) => is_single_keys(nested),
        })
}

/// What a failure to agree means to a caller.
pub(crate) fn raft_error(error: raft::Error) -> Error {
    let text = error.to_string();
    match error {
        raft::Error::Unknown { .. } => Error::Timeout(text),
        raft::Error::NoLeader
        | raft::Error::NotSent { .. }
        | raft::Error::ReadNotConfirmed { .. }
        | raft::Error::Overloaded { .. }
        | raft::Error::Stopped => Error::Unavailable(text),
        raft::Error::NoSpace => Error::NoSpace(text),
        raft::Error::TooLarge { .. } => Error::TooLarge(text),
        raft::Error::Membership(_) => Error::Invalid(text),
        raft::Error::Storage { .. }
        | raft::Error::ForeignCluster { .. }
        | raft::Error::AlreadyInitialized
        | raft::Error::Options { .. }
        | raft::Error::Directory { .. }
        | raft::Error::Tls { .. } => Error::Internal(text),
    }
}
