//! The store as a replicated state machine: commands in log order, one engine write for each batch.
//!
//! ```text
//! committed commands -> decode -> Draft (all effects, in memory) -> one engine batch with Raft's position
//!                                                                -> facts, lease deadlines, watch hub -> responses
//! ```
//!
//! Invariants: S1, the revision only grows, asserted here. S5, a response depends on the commands alone. S7, an error of
//! the engine or an unreadable command stops the member. Effects and position become visible together because
//! they are one batch.
//!
//! This module knows commands and their effects. It must not know who proposed them or how they were agreed on.

mod access;
mod brief;
pub mod command;
mod execute;
pub mod response;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use raft::{Batch, Committed, StateMachine, StateMachineError, Work};
use store_client::{
    Error as Refusal, KeyRange, KeyValue, LeaseId, Range, RangeResult, Revision, Txn, TxnResult,
};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::auth::{self, Published, State};
use crate::backup::{self, export};
use crate::engine::{self, Engine, Pace};
use crate::lease::{self, Deadlines};
use crate::limits::{
    HASH_CHECK_BYTES_PER_STEP, HASH_CHECK_PAUSE, INSPECTION_BYTES_PER_STEP, RANGE_BYTES_MAX,
    RANGE_STREAM_BYTES, RECENT_KEYS_BYTES_MAX, SCRUB_BYTES_PER_FLUSH, WATCHERS_TOLD_AT_ONCE_MAX,
};
use crate::metrics::{Commands, Metrics};
use crate::mvcc::alarms::{self, Raised};
use crate::mvcc::draft::{Failure, check_readable, too_large};
use crate::mvcc::layout::LeaseRecord;
use crate::mvcc::recent::Recent;
use crate::mvcc::{self, Draft, Facts, diff, facts, hash, history, overlay::Overlay, scan, scrub, times};
use crate::watch::{Hub, Past};
use execute::run;

/// The state of one member and everything that watches it.
pub struct Machine {
    engine: Arc<dyn Engine>,
    facts: RwLock<Facts>,
    hub: Hub,
    deadlines: Deadlines,
    auth: Published,
    tokens: auth::token::Deadlines,
    /// Removing old versions and replacing the state exclude each other. Bytes of versions whose removal may only be in memory.
    housekeeping: Mutex<u64>,
    recent: Mutex<Recent>,
    compacted: Notify,
    work: Work,
    metrics: Metrics,
    alarms: Mutex<Arc<BTreeSet<Raised>>>,
}

impl Machine {
    /// The state an engine holds.
    pub fn open(engine: Arc<dyn Engine>) -> Result<Self, mvcc::Error> {
        Self::open_on(engine, Work::default())
    }

    /// The same, with another place for work that waits for the disk.
    pub fn open_on(engine: Arc<dyn Engine>, work: Work) -> Result<Self, mvcc::Error> {
        let reader = engine.reader();
        let facts = facts::read(reader.as_ref())?;
        #[cfg(feature = "known-bugs")]
        let facts = match raft::bugs::is_on(raft::bugs::Bug::M12) {
            true => Facts { revision: newest_of_keys(reader.as_ref())?.max(1), ..facts },
            false => facts,
        };
        let deadlines = Deadlines::default();
        deadlines.replace(lease::read_all(reader.as_ref())?, Instant::now());
        let auth = auth::record::read_all(reader.as_ref())?;
        let tokens = auth::token::Deadlines::default();
        tokens.replace(renewals(&auth), Instant::now());
        let alarms = alarms::read_all(reader.as_ref())?;
        Ok(Self {
            engine,
            facts: RwLock::new(facts),
            hub: Hub::new(facts.revision),
            deadlines,
            auth: Published::new(auth),
            tokens,
            housekeeping: Mutex::new(0),
            recent: Mutex::new(Recent::new(RECENT_KEYS_BYTES_MAX)),
            compacted: Notify::new(),
            work,
            metrics: Metrics::default(),
            alarms: Mutex::new(Arc::new(alarms)),
        })
    }

    /// Where the store stands on this member.
    pub fn facts(&self) -> Facts {
        *self.facts.read()
    }

    /// Whether Raft has stored its position in the state.
    pub(crate) fn has_position(&self) -> Result<bool, mvcc::Error> {
        Ok(facts::read_position(self.engine.reader().as_ref())?.is_some())
    }

