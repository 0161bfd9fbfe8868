//! Who watches what, and how changes reach them (invariant S3).
//!
//! ```text
//! apply -> Hub::publish(revisions) -> the index finds who is concerned -> a bounded queue of shared revisions each
//!                                        |                                   |  full: lost from here on
//!                                        |     Subscription::step  <- queue, or history  <---+
//!                                        v                ^
//!                        who waits for one watch, or the bell of a stream of many
//! ```
//!
//! A watcher is never cut off for being slow. When its queue is full it is merely marked as lost from a revision
//! on; when it has drained what it has, it reads on in history and comes back to its queue. It fails only when
//! that history has been compacted. A revision is one shared allocation, however many watch it.
//!
//! This module knows revisions and key ranges. It must not know engines, gRPC or Raft.

mod bells;
mod index;
mod subscription;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;
use raft::Work;
use store_client::{Error as Refusal, KeyRange, KeyValue, Watch};
use tokio::sync::Notify;

use crate::limits::{
    WATCH_QUEUE_BYTES_MAX, WATCH_QUEUE_REVISIONS_KEPT, WATCH_QUEUE_REVISIONS_MAX, WATCHES_MAX,
};
use crate::mvcc::draft::Revised;
use crate::mvcc::{Error, history::Piece};
pub use bells::Bells;
use index::Index;
pub use subscription::{Asker, Delivery, Step, Subscription};

/// Where a watch finds what has already happened.
pub trait Past: Send + Sync + 'static {
    /// Changes of a range of keys from `start` to `end`, or a first piece of them.
    fn read(&self, keys: &KeyRange, start: i64, end: i64) -> Result<Piece, Error>;

    /// A key just before a revision.
    fn before(&self, key: &Bytes, revision: i64) -> Result<Option<KeyValue>, Error>;

    /// The oldest revision that can be read.
    fn compacted(&self) -> i64;

    /// Where it is read, as that may wait for the disk.
    fn work(&self) -> Work {
        Work::default()
    }
}

/// Identifies a watcher in the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Id(u64);

/// Tells watchers about changes.
#[derive(Debug)]
pub struct Hub {
    registry: Mutex<Registry>,
    /// Everything up to this revision is in the queues of those concerned, or they know that they lost it.
    published: AtomicI64,
    /// Watchers that lost something and read it from history.
    slow: AtomicUsize,
}

#[derive(Debug, Default)]
struct Registry {
    next_id: u64,
    index: Index,
    watchers: HashMap<Id, Arc<Watcher>>,
    /// Those that want to know about every revision, if only that it passed.
    progress: HashMap<Id, Arc<Watcher>>,
}

/// What happened to a watcher's range and was not yet delivered.
#[derive(Debug, Default)]
struct Watcher {
    queue: Mutex<Queue>,
    /// Progress was asked for.
    asked: AtomicBool,
    /// Wakes who waits for this watcher alone.
    news: Notify,
    /// Wakes who waits for many, and by what name this one goes there.
    bell: OnceLock<(Arc<Bells>, i64)>,
    /// That bell was rung, and nobody has looked since.
    rung: AtomicBool,
    /// Changes come with the values before.
    prev_kv: bool,
    /// It wants to know about every revision, if only that it passed.
    progress: bool,
}

#[derive(Debug, Default)]
struct Queue {
    revised: VecDeque<(Arc<Revised>, usize)>,
    bytes: usize,
    /// The first revision that did not fit; nothing is queued until the watcher has read it from history.
    lost: Option<i64>,
}

impl Watcher {
    /// There is news.
    fn wake(&self) {
        match self.bell.get() {
            None => self.news.notify_one(),
            Some((bells, name)) => {
                if !self.rung.swap(true, Ordering::AcqRel) {
                    bells.ring(*name);
                }
            }
        }
    }

    /// Whether it has lost something with this, and had not before.
    fn push(&self, revised: &Arc<Revised>, bytes: usize) -> bool {
        let mut queue = self.queue.lock();
        if queue.lost.is_some() {
            return false;
        }
        let full =
            queue.revised.len() >= WATCH_QUEUE_REVISIONS_MAX || queue.bytes + bytes > WATCH_QUEUE_BYTES_MAX;
        // A short queue, so that few changes fill it; that alone is no bug.
        #[cfg(feature = "known-bugs")]
        if queue.revised.len() >= 8 && raft::bugs::is_on(raft::bugs::Bug::M10) {
            return true;
        }
        if full && !queue.revised.is_empty() {
            queue.lost = Some(revised.revision.0);
            return true;
        }
        queue.bytes += bytes;
        queue.revised.push_back((revised.clone(), bytes));
        false
    }

