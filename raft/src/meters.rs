//! What a member counts and times: atomics that whoever reports metrics reads off.
//!
//! Timing must not decide anything: nothing here is read by the member itself.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use crate::limits::SPANS_REMEMBERED;
use crate::member::MemberId;

/// Buckets of a [`Histogram`], the last one for everything longer.
const BUCKETS: usize = 17;

/// Durations by size; each bucket reaches twice as far as the one before.
#[derive(Debug)]
pub struct Histogram {
    first_ns: u64,
    counts: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

/// A [`Histogram`] at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// All durations together, in seconds.
    pub sum_s: f64,
    /// How many there were.
    pub count: u64,
    /// Upper bound in seconds, and how many were in the bucket. The last bound is infinite.
    pub buckets: Vec<(f64, u64)>,
}

impl Histogram {
    /// Buckets that begin with durations up to `first`.
    pub fn new(first: Duration) -> Self {
        let first_ns = u64::try_from(first.as_nanos()).unwrap_or(u64::MAX).max(1);
        Self { first_ns, counts: Default::default(), sum_ns: AtomicU64::new(0) }
    }

    /// Counts a duration.
    pub fn observe(&self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let times = ns.saturating_sub(1) / self.first_ns;
        let bucket = times.checked_ilog2().map_or(0, |log| log as usize + 1);
        self.counts[bucket.min(BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn distribution(&self) -> Distribution {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let bound = |bucket: usize| match bucket {
            last if last == BUCKETS - 1 => f64::INFINITY,
            bucket => (self.first_ns << bucket) as f64 / 1e9,
        };
        let buckets: Vec<_> = counts.enumerate().map(|(bucket, count)| (bound(bucket), count)).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        Distribution { sum_s: self.sum_ns.load(Ordering::Relaxed) as f64 / 1e9, count, buckets }
    }
}

/// When something happened lately, as far back as it is remembered.
#[derive(Debug, Default)]
pub struct Recent {
    spans: Mutex<VecDeque<(Instant, Instant)>>,
}

impl Recent {
    /// It happened from `begin` to `end`.
    pub fn note(&self, begin: Instant, end: Instant) {
        let mut spans = self.spans.lock();
        if spans.len() == SPANS_REMEMBERED {
            spans.pop_front();
        }
        spans.push_back((begin, end));
    }

    /// How much of the time from `begin` to `end` it took.
    pub fn within(&self, begin: Instant, end: Instant) -> Duration {
        let spans = self.spans.lock();
        spans.iter().map(|(from, to)| (*to).min(end).saturating_duration_since((*from).max(begin))).sum()
    }
}

/// Something that is timed, and when it happened lately.
#[derive(Debug)]
pub struct Timed {
    /// How long it takes.
    pub histogram: Histogram,
    /// When it happened.
    pub recent: Recent,
}

impl Timed {
    /// With buckets that begin with durations up to `first`.
    pub fn new(first: Duration) -> Self {
        Self { histogram: Histogram::new(first), recent: Recent::default() }
    }

    /// Times what it runs.
    pub fn time<T>(&self, run: impl FnOnce() -> T) -> T {
        let begin = Instant::now();
        let done = run();
        self.ends(begin);
        done
    }

    /// It began then, and ends now.
    pub fn ends(&self, begin: Instant) -> Duration {
        let end = Instant::now();
        let duration = end.saturating_duration_since(begin);
        self.histogram.observe(duration);
        self.recent.note(begin, end);
        duration
    }
}

/// All of it. Cheap to clone; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Meters {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    syncs: Timed,
    round_trips: RwLock<BTreeMap<MemberId, Arc<Histogram>>>,
    proposals_failed: AtomicU64,
    reads_failed: AtomicU64,
    leader_changes: AtomicU64,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            // As etcd has it.
            syncs: Timed::new(Duration::from_millis(1)),
            round_trips: RwLock::default(),
            proposals_failed: AtomicU64::new(0),
            reads_failed: AtomicU64::new(0),
            leader_changes: AtomicU64::new(0),
        }
    }
}

impl Meters {
    /// Writes to the log, each with its sync.
    pub fn syncs(&self) -> &Timed {
        &self.shared.syncs
    }

    /// From a sign of life to its answer, by member.
    pub fn round_trips(&self) -> Vec<(MemberId, Distribution)> {
        self.shared.round_trips.read().iter().map(|(id, seen)| (*id, seen.distribution())).collect()
    }

    /// Commands that were not applied as far as their proposers know.
    pub fn proposals_failed(&self) -> u64 {
        self.shared.proposals_failed.load(Ordering::Relaxed)
    }

    /// Rounds of linearizable reads that found no leader in time.
    pub fn reads_failed(&self) -> u64 {
        self.shared.reads_failed.load(Ordering::Relaxed)
    }

    /// How often another member began to lead.
    pub fn leader_changes(&self) -> u64 {
        self.shared.leader_changes.load(Ordering::Relaxed)
    }

    pub(crate) fn round_trip(&self, to: MemberId) -> Arc<Histogram> {
        if let Some(known) = self.shared.round_trips.read().get(&to) {
            return Arc::clone(known);
        }
        // As etcd has it.
        let begin = || Arc::new(Histogram::new(Duration::from_micros(100)));
        Arc::clone(self.shared.round_trips.write().entry(to).or_insert_with(begin))
    }

    pub(crate) fn retain(&self, keep: impl Fn(MemberId) -> bool) {
        self.shared.round_trips.write().retain(|id, _| keep(*id));
    }

    pub(crate) fn proposal_failed(&self) {
        self.shared.proposals_failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read_failed(&self) {
        self.shared.reads_failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn leader_changed(&self) {
        self.shared.leader_changes.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_counted_by_size() {
        let histogram = Histogram::new(Duration::from_millis(1));
        for micros in [0, 1000, 1001, 2000, 2001, 4000, 4001] {
            histogram.observe(Duration::from_micros(micros));
        }
        histogram.observe(Duration::from_secs(1000));
        let seen = histogram.distribution();
        assert_eq!(seen.buckets[..4], [(0.001, 2), (0.002, 2), (0.004, 2), (0.008, 1)]);
        assert_eq!((seen.count, seen.buckets[BUCKETS - 1]), (8, (f64::INFINITY, 1)));
        assert!((seen.sum_s - 1_000.014_003).abs() < 1e-6);
    }

    #[test]
    fn what_happened_meanwhile_is_remembered() {
        let (recent, zero) = (Recent::default(), Instant::now());
        let at = |seconds| zero + Duration::from_secs(seconds);
        recent.note(at(1), at(3));
        recent.note(at(5), at(9));
        assert_eq!(recent.within(at(2), at(6)), Duration::from_secs(2));
        assert_eq!(recent.within(at(3), at(5)), Duration::ZERO);
        assert_eq!(recent.within(at(0), at(10)), Duration::from_secs(6));
        for number in 0..SPANS_REMEMBERED as u64 {
            recent.note(at(20 + number), at(21 + number));
        }
        assert_eq!(recent.within(at(0), at(10)), Duration::ZERO, "not for ever");
    }
}
