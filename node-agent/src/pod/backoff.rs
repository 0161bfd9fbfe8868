//! Growing waits per key: 10 s, 20 s, ... 300 s; forgotten after twice the longest wait without a failure.
//! The rules are upstream's (client-go `flowcontrol.Backoff`), so users see the waits they know.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;

use crate::sys::clock::after;

/// Waits by key. Knows no clock: times are passed in.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    entries: HashMap<String, Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    delay: Duration,
    updated: Timestamp,
}

impl Backoff {
    /// Waits from `min`, doubling to `max`.
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, entries: HashMap::new() }
    }

    /// Until when to wait after something that happened at `event`; `None` when no wait is due.
    pub fn until(&self, key: &str, event: Timestamp) -> Option<Timestamp> {
        let entry = self.entries.get(key)?;
        if self.is_stale(entry, event) { None } else { Some(after(event, entry.delay)) }
    }

    /// How long the wait is, for messages.
    pub fn delay(&self, key: &str) -> Duration {
        self.entries.get(key).map_or(self.min, |entry| entry.delay)
    }

    /// Takes note of an attempt after something that happened at `event`: the next wait is longer.
    pub fn next(&mut self, key: &str, event: Timestamp) {
        let delay = match self.entries.get(key) {
            Some(entry) if !self.is_stale(entry, event) => (entry.delay * 2).min(self.max),
            _ => self.min,
        };
        self.entries.insert(key.to_owned(), Entry { delay, updated: event });
    }

    /// Forgets a key.
    pub fn reset(&mut self, key: &str) {
        self.entries.remove(key);
    }

    fn is_stale(&self, entry: &Entry, event: Timestamp) -> bool {
        event > after(entry.updated, self.max * 2)
    }
}

#[cfg(test)]
mod tests {
    use super::{Backoff, Duration, Timestamp, after};

    fn at(seconds: u64) -> Timestamp {
        after(Timestamp::UNIX_EPOCH, Duration::from_secs(seconds))
    }

    #[test]
    fn the_first_failure_waits_for_nothing_and_then_waits_double() {
        let mut backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(300));
        assert_eq!(backoff.until("web", at(0)), None);
        let mut waits = Vec::new();
        for _ in 0..7 {
            backoff.next("web", at(0));
            waits.push(backoff.delay("web").as_secs());
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(backoff.until("web", at(5)), Some(at(305)));
    }

    #[test]
    fn ten_quiet_minutes_are_forgiven() {
        let mut backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(300));
        backoff.next("web", at(0));
        backoff.next("web", at(0));
        assert_eq!(backoff.until("web", at(600)), Some(at(620)));
        assert_eq!(backoff.until("web", at(601)), None);
        backoff.next("web", at(601));
        assert_eq!(backoff.delay("web").as_secs(), 10);
    }
}