    /// Whether it had lost nothing before.
    fn lose(&self, from: i64) -> bool {
        let mut queue = self.queue.lock();
        let first = queue.lost.is_none();
        queue.lost.get_or_insert(from);
        drop(queue);
        self.wake();
        first
    }

    fn pop(&self) -> Popped {
        let mut queue = self.queue.lock();
        if let Some((revised, bytes)) = queue.revised.pop_front() {
            queue.bytes -= bytes;
            return Popped::Revised(revised);
        }
        if queue.revised.capacity() > WATCH_QUEUE_REVISIONS_KEPT {
            queue.revised = VecDeque::new();
        }
        queue.lost.map_or(Popped::Nothing, Popped::Lost)
    }
}

enum Popped {
    Revised(Arc<Revised>),
    Lost(i64),
    Nothing,
}

impl Hub {
    /// A hub that has published everything up to a revision.
    pub fn new(revision: i64) -> Self {
        Self { registry: Mutex::default(), published: AtomicI64::new(revision), slow: AtomicUsize::new(0) }
    }

    /// Everything up to this revision has been published.
    pub fn published(&self) -> i64 {
        self.published.load(Ordering::Acquire)
    }

    /// How many watch.
    pub fn watchers(&self) -> usize {
        self.registry.lock().watchers.len()
    }

    /// How many of them have lost something, and read it from history.
    pub fn slow(&self) -> usize {
        self.slow.load(Ordering::Relaxed)
    }

    /// Publishes revisions in order.
    pub fn publish(&self, revisions: Vec<Arc<Revised>>) {
        let Some(last) = revisions.last().map(|revised| revised.revision.0) else { return };
        let registry = self.registry.lock();
        let mut concerned = Vec::new();
        let mut woken = Vec::new();
        for revised in &revisions {
            assert!(revised.revision.0 > self.published(), "S3: revisions are published in order");
            concerned.clear();
            let mut bytes = 0;
            for change in &revised.changes {
                bytes += change.kv.key.len() + change.kv.value.len();
                registry.index.concerned(&change.kv.key, &mut concerned);
            }
            concerned.sort_unstable();
            concerned.dedup();
            for id in &concerned {
                if registry.watchers.get(id).is_some_and(|watcher| watcher.push(revised, bytes)) {
                    self.slow.fetch_add(1, Ordering::Relaxed);
                }
            }
            woken.extend_from_slice(&concerned);
            self.published.store(revised.revision.0, Ordering::Release);
        }
        debug_assert_eq!(self.published(), last);
        woken.sort_unstable();
        woken.dedup();
        for watcher in
            woken.iter().filter_map(|id| registry.watchers.get(id)).chain(registry.progress.values())
        {
            watcher.wake();
        }
    }

    /// The state jumped to a revision without going through those before: every watcher reads them from history.
    pub fn skip_to(&self, revision: i64) {
        let registry = self.registry.lock();
        let from = self.published() + 1;
        for watcher in registry.watchers.values() {
            if watcher.lose(from) {
                self.slow.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.published.store(revision, Ordering::Release);
    }

    /// Registers a watcher; everything after the returned revision will be in its queue.
    fn register(&self, watch: &Watch) -> Result<(Id, Arc<Watcher>, i64), Refusal> {
        let mut registry = self.registry.lock();
        if registry.watchers.len() >= WATCHES_MAX {
            return Err(Refusal::Unavailable(format!("this member has {WATCHES_MAX} watches already")));
        }
        registry.next_id += 1;
        let id = Id(registry.next_id);
        let (prev_kv, progress) = (watch.prev_kv, watch.progress);
        let watcher = Arc::new(Watcher { prev_kv, progress, ..Watcher::default() });
        registry.index.insert(&watch.keys, id);
        registry.watchers.insert(id, watcher.clone());
        if progress {
            registry.progress.insert(id, watcher.clone());
        }
        Ok((id, watcher, self.published()))
    }

    /// The watcher will read history up to the returned revision; everything after it is queued again.
    fn resume(&self, watcher: &Watcher) -> i64 {
        let _not_while_publishing = self.registry.lock();
        self.caught_up(watcher);
        self.published()
    }

    fn remove(&self, keys: &KeyRange, id: Id) {
        let mut registry = self.registry.lock();
        registry.index.remove(keys, id);
        if let Some(watcher) = registry.watchers.remove(&id) {
            self.caught_up(&watcher);
        }
        registry.progress.remove(&id);
    }

    /// It misses nothing any more, or nobody cares.
    fn caught_up(&self, watcher: &Watcher) {
        if watcher.queue.lock().lost.take().is_some() {
            self.slow.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
