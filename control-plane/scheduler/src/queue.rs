//! Pods that wait for a node.
//!
//! ```text
//!   add --> active --pop--> (cycle) --bound
//!             ^                |
//!             | back-off over  v no node fits
//!          backing off <--- parked --- something changed that could help
//! ```
//!
//! Time is passed in. A pod is in one place only; the number of pods is bounded by what the API holds.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use tokio::time::Instant;

/// First wait after a pod did not fit; doubles each time. kube-scheduler's default.
pub const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// Longest such wait. kube-scheduler's default.
pub const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A parked pod is tried again after this, whatever happened. kube-scheduler's default.
pub const PARKED_MAX: Duration = Duration::from_secs(300);

/// Identity of a waiting pod.
pub type Uid = String;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Active {
        rank: (i64, u64),
    },
    BackingOff {
        until: Instant,
    },
    Parked {
        since: Instant,
    },
    /// Popped, in a cycle or being bound.
    Taken,
}

#[derive(Debug)]
struct Waiting {
    place: Place,
    priority: i32,
    failures: u32,
    /// Something helpful happened while the pod was taken: do not park it on what was true before.
    helped: bool,
}

/// The queue.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: HashMap<Uid, Waiting>,
    /// Highest priority first, then oldest.
    active: BTreeMap<(i64, u64), Uid>,
    next: u64,
}

impl Queue {
    /// How many pods wait, wherever.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// A pod appeared or changed. A pod that backs off or is taken keeps its place; a parked one is activated,
    /// for the change may be what it waited for.
    pub fn add(&mut self, uid: &str, priority: i32) {
        match self.waiting.get_mut(uid) {
            Some(known) => {
                known.priority = priority;
                if let Place::Parked { .. } = known.place {
                    self.activate(uid);
                }
            }
            None => {
                let place = Place::Taken;
                self.waiting.insert(uid.to_owned(), Waiting { place, priority, failures: 0, helped: false });
                self.activate(uid);
            }
        }
    }

    /// A pod needs no node any more.
    pub fn remove(&mut self, uid: &str) {
        if let Some(Waiting { place: Place::Active { rank }, .. }) = self.waiting.remove(uid) {
            self.active.remove(&rank);
        }
    }

    fn activate(&mut self, uid: &str) {
        let Some(waiting) = self.waiting.get_mut(uid) else { return };
        if let Place::Active { rank } = waiting.place {
            self.active.remove(&rank);
        }
        self.next += 1;
        let rank = (-i64::from(waiting.priority), self.next);
        waiting.place = Place::Active { rank };
        waiting.helped = false;
        self.active.insert(rank, uid.to_owned());
    }

    /// The next pod to place.
    pub fn pop(&mut self) -> Option<Uid> {
        let (_, uid) = self.active.pop_first()?;
        if let Some(waiting) = self.waiting.get_mut(&uid) {
            waiting.place = Place::Taken;
            waiting.helped = false;
        }
        Some(uid)
    }

    /// Whether a pod could be placed now.
    pub fn is_ready(&self) -> bool {
        !self.active.is_empty()
    }

    /// No node fitted: wait for something to change.
    pub fn park(&mut self, uid: &str, now: Instant) {
        let Some(waiting) = self.waiting.get_mut(uid) else { return };
        waiting.failures += 1;
        waiting.place = if waiting.helped {
            Place::BackingOff { until: now + backoff(waiting.failures) }
        } else {
            Place::Parked { since: now }
        };
    }

    /// Binding failed: try again after a back-off.
    pub fn retry(&mut self, uid: &str, now: Instant) {
        let Some(waiting) = self.waiting.get_mut(uid) else { return };
        waiting.failures += 1;
        waiting.place = Place::BackingOff { until: now + backoff(waiting.failures) };
    }

    /// Nodes or placed pods changed in a way that may help: parked pods are tried again after their back-off.
    pub fn help(&mut self, now: Instant) {
        for waiting in self.waiting.values_mut() {
            match waiting.place {
                Place::Parked { since } => {
                    waiting.place = Place::BackingOff { until: (since + backoff(waiting.failures)).max(now) };
                }
                Place::Taken => waiting.helped = true,
                Place::Active { .. } | Place::BackingOff { .. } => {}
            }
        }
    }

    /// Activates what has waited long enough; answers when to call again.
    pub fn tick(&mut self, now: Instant) -> Option<Instant> {
        let mut due = Vec::new();
        let mut next: Option<Instant> = None;
        for (uid, waiting) in &self.waiting {
            let at = match waiting.place {
                Place::BackingOff { until } => until,
                Place::Parked { since } => since + PARKED_MAX,
                Place::Active { .. } | Place::Taken => continue,
            };
            if at <= now {
                due.push(uid.clone());
            } else {
                next = Some(next.map_or(at, |other| other.min(at)));
            }
        }
        due.sort();
        for uid in due {
            self.activate(&uid);
        }
        next
    }
}

fn backoff(failures: u32) -> Duration {
    BACKOFF_MIN.saturating_mul(1 << failures.saturating_sub(1).min(8)).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn higher_priority_goes_first_and_then_the_older() {
        let mut queue = Queue::default();
        queue.add("a", 0);
        queue.add("b", 10);
        queue.add("c", 0);
        assert_eq!(
            [queue.pop(), queue.pop(), queue.pop(), queue.pop()].map(Option::unwrap_or_default),
            ["b", "a", "c", ""]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_did_not_fit_waits_for_help_and_then_backs_off() {
        let mut queue = Queue::default();
        let start = Instant::now();
        queue.add("a", 0);
        queue.pop();
        queue.park("a", start);
        assert_eq!(queue.tick(start + Duration::from_secs(60)), Some(start + PARKED_MAX));
        assert!(!queue.is_ready());
        queue.help(start);
        assert_eq!(queue.tick(start), Some(start + BACKOFF_MIN));
        queue.tick(start + BACKOFF_MIN);
        assert_eq!(queue.pop().as_deref(), Some("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn help_that_comes_during_the_cycle_is_not_lost() {
        let mut queue = Queue::default();
        let start = Instant::now();
        queue.add("a", 0);
        queue.pop();
        queue.help(start);
        queue.park("a", start);
        assert_eq!(queue.tick(start), Some(start + BACKOFF_MIN));
    }

    #[tokio::test(start_paused = true)]
    async fn backoff_doubles_up_to_its_bound() {
        let waits: Vec<u64> = (1..=6).map(|n| backoff(n).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_removed_pod_is_forgotten() {
        let mut queue = Queue::default();
        queue.add("a", 0);
        queue.remove("a");
        assert!(queue.pop().is_none() && queue.is_empty());
    }
}
