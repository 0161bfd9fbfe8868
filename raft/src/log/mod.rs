//! The log and the vote, in segments of preallocated files.
//!
//! ```text
//!  append ──► memory (readable at once) ──► queue ──► writer: write, sync once, tell all in order
//!  read   ──► memory, else segments
//! ```
//!
//! It knows entries and votes and that they must survive. It must not know why they are written, nor openraft.
//!
//! Why not RocksDB, which was here before: its write path took 2.5 us of CPU per entry of 300 bytes in batches of 16, and 1.8 in
//! batches of 256, where this takes 0.4 and 0.2 (`cost`, on a file system in memory); it drops what follows a damaged
//! record unless told otherwise; and neither can it be simulated nor its space be set aside.
//!
//! | module | knows |
//! |---|---|
//! | [`layout`] | bytes of records and entries, names of files |
//! | [`segment`] | one record after the other |
//! | [`index`] | where entries stand |
//! | [`mark`] | how long the log is at least |
//! | [`recovery`] | what a whole log is |
//! | [`journal`] | the end of the log, space, recycling |
//! | [`writer`] | whose turn it is, and whom to tell |
//! | [`memory`] | the newest entries |

pub(crate) mod fuzzing;
mod index;
mod journal;
mod layout;
mod mark;
mod memory;
mod read;
mod recovery;
mod segment;
mod writer;

#[cfg(test)]
mod cost;
#[cfg(test)]
mod crashes;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use self::index::Index;
use self::journal::Place;
use self::memory::Memory;
pub(crate) use self::writer::Backlog;
use self::writer::{Job, Queue, Writer};
use crate::entry::Entry;
use crate::error::Error;
use crate::fuse::Fuse;
use crate::limits;
use crate::meters::Meters;
use crate::record::{LogId, Owner, Vote};
use crate::seams::{Seams, Seen, Voted, Witness, Work};
use crate::state_machine::{LogIndex, Term};

/// Called once when what was asked for is durable, or never will be.
pub(crate) type Done = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// Cheap to clone; all clones are one log.
#[derive(Clone)]
pub(crate) struct Log {
    shared: Arc<Shared>,
}

/// Where and how a log is kept.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) directory: PathBuf,
    pub(crate) owner: Owner,
    pub(crate) cache_bytes: usize,
    pub(crate) segment_bytes: u64,
    /// Free bytes of the disk that the log leaves to others.
    pub(crate) reserve_bytes: u64,
    pub(crate) seams: Seams,
    pub(crate) meters: Meters,
}

struct Shared {
    index: Arc<Mutex<Index>>,
    queue: Arc<Queue>,
    memory: Arc<Mutex<Memory>>,
    fuse: Fuse,
    full: watch::Sender<bool>,
    work: Work,
    witness: Option<Arc<dyn Witness>>,
    incarnation: u64,
    segment_bytes: u64,
    writer: Mutex<Option<Running>>,
}

/// The writer, at work.
enum Running {
    Thread(thread::JoinHandle<()>),
    Task(tokio::task::JoinHandle<()>),
}

/// The ends of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) purged: Option<LogId>,
    pub(crate) last: Option<LogId>,
}

