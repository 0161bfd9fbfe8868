//! The one thread that writes the log.
//!
//! It takes everything that was queued while it was busy, writes it in queue order, syncs once, and then tells
//! everybody in queue order (S6). Nothing is retried: the first error blows the fuse (S7).

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use rocksdb::{DB, WriteBatch};
use tokio::sync::Notify;

use super::layout;
use super::mark::Mark;
use super::memory::Memory;
use super::{Done, disk};
use crate::codec;
use crate::entry::Entry;
use crate::error::Error;
use crate::fuse::Fuse;
use crate::limits;
use crate::record::{LogId, Vote};

/// What the writer is asked to do.
pub(super) enum Job {
    /// Write entries that continue the log.
    Append { entries: Vec<Entry>, done: Done },
    /// Write the vote.
    Vote { vote: Vote, done: Done },
    /// Delete everything after an entry.
    Truncate { last: Option<LogId>, done: Done },
    /// Delete everything up to an entry.
    Purge { upto: LogId },
    /// Make everything durable, the mark included, and end.
    Close { done: Done },
}

/// Jobs on their way to the writer, bounded by the bytes of their entries.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    drained: Notify,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    bytes: usize,
    closed: bool,
}

impl Queue {
    /// Adds a job of so many bytes. Returns it when the writer has ended.
    pub(super) fn push(&self, job: Job, bytes: usize) -> Result<(), Job> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(job);
        }
        state.jobs.push_back(job);
        state.bytes += bytes;
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Waits until there is room. Cancel-safe.
    pub(super) async fn room(&self) {
        loop {
            let drained = self.drained.notified();
            tokio::pin!(drained);
            drained.as_mut().enable();
            if !self.is_full() {
                return;
            }
            drained.await;
        }
    }

    fn is_full(&self) -> bool {
        let state = self.state.lock();
        !state.closed && state.bytes >= limits::LOG_QUEUE_BYTES_MAX
    }

    fn take(&self) -> VecDeque<Job> {
        let mut state = self.state.lock();
        while state.jobs.is_empty() {
            self.filled.wait(&mut state);
        }
        let jobs = std::mem::take(&mut state.jobs);
        state.bytes = 0;
        drop(state);
        self.drained.notify_waiters();
        jobs
    }

    fn close(&self) -> VecDeque<Job> {
        let mut state = self.state.lock();
        state.closed = true;
        let jobs = std::mem::take(&mut state.jobs);
        drop(state);
        self.drained.notify_waiters();
        jobs
    }
}

/// The writer's own state.
pub(super) struct Writer {
    pub(super) db: Arc<DB>,
    pub(super) queue: Arc<Queue>,
    pub(super) memory: Arc<Mutex<Memory>>,
    pub(super) fuse: Fuse,
    pub(super) mark: Mark,
    /// Chain of the last entry written.
    pub(super) chain: u32,
    /// The index after the last entry written.
    pub(super) next: u64,
    /// What was last written as committed.
    pub(super) committed: Option<LogId>,
}

/// One round: what is collected between two syncs.
#[derive(Default)]
struct Round {
    batch: WriteBatch,
    done: Vec<Done>,
    purged: Option<LogId>,
    closing: bool,
    scratch: Vec<u8>,
}

impl Writer {
    /// Works until told to close, or until the first error.
    pub(super) fn run(mut self) {
        loop {
            let mut jobs = self.queue.take().into_iter();
            let mut round = Round::default();
            let result = jobs.try_for_each(|job| self.collect(job, &mut round));
            let result = result.and_then(|()| self.commit(&mut round));
            if let Err(error) = &result {
                self.fuse.blow(error);
                round.done.into_iter().for_each(|done| done(Err(error.clone())));
                jobs.for_each(|job| job.refuse(error.clone()));
                break;
            }
            if round.closing {
                break;
            }
        }
        for job in self.queue.close() {
            job.refuse(self.fuse.check().err().unwrap_or(Error::Stopped));
        }
    }

