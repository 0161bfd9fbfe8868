//! The log and the vote, on RocksDB with a write-ahead log of its own.
//!
//! ```text
//!  append ──► memory (readable at once) ──► queue ──► writer thread: write, sync once, tell all in order
//!  read   ──► memory, else disk
//! ```
//!
//! It knows entries and votes and that they must survive. It must not know why they are written, nor openraft.

mod disk;
mod layout;
mod mark;
mod memory;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;
use rocksdb::DB;
use tokio::sync::oneshot;

use self::memory::Memory;
use self::writer::{Job, Queue, Writer};
use crate::entry::Entry;
use crate::error::Error;
use crate::fuse::Fuse;
use crate::limits;
use crate::record::{LogId, Owner, Vote};

/// Called once when what was asked for is durable, or never will be.
pub(crate) type Done = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// Cheap to clone; all clones are one log.
#[derive(Clone)]
pub(crate) struct Log {
    shared: Arc<Shared>,
}

struct Shared {
    db: Arc<DB>,
    queue: Arc<Queue>,
    memory: Arc<Mutex<Memory>>,
    fuse: Fuse,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

/// The ends of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) purged: Option<LogId>,
    pub(crate) last: Option<LogId>,
}

impl Log {
    /// Opens or creates the log in `directory` and verifies it. Blocks.
    pub(crate) fn open(
        directory: &Path,
        owner: Owner,
        cache_bytes: usize,
        fuse: Fuse,
    ) -> Result<Self, Error> {
        let opened = disk::open(directory, owner, cache_bytes)?;
        let db = Arc::new(opened.db);
        let queue = Arc::new(Queue::default());
        let next = opened.memory.next_index();
        let committed = opened.memory.committed;
        let memory = Arc::new(Mutex::new(opened.memory));
        let writer = Writer {
            db: Arc::clone(&db),
            queue: Arc::clone(&queue),
            memory: Arc::clone(&memory),
            fuse: fuse.clone(),
            mark: opened.mark,
            chain: opened.chain,
            next,
            committed,
        };
        let thread = thread::Builder::new()
            .name("raft-log".into())
            .spawn(move || writer.run())
            .map_err(|error| Error::storage("starting the log writer", error))?;
        let thread = Mutex::new(Some(thread));
        Ok(Self { shared: Arc::new(Shared { db, queue, memory, fuse, thread }) })
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
        self.ask(|done| Job::Vote { vote, done }).await
    }

    /// Notes that the log is committed up to here. Durable with a later write: on disk it may lag behind.
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
        let bytes = entries.iter().map(Entry::bytes).sum();
        // The queue is filled under the lock, so that it has the order of the memory.
        let mut memory = self.shared.memory.lock();
        for entry in &entries {
            if !memory.continues_with(entry.id.index) {
                let detail = format!("entry {} does not continue {:?}", entry.id.index, memory.last);
                return Err(Error::damaged("appending to the log", detail));
            }
            memory.push(entry.clone());
        }
        self.shared.push(Job::Append { entries, done }, bytes);
        Ok(())
    }

    /// Deletes everything after `last`; returns when that is durable.
    pub(crate) async fn truncate(&self, last: Option<LogId>) -> Result<(), Error> {
        let done = {
            let mut memory = self.shared.memory.lock();
            if !memory.truncate(last) {
                return Ok(());
            }
            let (tell, done) = completion();
            self.shared.push(Job::Truncate { last, done: tell }, 0);
            done
        };
        finished(done).await
    }

    /// Deletes everything up to `upto`. The caller made the state durable up to there.
    pub(crate) fn purge(&self, upto: LogId) {
        let mut memory = self.shared.memory.lock();
        memory.purge(upto);
        self.shared.push(Job::Purge { upto }, 0);
    }

    /// Entries from `from` to before `to` that the log holds; up to `bytes_max` bytes, but at least one if there is one.
    pub(crate) async fn read(&self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<Entry>, Error> {
        match self.shared.read_memory(from, to, bytes_max) {
            Some(entries) => Ok(entries),
            None => {
                let shared = Arc::clone(&self.shared);
                let read = move || shared.read_disk(from, to, bytes_max);
                let result = tokio::task::spawn_blocking(read).await;
                let result = result.unwrap_or_else(|error| Err(Error::storage("reading the log", error)));
                result.inspect_err(|error| self.shared.fuse.blow(error))
            }
        }
    }

    /// Makes everything durable and ends the writer. The log is of no use afterwards.
    pub(crate) async fn close(&self) -> Result<(), Error> {
        let closed = self.ask(|done| Job::Close { done }).await;
        let thread = self.shared.thread.lock().take();
        if let Some(thread) = thread {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                return Err(Error::damaged("closing the log", "the writer panicked"));
            }
        }
        closed
    }

    async fn ask(&self, job: impl FnOnce(Done) -> Job) -> Result<(), Error> {
        let (tell, done) = completion();
        self.shared.push(job(tell), 0);
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
    fn push(&self, job: Job, bytes: usize) {
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
                true => disk::read(&self.db, from, until, bytes_max, &mut out),
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
        if let Some(thread) = self.thread.get_mut().take()
            && thread.join().is_err()
        {
            tracing::error!("the log writer panicked");
        }
    }
}
