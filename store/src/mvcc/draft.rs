//! What a run of commands will have done, before any of it is written.

use std::sync::Arc;

use bytes::Bytes;
use store_client::{
    Change, ChangeKind, Error as Refusal, KeyRange, KeyValue, LeaseId, Range, RangeResult, Revision, validate,
};

use super::alarms::Raised;
use super::entry::{Entry, Written};
use super::layout::{self, Before, Done, Head, LeaseRecord, Logged, Version};
use super::{Error, Facts, facts, overlay::Overlay, recent::Recent, scan, times};
use crate::engine::{Batch, Cursor, Reader, SEQUENCE_BYTES};
use crate::limits::TXN_READ_BYTES_MAX;

/// All changes of one revision.
#[derive(Debug)]
pub struct Revised {
    /// The revision.
    pub revision: Revision,
    /// The changes in the order they were made.
    pub changes: Vec<Change>,
}

/// A key as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    /// As clients see it, with its value only if that was asked for.
    pub kv: KeyValue,
    /// Bytes of its value, whether or not that was asked for.
    pub value_bytes: u32,
}

impl Current {
    fn of(written: &Written<'_>, key: Bytes, value: bool) -> Result<Self, Error> {
        Ok(Self { kv: written.key_value(key, value)?, value_bytes: bytes_of(written.value_bytes()) })
    }
}

/// How many bytes a value has.
pub fn bytes_of(length: usize) -> u32 {
    u32::try_from(length).expect("RECORD_BYTES_MAX is far less")
}

/// Why a command has no effect.
#[derive(Debug)]
pub enum Failure {
    /// The command is refused, on every member alike; this is its answer.
    Refused(Refusal),
    /// This member cannot go on.
    Broken(Error),
}

impl Failure {
    /// Whether it was to be done at once and could not be: nothing was done. See [`Error::is_impatience`].
    pub fn is_impatience(&self) -> bool {
        matches!(self, Self::Broken(error) if error.is_impatience())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Broken(error)
    }
}

/// The state as a run of commands leaves it. Commands see the effects of those before them; nothing reaches the
/// engine until [`Draft::finish`].
pub struct Draft<'a> {
    reader: &'a dyn Reader,
    /// One cursor for all looks at single keys: making one costs more than moving it.
    heads: Option<Box<dyn Cursor + 'a>>,
    /// What is known of what the reader sees.
    recent: Option<&'a mut Recent>,
    overlay: Overlay,
    facts: Facts,
    /// Changes of the transaction under way.
    changes: Vec<Change>,
    revised: Vec<Arc<Revised>>,
    /// Some alarm was raised or ended.
    alarms: bool,
}

impl<'a> Draft<'a> {
    /// A draft on what a reader sees, standing at `facts`. The engine may hold newer revisions already; they are
    /// not seen.
    pub fn new(reader: &'a dyn Reader, facts: Facts) -> Self {
        Self {
            reader,
            heads: None,
            recent: None,
            overlay: Overlay::default(),
            facts,
            changes: Vec::new(),
            revised: Vec::new(),
            alarms: false,
        }
    }

    /// The same, with what is known of the keys that the reader sees.
    pub fn knowing(self, recent: &'a mut Recent) -> Self {
        Self { recent: Some(recent), ..self }
    }

    /// Records that an alarm is raised, or is not any more.
    pub fn alarm(&mut self, raised: Raised, on: bool) {
        self.alarms = true;
        match on {
            true => self.overlay.put(raised.key(), Bytes::new()),
            false => self.overlay.delete(raised.key()),
        }
    }

    /// Whether some alarm was raised or ended.
    pub fn has_alarms(&self) -> bool {
        self.alarms
    }

    /// Where the store will stand.
    pub fn facts(&self) -> Facts {
        self.facts
    }

    /// The revision a read sees now: the one being made once it has a change.
    pub fn newest(&self) -> i64 {
        self.facts.revision + i64::from(!self.changes.is_empty())
    }

