//! The work queue: keys wait once, are worked on by one worker at a time, and come back later after failures.
//!
//! Knows keys, times and counts; must not know what a key stands for. A key added while it is worked on is
//! handed out again afterwards, so the last change is never missed.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use crate::{backoff::Backoff, limits};

/// What can wait in a queue.
pub trait Key: Clone + Eq + Hash + Ord + Send + Sync + std::fmt::Debug + 'static {}

impl<K: Clone + Eq + Hash + Ord + Send + Sync + std::fmt::Debug + 'static> Key for K {}

/// A deduplicating work queue. Cheap to clone.
pub struct Queue<K> {
    shared: Arc<Shared<K>>,
}

impl<K> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

struct Shared<K> {
    state: Mutex<State<K>>,
    changed: Notify,
    backoff: Backoff,
}

struct State<K> {
    ready: VecDeque<K>,
    /// In `ready`, or to be put there once its worker is done.
    dirty: HashSet<K>,
    working: HashSet<K>,
    failures: HashMap<K, u32>,
    due: HashMap<K, Instant>,
    by_time: BTreeMap<(Instant, K), ()>,
    metrics: Metrics,
    closed: bool,
}

/// What a queue has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Keys that wait now, without those that wait for their time.
    pub depth: usize,
    /// Keys accepted.
    pub added: u64,
    /// Keys handed to a worker.
    pub started: u64,
    /// Keys that came back after a failure.
    pub retried: u64,
    /// Keys refused because the queue was full.
    pub refused: u64,
}

impl<K: Key> Default for Queue<K> {
    fn default() -> Self {
        Self::new(Backoff { first: limits::QUEUE_RETRY_FIRST, max: limits::QUEUE_RETRY_MAX })
    }
}

impl<K: Key> Queue<K> {
    /// Empty, with this back-off per key.
    pub fn new(backoff: Backoff) -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            working: HashSet::new(),
            failures: HashMap::new(),
            due: HashMap::new(),
            by_time: BTreeMap::new(),
            metrics: Metrics::default(),
            closed: false,
        };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), changed: Notify::new(), backoff }) }
    }

    /// Hands the key out as soon as a worker is free, and no worker has it.
    pub fn add(&self, key: K) {
        self.shared.state.lock().add(key);
        self.shared.changed.notify_one();
    }

    /// Adds the key after a while; of several such wishes the earliest counts.
    pub fn add_after(&self, key: K, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        self.shared.state.lock().add_at(key, Instant::now() + delay);
        self.shared.changed.notify_one();
    }

    /// Adds the key after its back-off, which grows with each call until [`Self::forget`].
    pub fn retry(&self, key: K) {
        let delay = {
            let mut state = self.shared.state.lock();
            state.metrics.retried += 1;
            let failures = state.failures.entry(key.clone()).or_insert(0);
            *failures = failures.saturating_add(1);
            self.shared.backoff.after(*failures)
        };
        self.add_after(key, delay);
    }

    /// Ends the key's back-off.
    pub fn forget(&self, key: &K) {
        self.shared.state.lock().failures.remove(key);
    }

    /// How often the key failed in a row.
    pub fn failures(&self, key: &K) -> u32 {
        self.shared.state.lock().failures.get(key).copied().unwrap_or(0)
    }

    /// The next key, which is the caller's until [`Self::done`]; `None` once closed. Cancel-safe: a key is
    /// taken only when it is returned.
    pub async fn next(&self) -> Option<K> {
        loop {
            let changed = self.shared.changed.notified();
            let wake = {
                let mut state = self.shared.state.lock();
                if state.closed {
                    self.shared.changed.notify_one();
                    return None;
                }
                state.promote(Instant::now());
                if let Some(key) = state.take() {
                    if !state.ready.is_empty() {
                        self.shared.changed.notify_one();
                    }
                    return Some(key);
                }
                state.by_time.first_key_value().map(|((at, _), ())| *at)
            };
            match wake {
                Some(at) => {
                    tokio::select! { () = changed => {}, () = tokio::time::sleep_until(at) => {} }
                }
                None => changed.await,
            }
        }
    }

    /// The worker has finished with the key.
    pub fn done(&self, key: &K) {
        self.shared.state.lock().done(key);
        self.shared.changed.notify_one();
    }

    /// Hands out nothing any more.
    pub fn close(&self) {
        self.shared.state.lock().closed = true;
        self.shared.changed.notify_waiters();
        self.shared.changed.notify_one();
    }

    /// What the queue has done so far.
    pub fn metrics(&self) -> Metrics {
        let state = self.shared.state.lock();
        Metrics { depth: state.ready.len(), ..state.metrics }
    }
}

