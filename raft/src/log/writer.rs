//! The one writer of the log.
//!
//! It takes everything that was queued while it was busy, writes it in queue order, syncs once, and then tells
//! everybody in queue order (S6). No write and no sync is tried again: the first error blows the fuse (S7). Only space for
//! a round, which is made before any of it is written, is asked for until there is some.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, watch};

use super::Done;
use super::journal::{self, Journal};
use super::memory::Memory;
use crate::disk::Disk;
use crate::entry::Entry;
use crate::error::Error;
use crate::fuse::Fuse;
use crate::limits;
use crate::meters::Meters;
use crate::record::{LogId, Vote};

/// What the writer is asked to do.
pub(super) enum Job {
    /// Write entries that continue the log, and what was known to be committed when they came: all of that came before them. What is
    /// known when they are written may be of entries that still wait, and a log that ends before what it says is committed is of no use.
    Append { entries: Vec<Entry>, committed: Option<LogId>, done: Done },
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
    /// The same for a writer without a thread.
    filled_task: Notify,
    drained: Notify,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    bytes: usize,
    closed: bool,
    backlog: Backlog,
}

/// How far the writer has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backlog {
    /// Jobs ever queued.
    pub(crate) queued: u64,
    /// Jobs ever finished.
    pub(crate) finished: u64,
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
        state.backlog.queued += 1;
        drop(state);
        self.filled.notify_one();
        self.filled_task.notify_one();
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

    pub(super) fn backlog(&self) -> Backlog {
        self.state.lock().backlog
    }

    fn is_full(&self) -> bool {
        let state = self.state.lock();
        !state.closed && state.bytes >= limits::LOG_QUEUE_BYTES_MAX
    }

    /// Moves what is queued to `jobs`. The caller says when they are no longer its burden.
    fn take(&self, jobs: &mut VecDeque<Job>) {
        jobs.append(&mut self.state.lock().jobs);
    }

    /// Waits on this thread until something is queued, or for the time to look for space again.
    fn wait(&self, retry: bool) {
        let mut state = self.state.lock();
        if retry {
            if state.jobs.is_empty() {
                self.filled.wait_for(&mut state, limits::SPACE_RETRY);
            }
            return;
        }
        while state.jobs.is_empty() {
            self.filled.wait(&mut state);
        }
    }

    fn finished(&self, jobs: u64, bytes: usize) {
        let mut state = self.state.lock();
        state.backlog.finished += jobs;
        state.bytes = state.bytes.saturating_sub(bytes);
        drop(state);
        self.drained.notify_waiters();
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
    pub(super) journal: Journal,
    pub(super) queue: Arc<Queue>,
    pub(super) memory: Arc<Mutex<Memory>>,
    pub(super) fuse: Fuse,
    /// Whether the disk is full.
    pub(super) full: watch::Sender<bool>,
    pub(super) meters: Meters,
    /// Taken from the queue, not written yet.
    pub(super) jobs: VecDeque<Job>,
    /// Votes that were told and are not written yet.
    #[cfg(feature = "known-bugs")]
    pub(super) late_votes: Vec<Vote>,
}

/// What to do after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// There may be more at once.
    Again,
    /// Wait for jobs.
    Idle,
    /// Wait for space, a little.
    Short,
    End,
}

/// One round: what is collected between two syncs.
#[derive(Default)]
struct Round {
    done: Vec<Done>,
    committed: Option<LogId>,
    jobs: u64,
    bytes: usize,
    closing: bool,
}

impl Writer {
    /// Works on this thread until told to close, or until the first error.
    pub(super) fn run(mut self) {
        loop {
            match self.turn() {
                Turn::Again => {}
                Turn::Idle => self.queue.wait(false),
                Turn::Short => self.queue.wait(true),
                Turn::End => break,
            }
        }
        self.end();
    }