    /// Moves all effects into the batch; returns the revisions made.
    pub fn finish(self, batch: &mut Batch) -> (Facts, Vec<Arc<Revised>>) {
        assert!(self.changes.is_empty(), "S1: every change belongs to a revision");
        self.overlay.into_batch(batch);
        facts::write(self.facts, batch);
        (self.facts, self.revised)
    }

    /// Runs one command: all of its effects, under one revision if there are changes, or none of them.
    pub fn command<T>(&mut self, run: impl FnOnce(&mut Self) -> Result<T, Failure>) -> Result<T, Failure> {
        self.overlay.mark();
        let facts = self.facts;
        let result = run(self);
        if result.is_err() {
            self.overlay.rollback();
            self.facts = facts;
            self.changes.clear();
            return result;
        }
        if !self.changes.is_empty() {
            self.facts.revision += 1;
            let revision = Revision(self.facts.revision);
            let changes = std::mem::take(&mut self.changes);
            debug_assert!(
                changes.iter().all(|change| change.kv.mod_revision == revision),
                "S1: one revision per transaction"
            );
            self.revised.push(Arc::new(Revised { revision, changes }));
        }
        result
    }

    /// Refuses a read of a revision that is gone or not there yet.
    pub fn check_readable(&self, range: &Range) -> Result<(), Refusal> {
        #[cfg(feature = "known-bugs")]
        if raft::bugs::is_on(raft::bugs::Bug::M14) {
            let compacted = facts::read_scrubbed(self.reader).unwrap_or(0);
            return check_readable(range, Facts { compacted, ..self.facts });
        }
        check_readable(range, self.facts)
    }

    /// Reads a range.
    pub fn range(&self, range: &Range) -> Result<RangeResult, Failure> {
        let newest = self.newest();
        let at = if range.revision.0 > 0 { range.revision.0 } else { newest };
        match scan::range(self.reader, &self.overlay, range, at, TXN_READ_BYTES_MAX)? {
            Ok(result) => Ok(RangeResult { revision: Revision(newest), ..result }),
            Err(scan::TooLarge) => Err(too_large(TXN_READ_BYTES_MAX).into()),
        }
    }

