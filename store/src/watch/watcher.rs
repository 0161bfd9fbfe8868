//! What one watch asked for, and what happened to that and was not yet delivered.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use store_client::Watch;

use super::Bells;
use super::keys::Keys;
use crate::limits::{WATCH_QUEUE_BYTES_MAX, WATCH_QUEUE_REVISIONS_KEPT, WATCH_QUEUE_REVISIONS_MAX};
use crate::mvcc::draft::Revised;

/// A watch, as both who publishes and who delivers know it.
#[derive(Debug)]
pub(super) struct Watcher {
    pub keys: Keys,
    /// The first revision that it asked for.
    pub start: i64,
    inbox: Mutex<Inbox>,
    /// Progress was asked for.
    asked: AtomicBool,
    /// The bell was rung, and nobody has looked since.
    rung: AtomicBool,
    /// Changes come with the values before.
    pub prev_kv: bool,
    /// It wants to know about every revision, if only that it passed.
    pub progress: bool,
}

#[derive(Debug, Default)]
struct Inbox {
    /// From the first change on; most watchers are quiet for all their life.
    queue: Option<Box<Queue>>,
    /// Wakes who waits, and by what name this watcher goes there.
    bell: Option<(Arc<Bells>, i64)>,
}

#[derive(Debug, Default)]
struct Queue {
    revised: VecDeque<(Arc<Revised>, usize)>,
    bytes: usize,
    /// The newest revision that came.
    newest: i64,
    /// The first revision that did not fit; nothing is queued until the watcher has read it from history.
    lost: Option<i64>,
}

/// What came of an attempt to queue a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    Queued,
    /// It did not fit, and all did before.
    Lost,
    /// It has come already, or something before it was lost.
    Nothing,
}

pub(super) enum Popped {
    Revised(Arc<Revised>),
    Lost(i64),
    Nothing,
}

impl Watcher {
    /// A watch that begins after a revision, unless it asks for another one.
    pub fn new(watch: &Watch, revision: i64) -> Self {
        let start = if watch.start.0 > 0 { watch.start.0 } else { revision + 1 };
        Self {
            keys: Keys::new(&watch.keys),
            start,
            inbox: Mutex::default(),
            asked: false.into(),
            rung: false.into(),
            prev_kv: watch.prev_kv,
            progress: watch.progress,
        }
    }

    /// Has a bell rung from now on; what came before has not rung.
    pub fn set_bell(&self, bells: Arc<Bells>, name: i64) {
        self.inbox.lock().bell = Some((bells, name));
    }

    /// The bell that is rung.
    pub fn bell(&self) -> Option<Arc<Bells>> {
        self.inbox.lock().bell.as_ref().map(|(bells, _)| bells.clone())
    }

    /// There is news.
    pub fn wake(&self) {
        if self.rung.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some((bells, name)) = &self.inbox.lock().bell {
            bells.ring(*name);
        }
    }

    /// Somebody looks: what comes from now on rings, and what came before is seen.
    pub fn look(&self) {
        // A store alone could become visible after what is looked at was read; who came between would neither ring nor be seen.
        self.rung.swap(false, Ordering::AcqRel);
    }

    /// Progress is to be told.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether progress was asked for since the last time.
    pub fn was_asked(&self) -> bool {
        self.asked.swap(false, Ordering::AcqRel)
    }

    /// Queues a revision, once however often it comes.
    pub fn push(&self, revised: &Arc<Revised>, bytes: usize) -> Pushed {
        let mut inbox = self.inbox.lock();
        let queue = inbox.queue.get_or_insert_default();
        if queue.lost.is_some() || queue.newest == revised.revision.0 {
            return Pushed::Nothing;
        }
        // A short queue, so that few changes fill it; that alone is no bug.
        #[cfg(feature = "known-bugs")]
        if queue.revised.len() >= 8 && raft::bugs::is_on(raft::bugs::Bug::M10) {
            return Pushed::Lost;
        }
        queue.newest = revised.revision.0;
        let full =
            queue.revised.len() >= WATCH_QUEUE_REVISIONS_MAX || queue.bytes + bytes > WATCH_QUEUE_BYTES_MAX;
        if full && !queue.revised.is_empty() {
            queue.lost = Some(revised.revision.0);
            return Pushed::Lost;
        }
        queue.bytes += bytes;
        queue.revised.push_back((revised.clone(), bytes));
        Pushed::Queued
    }

    /// Everything from a revision on is to be read from history; whether it had lost nothing before.
    pub fn lose(&self, from: i64) -> bool {
        let mut inbox = self.inbox.lock();
        let queue = inbox.queue.get_or_insert_default();
        let first = queue.lost.is_none();
        queue.lost.get_or_insert(from);
        drop(inbox);
        self.wake();
        first
    }

    /// What was lost is read, or nobody cares any more; whether something was.
    pub fn catch_up(&self) -> bool {
        self.inbox.lock().queue.as_mut().is_some_and(|queue| queue.lost.take().is_some())
    }

    pub fn pop(&self) -> Popped {
        let mut inbox = self.inbox.lock();
        let Some(queue) = &mut inbox.queue else { return Popped::Nothing };
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A hundred thousand watches of a member are this large. Allocators round up: 8 bytes more would take 16.
    #[test]
    fn a_watcher_takes_a_room_of_96_bytes() {
        let counts = 2 * size_of::<usize>();
        assert!(counts + size_of::<Watcher>() <= 96, "{}", counts + size_of::<Watcher>());
    }
}