impl Log {
    /// Opens or creates the log and verifies it. Blocks. Without threads of its own it needs a runtime around it.
    pub(crate) fn open(setup: &Setup, fuse: Fuse) -> Result<Self, Error> {
        let place = Place {
            disk: Arc::clone(&setup.seams.disk),
            directory: setup.directory.clone(),
            segment_bytes: setup.segment_bytes,
            reserve_bytes: setup.reserve_bytes,
        };
        let opened = recovery::open(&place, setup.owner, setup.cache_bytes)?;
        let queue = Arc::new(Queue::default());
        let memory = Arc::new(Mutex::new(opened.memory));
        let full = watch::Sender::new(false);
        let writer = Writer {
            journal: opened.journal,
            queue: Arc::clone(&queue),
            memory: Arc::clone(&memory),
            fuse: fuse.clone(),
            full: full.clone(),
            meters: setup.meters.clone(),
            jobs: VecDeque::new(),
            #[cfg(feature = "known-bugs")]
            late_votes: Vec::new(),
        };
        let lock = opened.lock;
        let running = match setup.seams.work {
            Work::Threads => {
                let run = move || {
                    writer.run();
                    drop(lock);
                };
                let thread = thread::Builder::new().name("raft-log".into()).spawn(run);
                Running::Thread(thread.map_err(|error| Error::storage("starting the log writer", error))?)
            }
            Work::Inline => Running::Task(tokio::spawn(async move {
                writer.run_inline(place.disk).await;
                drop(lock);
            })),
        };
        let writer = Mutex::new(Some(running));
        let (index, work, incarnation) = (opened.index, setup.seams.work, opened.incarnation);
        let witness = setup.seams.witness.clone();
        let segment_bytes = setup.segment_bytes;
        let shared =
            Shared { index, queue, memory, fuse, full, work, witness, incarnation, segment_bytes, writer };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Whether there is no space left for the log, now and from now on. What is asked for meanwhile waits for some.
    pub(crate) fn full(&self) -> watch::Receiver<bool> {
        self.shared.full.subscribe()
    }

    /// Which of all logs this member ever had it is: random, from when it was created.
    pub(crate) fn incarnation(&self) -> u64 {
        self.shared.incarnation
    }

    /// How far the writer has come.
    pub(crate) fn backlog(&self) -> Backlog {
        self.shared.queue.backlog()
    }

    /// The ends of the log.
    pub(crate) fn ends(&self) -> Ends {
        let memory = self.shared.memory.lock();
        Ends { purged: memory.purged, last: memory.last }
    }

    /// The last vote asked to be saved.
    pub(crate) fn vote(&self) -> Option<Vote> {
        self.shared.memory.lock().vote
    }

    /// Saves the vote; returns when it is durable.
    pub(crate) async fn save_vote(&self, vote: Vote) -> Result<(), Error> {
        self.shared.memory.lock().vote = Some(vote);
        if let Some(witness) = &self.shared.witness {
            let Vote { term, member, committed } = vote;
            witness.voted(Voted { term: Term(term), candidate: member, leads: committed });
        }
        self.ask(|done| Job::Vote { vote, done }).await
    }

    /// Notes that the log is committed up to here. Durable with entries that come later: on disk it may lag behind.
    pub(crate) fn save_committed(&self, committed: Option<LogId>) {
        self.shared.memory.lock().committed = committed;
    }

    /// What was noted as committed.
    pub(crate) fn committed(&self) -> Option<LogId> {
        self.shared.memory.lock().committed
    }

    /// Appends entries: readable when this returns, durable when `done` is called. Waits while too much waits
    /// for the disk.
    pub(crate) async fn append(&self, entries: Vec<Entry>, done: Done) -> Result<(), Error> {
        self.shared.queue.room().await;
        self.shared.fuse.check()?;
        // The queue is filled under the lock, so that it has the order of the memory.
        let mut memory = self.shared.memory.lock();
        let committed = memory.committed;
        for entry in &entries {
            if !memory.continues_with(entry.id.index) {
                let detail = format!("entry {} does not continue {:?}", entry.id.index, memory.last);
                return Err(Error::damaged("appending to the log", detail));
            }
            memory.push(entry.clone());
            if let Some(witness) = &self.shared.witness {
                let (index, term) = (LogIndex(entry.id.index), Term(entry.id.term));
                witness.appended(Seen { index, term, digest: entry.digest() });
            }
        }
        self.shared.push(Job::Append { entries, committed, done });
        Ok(())
    }

    /// Deletes everything after `last`; returns when that is durable.
    pub(crate) async fn truncate(&self, last: Option<LogId>) -> Result<(), Error> {
        let done = {
            let mut memory = self.shared.memory.lock();
            if !memory.truncate(last) {
                return Ok(());
            }
            if let Some(witness) = &self.shared.witness {
                witness.truncated(LogIndex(last.map_or(0, |last| last.index + 1)));
            }
            let (tell, done) = completion();
            self.shared.push(Job::Truncate { last, done: tell });
            done
        };
        finished(done).await
    }

    /// The first of the newest entries that take no more than so many bytes, in whole segments and at least one; `None` when all do.
    pub(crate) fn first_within(&self, bytes: u64) -> Option<u64> {
        let segments = (bytes / self.shared.segment_bytes).max(1);
        self.shared.index.lock().first_of_newest(usize::try_from(segments).unwrap_or(usize::MAX))
    }

    /// Deletes everything up to `upto`. The caller made the state durable up to there.
    pub(crate) fn purge(&self, upto: LogId) {
        let mut memory = self.shared.memory.lock();
        memory.purge(upto);
        self.shared.push(Job::Purge { upto });
    }

    /// Entries from `from` to before `to` that the log holds; up to `bytes_max` bytes, but at least one if there is one.
    pub(crate) async fn read(&self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<Entry>, Error> {
        match self.shared.read_memory(from, to, bytes_max) {
            Some(entries) => Ok(entries),
            None => {
                let shared = Arc::clone(&self.shared);
                let read = move || shared.read_disk(from, to, bytes_max);
                let result = self.shared.work.run(read).await;
                let result = result.unwrap_or_else(|error| Err(Error::storage("reading the log", error)));
                result.inspect_err(|error| self.shared.fuse.blow(error))
            }
        }
    }

    /// Makes everything durable and ends the writer. The log is of no use afterwards.
    pub(crate) async fn close(&self) -> Result<(), Error> {
        let closed = self.ask(|done| Job::Close { done }).await;
        let writer = self.shared.writer.lock().take();
        let ended = match writer {
            Some(Running::Thread(thread)) => {
                matches!(tokio::task::spawn_blocking(move || thread.join()).await, Ok(Ok(())))
            }
            Some(Running::Task(task)) => task.await.is_ok(),
            None => true,
        };
        if !ended {
            return Err(Error::damaged("closing the log", "the writer panicked"));
        }
        closed
    }

    async fn ask(&self, job: impl FnOnce(Done) -> Job) -> Result<(), Error> {
        let (tell, done) = completion();
        self.shared.push(job(tell));
        finished(done).await
    }
}

fn completion() -> (Done, oneshot::Receiver<Result<(), Error>>) {
    let (tell, told) = oneshot::channel();
    // Nobody may be waiting any more, which is fine.
    let done = move |result| drop(tell.send(result));
    (Box::new(done), told)
}

async fn finished(done: oneshot::Receiver<Result<(), Error>>) -> Result<(), Error> {
    done.await.unwrap_or(Err(Error::Stopped))
}

impl Shared {
    fn push(&self, job: Job) {
        let bytes = job.bytes();
        if let Err(job) = self.queue.push(job, bytes) {
            job.refuse(self.fuse.check().err().unwrap_or(Error::Stopped));
        }
    }

    /// Reads if all of it is in memory.
    fn read_memory(&self, from: u64, to: u64, bytes_max: usize) -> Option<Vec<Entry>> {
        let memory = self.memory.lock();
        let (from, to) = (from.max(memory.first_index()), to.min(memory.next_index()));
        let mut out = Vec::new();
        if from >= to {
            return Some(out);
        }
        if from < memory.cached_from() {
            return None;
        }
        memory.read(from, to, bytes_max, &mut out);
        Some(out)
    }

    /// Reads from disk what is not in memory. Blocks.
    fn read_disk(&self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<Entry>, Error> {
        loop {
            let (first, until, cuts) = {
                let memory = self.memory.lock();
                (memory.first_index(), to.min(memory.cached_from()), memory.cuts)
            };
            let from = from.max(first);
            let mut out = Vec::new();
            let outcome = match from < until {
                true => read::entries(&self.index, from, until, bytes_max, &mut out),
                false => Ok(()),
            };
            let memory = self.memory.lock();
            if memory.cuts != cuts || memory.first_index() > from {
                // Truncated or purged under our hands: what was read may be of two histories.
                continue;
            }
            outcome?;
            let next = from + out.len() as u64;
            let to = to.min(memory.next_index());
            let partial = next < until || next >= to;
            if partial {
                return Ok(out);
            }
            if next >= memory.cached_from() {
                memory.read(next, to, bytes_max, &mut out);
                return Ok(out);
            }
            // The memory moved on while we read. A bounded reader takes what there is, any other starts over.
            if bytes_max < limits::READ_UNBOUNDED {
                return Ok(out);
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let ignore: Done = Box::new(|_| {});
        // Refused when it was closed properly before, which is the usual case.
        drop(self.queue.push(Job::Close { done: ignore }, 0));
        if let Some(Running::Thread(thread)) = self.writer.get_mut().take()
            && thread.join().is_err()
        {
            tracing::error!("the log writer panicked");
        }
    }
}