    /// Where work is done that waits for the disk.
    pub fn work(&self) -> Work {
        self.work
    }

    /// The alarms that the cluster has agreed on.
    pub fn alarms(&self) -> Arc<BTreeSet<Raised>> {
        self.alarms.lock().clone()
    }

    fn read_alarms(&self) -> Result<(), mvcc::Error> {
        let alarms = alarms::read_all(self.engine.reader().as_ref())?;
        *self.alarms.lock() = Arc::new(alarms);
        Ok(())
    }

    /// What is counted and timed.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// When leases end, as this member sees it.
    pub fn deadlines(&self) -> &Deadlines {
        &self.deadlines
    }

    /// Users and roles.
    pub fn auth(&self) -> &Published {
        &self.auth
    }

    /// When tokens end, as this member sees it.
    pub fn tokens(&self) -> &auth::token::Deadlines {
        &self.tokens
    }

    /// Keys attached to a lease as they are now.
    pub fn lease_keys(&self, id: LeaseId) -> Result<Vec<Bytes>, mvcc::Error> {
        let reader = self.engine.reader();
        Draft::new(reader.as_ref(), self.facts()).attached(id)
    }

    /// Bytes the state takes on disk, roughly.
    pub fn size_bytes(&self) -> u64 {
        self.engine.size_bytes()
    }

    /// Reads a range from this member's state.
    pub fn range(&self, range: &Range, pace: Pace) -> Result<RangeResult, Failure> {
        let (facts, result) = self.read(pace, |reader, facts| {
            check_readable(range, facts)?;
            let at = if range.revision.0 > 0 { range.revision.0 } else { facts.revision };
            let found = scan::range(reader, &Overlay::default(), range, at, RANGE_BYTES_MAX)?;
            let result = found.map_err(|scan::TooLarge| too_large(RANGE_BYTES_MAX))?;
            Ok((at, result))
        })?;
        Ok(RangeResult { revision: Revision(facts.revision), ..result })
    }

    /// Reads the beginning of a range, see [`scan::page`].
    pub fn page(&self, range: &Range) -> Result<RangeResult, Failure> {
        let (facts, result) = self.read(Pace::Patient, |reader, facts| {
            check_readable(range, facts)?;
            let at = if range.revision.0 > 0 { range.revision.0 } else { facts.revision };
            Ok((at, scan::page(reader, range, at, RANGE_STREAM_BYTES)?))
        })?;
        Ok(RangeResult { revision: Revision(facts.revision), ..result })
    }

    /// Answers a transaction that writes nothing.
    pub fn read_only_txn(&self, txn: &Txn, pace: Pace) -> Result<TxnResult, Failure> {
        let (_, result) = self.read(pace, |reader, facts| {
            let mut draft = Draft::new(reader, facts);
            Ok((facts.revision, draft.command(|draft| draft.txn(txn))?))
        })?;
        Ok(result)
    }

    /// Runs a read that depends on the revision it names. If that revision was compacted meanwhile, versions may
    /// have been missing, so it runs again on the newer state, where it is answered or refused.
    fn read<T>(
        &self,
        pace: Pace,
        run: impl Fn(&dyn engine::Reader, Facts) -> Result<(i64, T), Failure>,
    ) -> Result<(Facts, T), Failure> {
        loop {
            let facts = self.facts();
            let reader = self.engine.reader_at(pace);
            let (at, result) = run(reader.as_ref(), facts)?;
            if at >= self.facts().compacted {
                return Ok((facts, result));
            }
        }
    }

    /// Keys attached to a lease, and what it was granted.
    pub fn lease(&self, id: LeaseId, keys: bool) -> Result<Option<(LeaseRecord, Vec<Bytes>)>, mvcc::Error> {
        let reader = self.engine.reader();
        let draft = Draft::new(reader.as_ref(), self.facts());
        let Some(record) = draft.lease(id)? else { return Ok(None) };
        let attached = if keys { draft.attached(id)? } else { Vec::new() };
        Ok(Some((record, attached)))
    }

    /// Ids of all leases in order.
    pub fn leases(&self) -> Result<Vec<LeaseId>, mvcc::Error> {
        Ok(lease::read_all(self.engine.reader().as_ref())?.into_iter().map(|(id, _)| id).collect())
    }