impl<K: Key> State<K> {
    fn add(&mut self, key: K) {
        if self.dirty.contains(&key) {
            return;
        }
        if self.is_full() {
            self.metrics.refused += 1;
            return;
        }
        self.metrics.added += 1;
        if !self.working.contains(&key) {
            self.ready.push_back(key.clone());
        }
        self.dirty.insert(key);
    }

    fn add_at(&mut self, key: K, at: Instant) {
        if self.due.get(&key).is_some_and(|earlier| *earlier <= at) {
            return;
        }
        if self.is_full() {
            self.metrics.refused += 1;
            return;
        }
        if let Some(later) = self.due.insert(key.clone(), at) {
            self.by_time.remove(&(later, key.clone()));
        }
        self.by_time.insert((at, key), ());
    }

    fn is_full(&self) -> bool {
        self.dirty.len() + self.due.len() >= limits::QUEUE_KEYS_MAX
    }

    fn promote(&mut self, now: Instant) {
        while let Some(entry) = self.by_time.first_entry()
            && entry.key().0 <= now
        {
            let ((_, key), ()) = entry.remove_entry();
            self.due.remove(&key);
            self.add(key);
        }
    }

    fn take(&mut self) -> Option<K> {
        let key = self.ready.pop_front()?;
        self.dirty.remove(&key);
        self.working.insert(key.clone());
        self.metrics.started += 1;
        Some(key)
    }

    fn done(&mut self, key: &K) {
        self.working.remove(key);
        if self.dirty.contains(key) {
            self.ready.push_back(key.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Queue<&'static str> {
        Queue::default()
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_waits_once_and_is_not_worked_on_twice_at_a_time() {
        let queue = queue();
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.next().await, Some("a"));
        queue.add("a");
        assert_eq!(queue.metrics().depth, 0);
        queue.done(&"a");
        assert_eq!(queue.next().await, Some("a"));
        queue.done(&"a");
        assert_eq!(queue.metrics(), Metrics { depth: 0, added: 2, started: 2, retried: 0, refused: 0 });
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_delays_the_earlier_counts() {
        let queue = queue();
        let start = Instant::now();
        queue.add_after("a", Duration::from_secs(10));
        queue.add_after("a", Duration::from_secs(3));
        queue.add_after("a", Duration::from_secs(7));
        assert_eq!(queue.next().await, Some("a"));
        assert_eq!(start.elapsed().as_secs(), 3);
        queue.done(&"a");
        assert!(tokio::time::timeout(Duration::from_secs(60), queue.next()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_wait_longer_until_forgotten() {
        let queue = queue();
        let mut waits = Vec::new();
        for _ in 0..4 {
            let start = Instant::now();
            queue.retry("a");
            queue.next().await;
            queue.done(&"a");
            waits.push(start.elapsed().as_millis());
        }
        assert_eq!(waits, [5, 10, 20, 40]);
        queue.forget(&"a");
        assert_eq!(queue.failures(&"a"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn closing_wakes_every_worker() {
        let queue = queue();
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move { queue.next().await })
            })
            .collect();
        tokio::task::yield_now().await;
        queue.close();
        for worker in workers {
            assert_eq!(worker.await.unwrap(), None);
        }
    }
}