    /// Everything in a range, with or without values.
    pub fn found(&mut self, keys: &KeyRange, value: bool) -> Result<Vec<Current>, Error> {
        if let KeyRange::Key(key) = keys {
            return Ok(self.current(key, value)?.into_iter().collect());
        }
        let mut found = Vec::new();
        scan::visit(self.reader, &self.overlay, keys, self.newest(), &mut |written| {
            found.push(Current::of(written, written.key(), value)?);
            Ok(std::ops::ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    /// One key as it is now.
    pub fn current(&mut self, key: &Bytes, value: bool) -> Result<Option<Current>, Error> {
        let start = layout::version_key(key, self.newest());
        let end = layout::key_end(key);
        if let Some((entry, Some(record))) = self.overlay.first(&start, &end) {
            let (_, revision) = layout::split_version_key(entry)?;
            return pending(record, key, revision, value);
        }
        // Values are not kept.
        let known = self.recent.as_mut().filter(|_| !value).and_then(|recent| recent.get(key));
        if let Some(known) = known {
            return Ok(known);
        }
        let found = self.look_up(key, &start, value)?;
        if let Some(recent) = &mut self.recent {
            recent.note(key, found.as_ref());
        }
        Ok(found)
    }

    fn look_up(&mut self, key: &Bytes, start: &[u8], value: bool) -> Result<Option<Current>, Error> {
        let reader = self.reader;
        let cursor = self.heads.get_or_insert_with(|| {
            let (lower, upper) = layout::table(layout::VERSIONS);
            reader.group_cursor(&lower, &upper)
        });
        cursor.seek(start)?;
        let Some(entry) = Entry::at(cursor.as_ref())? else { return Ok(None) };
        if entry.group != &start[..start.len() - SEQUENCE_BYTES] {
            return Ok(None);
        }
        entry.written()?.map(|written| Current::of(&written, key.clone(), value)).transpose()
    }

    /// Writes a key whose current state is `before`.
    pub fn put(&mut self, key: &Bytes, value: &Bytes, lease: LeaseId, before: Option<&Current>) {
        let revision = self.facts.revision + 1;
        let was = before.map(|current| &current.kv);
        let created = was.map_or(revision, |kv| kv.create_revision.0);
        let version = was.map_or(0, |kv| kv.version) + 1;
        let record = Version::Written { age: revision - created, version, lease: lease.0, value };
        self.write(key, record.encode(), Done::Written, before);
        let held = was.map_or(LeaseId(0), |kv| kv.lease);
        if held != lease {
            self.detach(held, key);
            if lease.0 != 0 {
                self.overlay.put(layout::attachment_key(lease.0, key).freeze(), Bytes::new());
            }
        }
        let kv = KeyValue {
            key: key.clone(),
            value: value.clone(),
            create_revision: Revision(created),
            mod_revision: Revision(revision),
            version,
            lease,
        };
        self.changes.push(Change { kind: ChangeKind::Put, kv, prev_kv: None });
    }

    /// Deletes a key whose current state is `before`.
    pub fn delete(&mut self, before: &Current) {
        let KeyValue { key, lease, .. } = &before.kv;
        if before.kv.mod_revision.0 > self.facts.revision {
            self.pass(key);
        }
        self.write(key, Version::Deleted.encode(), Done::Deleted, Some(before));
        self.detach(*lease, key);
        let mod_revision = Revision(self.facts.revision + 1);
        let kv = KeyValue { key: key.clone(), mod_revision, ..KeyValue::default() };
        self.changes.push(Change { kind: ChangeKind::Delete, kv, prev_kv: None });
    }

    fn write(&mut self, key: &Bytes, record: Bytes, done: Done<'_>, before: Option<&Current>) {
        let revision = self.facts.revision + 1;
        let before = before.and_then(|before| {
            // What this transaction itself wrote is of the same revision, and knows what was before it.
            let ago = Some(revision - before.kv.mod_revision.0).filter(|ago| *ago > 0)?;
            Some(Before { ago, value_bytes: before.value_bytes.into() })
        });
        let logged = Logged { done, before, key };
        self.overlay.put(layout::version_key(key, revision).freeze(), record);
        self.overlay.put(log_key(revision, self.changes.len()), logged.encode());
    }

    /// Moves what this transaction wrote into the log table, because the version of this revision is to be a deletion. Two nested
    /// transactions may do that, and watchers are told of both changes.
    fn pass(&mut self, key: &Bytes) {
        let revision = self.facts.revision + 1;
        let number = self.changes.iter().position(|change| change.kv.key == key).expect("it was written");
        let written = self.overlay.get(&layout::version_key(key, revision)).cloned().flatten();
        let written = written.expect("what was written is pending");
        let version = Version::decode(&written).expect("it was encoded here");
        let at = log_key(revision, number);
        let logged = self.overlay.get(&at).cloned().flatten().expect("what was written is logged");
        let logged = Logged::decode(&logged).expect("it was encoded here");
        let passed = Logged { done: Done::Passed(version), ..logged }.encode();
        self.overlay.put(at, passed);
    }

    fn detach(&mut self, lease: LeaseId, key: &Bytes) {
        if lease.0 != 0 {
            self.overlay.delete(layout::attachment_key(lease.0, key).freeze());
        }
    }

    /// What is known about a lease.
    pub fn lease(&self, id: LeaseId) -> Result<Option<LeaseRecord>, Error> {
        let key = layout::lease_key(id.0);
        let record = match self.overlay.get(&key) {
            Some(pending) => pending.clone(),
            None => self.reader.get(&key)?,
        };
        record.map(|record| LeaseRecord::decode(&record)).transpose()
    }

    /// Records a lease.
    pub fn put_lease(&mut self, id: LeaseId, record: LeaseRecord) {
        self.overlay.put(layout::lease_key(id.0).freeze(), record.encode());
    }

    /// Ends a lease and deletes the keys attached to it.
    pub fn end_lease(&mut self, id: LeaseId) -> Result<(), Error> {
        for key in self.attached(id)? {
            // A lease may be revoked in the same command that already deleted the key; then it is gone.
            if let Some(before) = self.current(&key, false)? {
                self.delete(&before);
            }
        }
        self.overlay.delete(layout::lease_key(id.0).freeze());
        Ok(())
    }

    /// The keys attached to a lease, in key order.
    pub fn attached(&self, id: LeaseId) -> Result<Vec<Bytes>, Error> {
        let (lower, upper) = (layout::attachment_key(id.0, b""), layout::attachments_end(id.0));
        let mut cursor = self.overlay.over(self.reader.cursor(&lower, &upper), &upper);
        cursor.seek(&lower)?;
        let mut keys = Vec::new();
        while let Some((entry, _)) = cursor.entry() {
            keys.push(Bytes::copy_from_slice(layout::attached_key(entry)));
            cursor.next()?;
        }
        Ok(keys)
    }

    /// Forgets history before a revision: from now on it cannot be read. The versions go later (see
    /// [`scrub`](super::scrub)).
    pub fn compact(&mut self, revision: Revision) -> Result<(), Failure> {
        let Facts { revision: newest, compacted } = self.facts;
        if revision.0 <= compacted {
            return Err(Refusal::Compacted { oldest: Revision(compacted) }.into());
        }
        if revision.0 > newest {
            return Err(Refusal::FutureRevision { newest: Revision(newest) }.into());
        }
        self.facts.compacted = revision.0;
        let (lower, upper) = layout::table(layout::TIMES);
        self.forget_times(&lower, &upper, |noted| noted < revision.0)?;
        Ok(())
    }

    /// Notes that the newest revision is the newest at a time. See [`times`].
    pub fn note(&mut self, unix_ms: u64) -> Result<(), Error> {
        let (lower, _) = layout::table(layout::TIMES);
        self.forget_times(&lower, &times::time_key(unix_ms), |_| true)?;
        self.overlay.put(times::time_key(unix_ms), times::record(self.facts.revision));
        Ok(())
    }

    fn forget_times(&mut self, lower: &[u8], upper: &[u8], goes: impl Fn(i64) -> bool) -> Result<(), Error> {
        let mut gone = Vec::new();
        {
            let mut cursor = self.overlay.over(self.reader.cursor(lower, upper), upper);
            cursor.seek(lower)?;
            while let Some((entry, record)) = cursor.entry() {
                if goes(times::revision_of(record)?) {
                    gone.push(Bytes::copy_from_slice(entry));
                }
                cursor.next()?;
            }
        }
        gone.into_iter().for_each(|entry| self.overlay.delete(entry));
        Ok(())
    }
}

/// A key as a record says that was not written yet.
fn pending(record: &Bytes, key: &Bytes, revision: i64, value: bool) -> Result<Option<Current>, Error> {
    let Some(head) = Head::decode(record)? else { return Ok(None) };
    let value_bytes = bytes_of(record.len() - head.bytes);
    let value = if value { record.slice(head.bytes..) } else { Bytes::new() };
    Ok(Some(Current { kv: head.key_value(key.clone(), revision, value), value_bytes }))
}

fn log_key(revision: i64, number: usize) -> Bytes {
    let number = u32::try_from(number).expect("a transaction has fewer than 2^32 changes");
    layout::log_key(revision, number).freeze()
}

/// Refuses a read of a revision that is gone or not there yet.
pub fn check_readable(range: &Range, facts: Facts) -> Result<(), Refusal> {
    if range.revision.0 > facts.revision {
        return Err(Refusal::FutureRevision { newest: Revision(facts.revision) });
    }
    if range.revision.0 > 0 && range.revision.0 < facts.compacted {
        return Err(Refusal::Compacted { oldest: Revision(facts.compacted) });
    }
    Ok(())
}

/// The refusal of an answer that does not fit.
pub fn too_large(bytes_max: usize) -> Refusal {
    Refusal::TooLarge(format!("the answer exceeds {bytes_max} bytes; ask for a part with a limit"))
}

/// The refusal of a write that keeps what is not there.
pub fn key_not_found() -> Refusal {
    Refusal::Invalid(validate::KEY_NOT_FOUND.to_owned())
}