    /// The same as a task, at the pace of the disk.
    pub(super) async fn run_inline(mut self, disk: Arc<dyn Disk>) {
        let queue = Arc::clone(&self.queue);
        loop {
            disk.ready().await;
            match self.turn() {
                Turn::Again => {}
                Turn::Idle => queue.filled_task.notified().await,
                Turn::Short => {
                    drop(tokio::time::timeout(limits::SPACE_RETRY, queue.filled_task.notified()).await)
                }
                Turn::End => break,
            }
        }
        self.end();
    }

    fn end(mut self) {
        for job in std::mem::take(&mut self.jobs).into_iter().chain(self.queue.close()) {
            job.refuse(self.fuse.check().err().unwrap_or(Error::Stopped));
        }
    }

    /// Does one round, if there is one to do.
    fn turn(&mut self) -> Turn {
        self.queue.take(&mut self.jobs);
        match self.try_turn() {
            Ok(turn) => turn,
            Err(error) => {
                // Those of the round have been told.
                self.fuse.blow(&error);
                Turn::End
            }
        }
    }

    fn try_turn(&mut self) -> Result<Turn, Error> {
        if self.jobs.is_empty() {
            return self.headroom(Turn::Idle);
        }
        let Some(jobs) = self.next_round()? else {
            self.set_full(true);
            // A member that stops does not wait for space: what is refused here was never acknowledged.
            let closing = self.jobs.iter().any(|job| matches!(job, Job::Close { .. }));
            return Ok(if closing { Turn::End } else { Turn::Short });
        };
        let mut round = Round::default();
        let result = self.write(jobs, &mut round);
        if let Err(error) = result {
            self.fuse.blow(&error);
            round.done.into_iter().for_each(|done| done(Err(error.clone())));
            return Err(error);
        }
        if round.closing {
            return Ok(Turn::End);
        }
        self.headroom(Turn::Again)
    }

    /// Takes the jobs of the next round, for which there is room now: as many as go together, else the first, which may be small, else
    /// those that make room.
    fn next_round(&mut self) -> Result<Option<Vec<Job>>, Error> {
        for bytes_max in [limits::WRITE_BYTES_MAX as u64, 0] {
            let (count, room) = self.together(bytes_max);
            let with_entries = self.jobs.iter().take(count).any(|job| matches!(job, Job::Append { .. }));
            let has_room = match with_entries {
                true => self.journal.make_room_for_entries(room)?,
                false => self.journal.make_room(room)?,
            };
            if has_room {
                return Ok(Some(self.jobs.drain(..count).collect()));
            }
        }
        self.purges_first();
        let room = self.jobs.front().filter(|job| self.may_overtake(job)).map(Job::room);
        Ok(match room {
            Some(room) if self.journal.make_room(journal::SMALL_BYTES + room)? => {
                self.jobs.pop_front().map(|purge| vec![purge])
            }
            Some(_) | None => None,
        })
    }

    /// How many of the first jobs make a round of so many bytes, at least one, and how much room they take.
    fn together(&self, bytes_max: u64) -> (usize, u64) {
        let (mut count, mut room) = (0, journal::SMALL_BYTES);
        for job in &self.jobs {
            let more = job.room();
            if count > 0 && room + more > bytes_max {
                break;
            }
            count += 1;
            room += more;
        }
        (count, room)
    }

    /// Has purges overtake what has no room, as it may be they that make some.
    fn purges_first(&mut self) {
        let jobs = std::mem::take(&mut self.jobs);
        let (mut first, others): (VecDeque<_>, VecDeque<_>) =
            jobs.into_iter().partition(|job| self.may_overtake(job));
        first.extend(others);
        self.jobs = first;
    }

    /// Only what concerns entries that are written: nothing that waits can change those any more.
    fn may_overtake(&self, job: &Job) -> bool {
        matches!(job, Job::Purge { upto } if upto.index < self.journal.next())
    }

    /// Looks for space before it is needed.
    fn headroom(&mut self, turn: Turn) -> Result<Turn, Error> {
        let full = !self.journal.keep_headroom()?;
        self.set_full(full);
        Ok(if full && turn == Turn::Idle { Turn::Short } else { turn })
    }