    /// Adds one job to the round.
    fn collect(&mut self, job: Job, round: &mut Round) -> Result<(), Error> {
        match job {
            Job::Append { entries, done } => {
                // Registered first: whatever happens, it is called.
                round.done.push(done);
                for entry in &entries {
                    self.chain = layout::seal(entry, self.chain, &mut round.scratch);
                    round.batch.put(layout::key(entry.id.index), &round.scratch);
                    self.next = entry.id.index + 1;
                }
                Ok(())
            }
            Job::Vote { vote, done } => {
                round.done.push(done);
                round.batch.put(layout::VOTE, codec::encode(&vote));
                Ok(())
            }
            Job::Truncate { last, done } => {
                round.done.push(done);
                self.truncate(last, round)
            }
            Job::Purge { upto } => {
                self.purge(upto, round);
                Ok(())
            }
            Job::Close { done } => {
                round.done.push(done);
                round.closing = true;
                Ok(())
            }
        }
    }

    fn truncate(&mut self, last: Option<LogId>, round: &mut Round) -> Result<(), Error> {
        let next = last.map_or(0, |id| id.index + 1);
        if self.mark.next() > next {
            let lowered = self.mark.set(next).and_then(|()| self.mark.sync());
            lowered.map_err(|error| Error::storage("lowering the mark of the log", error))?;
        }
        round.batch.delete_range(&layout::key(next)[..], layout::ENTRIES_END);
        self.write(std::mem::take(&mut round.batch))?;
        self.chain = disk::chain_at(&self.db, last.map(|id| id.index))?;
        self.next = next;
        Ok(())
    }

    fn purge(&mut self, upto: LogId, round: &mut Round) {
        round.batch.put(layout::PURGED, codec::encode(&upto));
        round.batch.delete_range(layout::key(0), layout::key(upto.index + 1));
        round.purged = Some(upto);
        if self.next <= upto.index {
            self.next = upto.index + 1;
            self.chain = 0;
        }
    }

    fn write(&self, batch: WriteBatch) -> Result<(), Error> {
        self.db.write(batch).map_err(|error| Error::storage("writing the log", error))
    }

    /// Writes and syncs the round.
    fn commit(&mut self, round: &mut Round) -> Result<(), Error> {
        let committed = self.memory.lock().committed;
        if committed != self.committed
            && let Some(id) = committed
        {
            round.batch.put(layout::COMMITTED, codec::encode(&id));
            self.committed = committed;
        }
        self.write(std::mem::take(&mut round.batch))?;
        if round.done.is_empty() {
            return self.reclaim(round);
        }
        self.db.flush_wal(true).map_err(|error| Error::storage("syncing the log", error))?;
        for done in std::mem::take(&mut round.done) {
            done(Ok(()));
        }
        self.memory.lock().written_below(self.next);
        self.raise(round.closing)?;
        self.reclaim(round)
    }

    /// Raises the mark to what is durable now.
    fn raise(&mut self, closing: bool) -> Result<(), Error> {
        let mut raised = Ok(());
        if self.mark.next() < self.next {
            raised = self.mark.set(self.next);
        }
        if closing {
            raised = raised.and_then(|()| self.mark.sync());
        }
        raised.map_err(|error| Error::storage("raising the mark of the log", error))
    }

    /// Drops whole files of purged entries at once instead of compacting them.
    fn reclaim(&self, round: &Round) -> Result<(), Error> {
        let Some(upto) = round.purged else { return Ok(()) };
        self.db
            .delete_file_in_range(layout::key(0), layout::key(upto.index))
            .map_err(|error| Error::storage("purging the log", error))
    }
}

impl Job {
    /// Tells whoever waits that nothing will happen.
    pub(super) fn refuse(self, error: Error) {
        match self {
            Self::Append { done, .. }
            | Self::Vote { done, .. }
            | Self::Truncate { done, .. }
            | Self::Close { done } => done(Err(error)),
            Self::Purge { .. } => {}
        }
    }
}