    /// Hash of the content at a revision (0 for the newest), with the revision and the compacted one.
    pub fn hash(&self, revision: Revision) -> Result<(u32, Facts), Failure> {
        let (facts, (hash, at)) = self.read(Pace::Patient, |reader, facts| {
            let probe = Range { revision, ..Range::new(KeyRange::From(Bytes::new())) };
            check_readable(&probe, facts)?;
            let at = if revision.0 > 0 { revision.0 } else { facts.revision };
            Ok((at, (hash::content(reader, facts.compacted, at)?, at)))
        })?;
        Ok((hash, Facts { revision: at, compacted: facts.compacted }))
    }

    /// The newest revision at a time; or the oldest moment that can be read, if that is later.
    pub fn noted_at(&self, unix_ms: u64) -> Result<Result<times::Noted, Option<times::Noted>>, mvcc::Error> {
        let reader = self.engine.reader();
        let found = times::at(reader.as_ref(), unix_ms)?;
        let compacted = self.facts().compacted;
        Ok(match found.filter(|noted| noted.revision >= compacted) {
            Some(noted) => Ok(noted),
            None => Err(times::oldest(reader.as_ref(), compacted)?),
        })
    }

    /// The newest moment at or before a time, readable or not.
    pub(crate) fn last_noted(&self, unix_ms: u64) -> Result<Option<times::Noted>, mvcc::Error> {
        times::at(self.engine.reader().as_ref(), unix_ms)
    }

    /// Refuses a revision that is gone or not there yet.
    pub fn check_readable(&self, revision: Revision) -> Result<(), Refusal> {
        check_readable(&Range { revision, ..Range::new(KeyRange::From(Bytes::new())) }, self.facts())
    }

    /// Calls `emit` with what differs between two revisions. See [`diff::between`].
    pub fn diff(
        &self,
        keys: &KeyRange,
        from: Revision,
        to: Revision,
        emit: &mut diff::Emit<'_>,
    ) -> Result<(), Failure> {
        let reader = self.engine.reader();
        let Some(mut cursor) = diff::cursor(reader.as_ref(), keys)? else { return Ok(()) };
        self.check_readable(from)?;
        self.check_readable(to)?;
        Ok(diff::between(cursor.as_mut(), from.0, to.0, emit)?)
    }

    /// Calls `emit` with the last value of each key that is deleted now. See [`diff::deleted`].
    pub fn deleted(
        &self,
        keys: &KeyRange,
        emit: &mut dyn FnMut(KeyValue) -> std::ops::ControlFlow<()>,
    ) -> Result<(), Failure> {
        let reader = self.engine.reader();
        let Some(mut cursor) = diff::cursor(reader.as_ref(), keys)? else { return Ok(()) };
        let Facts { revision, compacted } = self.facts();
        Ok(diff::deleted(cursor.as_mut(), compacted, revision, emit)?)
    }

    /// Hands an image of the state to `sink`. See [`export::export`].
    pub fn export(
        &self,
        origin: export::Origin,
        sink: &mut export::Sink<'_>,
    ) -> Result<Option<backup::Header>, backup::Error> {
        export::export(self.engine.reader().as_ref(), origin, sink)
    }

    /// Hash of the content that can be read between two revisions, at a bounded rate; `None` when this member does not
    /// hold all of it. Blocks, for long.
    pub fn hash_between(&self, asked: Facts) -> Result<Option<u32>, mvcc::Error> {
        let reader = self.engine.reader();
        let everything = KeyRange::From(Bytes::new());
        let Some(mut cursor) = diff::cursor(reader.as_ref(), &everything)? else { return Ok(None) };
        let Facts { revision, compacted } = self.facts();
        if compacted > asked.compacted || revision < asked.revision {
            return Ok(None);
        }
        let mut looked_at = 0;
        let hash = hash::paced(cursor.as_mut(), asked, &mut |bytes| {
            looked_at += bytes;
            if looked_at >= HASH_CHECK_BYTES_PER_STEP {
                looked_at = 0;
                std::thread::sleep(HASH_CHECK_PAUSE);
            }
        })?;
        drop(cursor);
        // The hash is by what was written: whether it is still there is found out by reading.
        let mut place = Bytes::new();
        while let Some(next) = reader.inspect(&place, INSPECTION_BYTES_PER_STEP)? {
            place = next;
            std::thread::sleep(HASH_CHECK_PAUSE);
        }
        Ok(Some(hash))
    }

