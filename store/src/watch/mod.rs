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
mod keys;
mod subscription;
mod watcher;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use raft::Work;
use store_client::{Error as Refusal, KeyRange, KeyValue, Watch};

use crate::limits::WATCHES_MAX;
use crate::mvcc::draft::Revised;
use crate::mvcc::{Error, history::Piece};
pub use bells::Bells;
use index::Index;
pub use subscription::{Asker, Delivery, Step, Subscription};
use watcher::{Popped, Pushed, Watcher};

/// Where a watch finds what has already happened.
pub trait Past: Send + Sync + 'static {
    /// Who tells what happens from now on.
    fn hub(&self) -> &Hub;

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
    index: Index,
    watchers: usize,
    /// Those that want to know about every revision, if only that it passed: few, and of this process.
    progress: Vec<Arc<Watcher>>,
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
        self.registry.lock().watchers
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
        for revised in &revisions {
            assert!(revised.revision.0 > self.published(), "S3: revisions are published in order");
            let bytes =
                revised.changes.iter().map(|change| change.kv.key.len() + change.kv.value.len()).sum();
            for change in &revised.changes {
                registry.index.concerned(&change.kv.key, |watcher| {
                    match watcher.push(revised, bytes) {
                        Pushed::Queued => {}
                        Pushed::Lost => {
                            self.slow.fetch_add(1, Ordering::Relaxed);
                        }
                        Pushed::Nothing => return,
                    }
                    concerned.push(watcher);
                });
            }
            self.published.store(revised.revision.0, Ordering::Release);
        }
        debug_assert_eq!(self.published(), last);
        concerned.into_iter().chain(&registry.progress).for_each(|watcher| watcher.wake());
    }

    /// The state jumped to a revision without going through those before: every watcher reads them from history.
    pub fn skip_to(&self, revision: i64) {
        let registry = self.registry.lock();
        let from = self.published() + 1;
        registry.index.for_each(|watcher| {
            if watcher.lose(from) {
                self.slow.fetch_add(1, Ordering::Relaxed);
            }
        });
        self.published.store(revision, Ordering::Release);
    }

    /// Registers a watcher; everything after the returned revision will be in its queue.
    fn register(&self, watch: &Watch) -> Result<(Arc<Watcher>, i64), Refusal> {
        let mut registry = self.registry.lock();
        if registry.watchers >= WATCHES_MAX {
            return Err(Refusal::Unavailable(format!("this member has {WATCHES_MAX} watches already")));
        }
        let published = self.published();
        let watcher = Arc::new(Watcher::new(watch, published));
        registry.watchers += 1;
        registry.index.insert(watcher.clone());
        if watcher.progress {
            registry.progress.push(watcher.clone());
        }
        Ok((watcher, published))
    }

    /// The watcher will read history up to the returned revision; everything after it is queued again.
    fn resume(&self, watcher: &Watcher) -> i64 {
        let _not_while_publishing = self.registry.lock();
        self.caught_up(watcher);
        self.published()
    }

    fn remove(&self, watcher: &Arc<Watcher>) {
        let mut registry = self.registry.lock();
        registry.index.remove(watcher);
        registry.watchers -= 1;
        if watcher.progress {
            registry.progress.retain(|other| !Arc::ptr_eq(other, watcher));
        }
        self.caught_up(watcher);
    }

    /// It misses nothing any more, or nobody cares.
    fn caught_up(&self, watcher: &Watcher) {
        if watcher.catch_up() {
            self.slow.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