    fn set_full(&self, full: bool) {
        let changed = self.full.send_if_modified(|known| std::mem::replace(known, full) != full);
        match (changed, full) {
            (true, true) => {
                tracing::error!("no space is left for the log; writes are refused until there is")
            }
            (true, false) => tracing::info!("there is space for the log again"),
            (false, _) => {}
        }
    }

    /// Writes and syncs the round, then tells.
    fn write(&mut self, jobs: Vec<Job>, round: &mut Round) -> Result<(), Error> {
        let mut result = Ok(());
        #[cfg(feature = "known-bugs")]
        let jobs = self.votes_last(jobs, round);
        for job in jobs {
            // Registered in any case: whatever happens, it is told.
            result = result.and_then(|()| self.collect(&job));
            round.register(job);
        }
        result?;
        self.journal.committed(round.committed);
        #[cfg(feature = "known-bugs")]
        if crate::bugs::is_on(crate::bugs::Bug::M4) {
            self.journal.sync_former()?;
            return self.tell(round);
        }
        self.meters.syncs().time(|| self.journal.sync())?;
        self.tell(round)
    }

    fn tell(&mut self, round: &mut Round) -> Result<(), Error> {
        for done in std::mem::take(&mut round.done) {
            done(Ok(()));
        }
        self.queue.finished(round.jobs, round.bytes);
        self.memory.lock().written_below(self.journal.next());
        self.journal.settle(round.closing)
    }

    /// Bug M3: votes are told at once and written when there are no entries to write.
    #[cfg(feature = "known-bugs")]
    fn votes_last(&mut self, jobs: Vec<Job>, round: &mut Round) -> Vec<Job> {
        if !crate::bugs::is_on(crate::bugs::Bug::M3) {
            return jobs;
        }
        let (votes, others): (Vec<_>, Vec<_>) =
            jobs.into_iter().partition(|job| matches!(job, Job::Vote { .. }));
        let entries = others.iter().any(|job| matches!(job, Job::Append { .. }));
        let late = if entries { Vec::new() } else { std::mem::take(&mut self.late_votes) };
        for job in votes {
            round.jobs += 1;
            if let Job::Vote { vote, done } = job {
                self.late_votes.push(vote);
                round.done.push(done);
            }
        }
        late.into_iter().for_each(|vote| self.journal.vote(vote));
        others
    }

    /// Adds one job to the round.
    fn collect(&mut self, job: &Job) -> Result<(), Error> {
        match job {
            Job::Append { entries, .. } => self.journal.append(entries),
            Job::Vote { vote, .. } => self.journal.vote(*vote),
            Job::Truncate { last, .. } => self.journal.truncate(*last)?,
            Job::Purge { upto } => self.journal.purge(*upto),
            Job::Close { .. } => {}
        }
        Ok(())
    }
}

impl Round {
    fn register(&mut self, job: Job) {
        self.jobs += 1;
        self.bytes += job.bytes();
        self.closing |= matches!(job, Job::Close { .. });
        if let Job::Append { committed, .. } = &job {
            self.committed = *committed;
        }
        self.done.extend(job.into_done());
    }
}

impl Job {
    /// Memory it is charged with in the queue.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Append { entries, .. } => entries.iter().map(Entry::bytes).sum(),
            Self::Vote { .. } | Self::Truncate { .. } | Self::Purge { .. } | Self::Close { .. } => 0,
        }
    }

    /// More than it takes in the log, in bytes.
    fn room(&self) -> u64 {
        match self {
            Self::Append { entries, .. } => entries.iter().map(journal::entry_bytes).sum(),
            Self::Vote { .. } | Self::Truncate { .. } | Self::Purge { .. } | Self::Close { .. } => {
                journal::SMALL_BYTES
            }
        }
    }

    fn into_done(self) -> Option<Done> {
        match self {
            Self::Append { done, .. }
            | Self::Vote { done, .. }
            | Self::Truncate { done, .. }
            | Self::Close { done } => Some(done),
            Self::Purge { .. } => None,
        }
    }

    /// Tells whoever waits that nothing will happen.
    pub(super) fn refuse(self, error: Error) {
        if let Some(done) = self.into_done() {
            done(Err(error));
        }
    }
}