    /// Adds a backup of the state to a directory. See [`backup::directory`].
    pub fn backup(
        &self,
        directory: &backup::directory::Directory,
        origin: export::Origin,
        scratch: &Path,
        room: impl FnOnce(u64) -> Result<(), backup::Error>,
    ) -> Result<backup::directory::Made, backup::Error> {
        directory.add(self.engine.as_ref(), origin, scratch, room)
    }

    /// Removes one batch of compacted versions; returns whether there is more. See [`scrub`].
    pub fn scrub_step(&self) -> Result<bool, mvcc::Error> {
        // Excludes a restore.
        let mut removed_bytes = self.housekeeping.lock();
        let step = scrub::step(self.engine.as_ref(), self.facts().compacted)?;
        *removed_bytes += step.bytes;
        // That they are removed is in memory, and may stay there for long if nobody writes, as on a full disk. The engine gives
        // their space back only once it is in a table.
        if !step.more
            && *removed_bytes >= SCRUB_BYTES_PER_FLUSH
            && self.engine.flush_removals(*removed_bytes)?
        {
            *removed_bytes = 0;
        }
        Ok(step.more)
    }

    /// Lets the engine begin what it put off; see [`Engine::settle`].
    pub fn settle(&self) -> Result<(), mvcc::Error> {
        Ok(self.engine.settle()?)
    }

    /// Returns once history was compacted since the last call.
    pub async fn compacted(&self) {
        self.compacted.notified().await;
    }

    /// Applies a batch. At [`Pace::AtOnce`] the error may be [impatience](mvcc::Error::is_impatience); nothing was changed then.
    fn apply_batch(&self, batch: &Batch, pace: Pace) -> Result<Vec<Bytes>, Broken> {
        let begin = std::time::Instant::now();
        let reader = self.engine.reader_at(pace);
        let before = self.facts();
        let mut recent = self.recent.lock();
        let mut draft = Draft::new(reader.as_ref(), before).knowing(&mut recent);
        let mut events = Vec::new();
        let mut responses = Vec::with_capacity(batch.commands.len());
        let mut auth = auth::Draft::new(self.auth.state());
        let mut count = Commands::default();
        for committed in &batch.commands {
            responses.push(run(&mut draft, &mut auth, committed, &mut events, &mut count)?);
        }
        let mut writes = engine::Batch::default();
        let has_alarms = draft.has_alarms();
        let (after, revised) = draft.finish(&mut writes);
        let drafted = auth.finish(&mut writes);
        #[cfg(feature = "known-bugs")]
        if raft::bugs::is_on(raft::bugs::Bug::M5) {
            let mut apart = engine::Batch::default();
            facts::write_position(batch.position.clone(), &mut apart);
            self.engine.write(&apart).map_err(mvcc::Error::from)?;
        }
        facts::write_position(batch.position.clone(), &mut writes);
        if drafted.is_some() {
            self.auth.begin();
        }
        let writing = std::time::Instant::now();
        self.engine.write_at(pace, &writes).map_err(mvcc::Error::from)?;
        self.metrics.commits.ends(writing);
        revised.iter().flat_map(|revised| &revised.changes).for_each(|change| recent.learn(change));
        drop(recent);
        assert!(
            after.revision >= before.revision && after.compacted >= before.compacted,
            "S1: revisions only grow"
        );
        *self.facts.write() = after;
        if has_alarms {
            self.read_alarms()?;
        }
        self.deadlines.apply(&events, Instant::now());
        if let Some(auth::draft::Drafted { state, events }) = drafted {
            self.tokens.apply(&events, Instant::now());
            // Before anything of this batch is shown to watches.
            self.auth.put(state);
        }
        self.metrics.commands(&count);
        self.metrics.revised(&revised);
        self.hub.publish(revised);
        if after.compacted > before.compacted {
            self.compacted.notify_one();
        }
        let bytes = batch.commands.iter().map(|one| one.command.len()).sum();
        self.metrics.applied(begin, batch.commands.len(), bytes, after.revision);
        Ok(responses)
    }
}

impl StateMachine for Machine {
    fn apply(&self, batch: Batch) -> Result<Vec<Bytes>, StateMachineError> {
        Ok(self.apply_batch(&batch, Pace::Patient)?)
    }

    fn apply_at_once(&self, batch: &Batch) -> Option<Result<Vec<Bytes>, StateMachineError>> {
        let is_brief = |committed: &Committed| brief::is_brief(&committed.command);
        if !batch.commands.iter().all(is_brief) || self.hub.watchers() > WATCHERS_TOLD_AT_ONCE_MAX {
            return None;
        }
        match self.apply_batch(batch, Pace::AtOnce) {
            Err(Broken::Mvcc(error)) if error.is_impatience() => None,
            applied => Some(applied.map_err(StateMachineError::from)),
        }
    }

    fn position(&self) -> Result<Option<Bytes>, StateMachineError> {
        Ok(facts::read_position(self.engine.reader().as_ref()).map_err(Broken::from)?)
    }

    fn flush(&self) -> Result<bool, StateMachineError> {
        Ok(self.engine.flush().map_err(Broken::from)?)
    }

    fn checkpoint(&self, into: &Path) -> Result<Option<Bytes>, StateMachineError> {
        Ok(self.engine.checkpoint(into, &facts::position_key()).map_err(Broken::from)?)
    }

    fn restore(&self, from: &Path) -> Result<(), StateMachineError> {
        let mut removed_bytes = self.housekeeping.lock();
        *removed_bytes = 0;
        self.auth.begin();
        self.engine.restore(from).map_err(Broken::from)?;
        self.recent.lock().clear();
        let reader = self.engine.reader();
        let facts = facts::read(reader.as_ref()).map_err(Broken::from)?;
        let leases = lease::read_all(reader.as_ref()).map_err(Broken::from)?;
        let auth = auth::record::read_all(reader.as_ref()).map_err(Broken::from)?;
        self.read_alarms().map_err(Broken::from)?;
        let before = self.facts();
        assert!(facts.revision >= before.revision, "S1: an image is never older than the state it replaces");
        *self.facts.write() = facts;
        self.deadlines.replace(leases, Instant::now());
        self.tokens.replace(renewals(&auth), Instant::now());
        self.auth.put(Arc::new(auth));
        self.hub.skip_to(facts.revision);
        self.compacted.notify_one();
        Ok(())
    }
}

impl Past for Machine {
    fn hub(&self) -> &Hub {
        &self.hub
    }

    fn read(&self, keys: &KeyRange, start: i64, end: i64) -> Result<history::Piece, mvcc::Error> {
        history::read(self.engine.reader().as_ref(), keys, start, end)
    }

    fn before(&self, key: &Bytes, revision: i64) -> Result<Option<KeyValue>, mvcc::Error> {
        history::before(self.engine.reader().as_ref(), key, revision)
    }

    fn compacted(&self) -> i64 {
        self.facts().compacted
    }

    fn work(&self) -> Work {
        self.work
    }
}

/// The tokens of a state, each with its last renewal.
fn renewals(auth: &State) -> impl Iterator<Item = (auth::token::TokenId, u64)> {
    auth.tokens.iter().map(|(id, token)| (*id, token.renewed))
}

/// Bug M12: the newest revision that a key was written at.
#[cfg(feature = "known-bugs")]
fn newest_of_keys(reader: &dyn engine::Reader) -> Result<i64, mvcc::Error> {
    let (mut newest, keys) = (0, KeyRange::From(Bytes::new()));
    scan::visit(reader, &Overlay::default(), &keys, i64::MAX, &mut |written| {
        newest = newest.max(written.revision());
        Ok(std::ops::ControlFlow::Continue(()))
    })?;
    Ok(newest)
}

/// Why this member cannot go on.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Mvcc(#[from] mvcc::Error),
    #[error(transparent)]
    Engine(#[from] engine::Error),
    #[error(transparent)]
    Codec(#[from] crate::codec::Error),
}

impl From<Broken> for StateMachineError {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Mvcc(mvcc::Error::Corrupt { what, detail }) => Self::Corrupt { what, detail },
            Broken::Mvcc(mvcc::Error::Engine(error)) | Broken::Engine(error) => {
                Self::Storage { action: error.action, source: Box::new(error) }
            }
            Broken::Mvcc(error @ mvcc::Error::Format { .. }) => {
                Self::Storage { action: "read the state", source: Box::new(error) }
            }
            Broken::Codec(error) => Self::Corrupt { what: "command", detail: error.to_string() },
        }
    }
}
