//! Stands in for the crate of the same name, with which openraft counts the sizes of batches for statistics that we never ask for.
//! The published one computes tables for 16 resolutions when the first histogram is made: 27 MB, half of what an idle
//! member took, of which openraft uses 2 KB. This one has the part of its interface that openraft uses and one
//! resolution, powers of two.
//!
//! It goes when a version of the published crate computes only the tables that are used.

use std::fmt;
use std::marker::PhantomData;

/// A bucket for zero, and one for each position of a value's highest bit.
const BUCKETS: usize = u64::BITS as usize + 1;

/// Counts values by their magnitude. What the parameter is for, notes on periods of time, openraft does not use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    counts: [u64; BUCKETS],
    notes: PhantomData<T>,
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], notes: PhantomData }
    }
}

impl<T> Histogram<T> {
    /// Nothing counted.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts a value several times.
    pub fn record_n(&mut self, value: u64, count: u64) {
        let bucket = (u64::BITS - value.leading_zeros()) as usize;
        self.counts[bucket] = self.counts[bucket].saturating_add(count);
    }

    /// How many were counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |total, count| total.saturating_add(*count))
    }

    /// What this part of the values are at most, rounded down to a power of two; zero when nothing was counted.
    pub fn percentile(&self, part: f64) -> u64 {
        let wanted = self.total() as f64 * part;
        let mut seen = 0_u64;
        let reached = self.counts.iter().position(|count| {
            seen = seen.saturating_add(*count);
            *count > 0 && seen as f64 >= wanted
        });
        reached.and_then(|bucket| bucket.checked_sub(1)).map_or(0, |bit| 1 << bit)
    }

    /// The usual percentiles.
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.total(),
            p0_1: self.percentile(0.001),
            p1: self.percentile(0.01),
            p5: self.percentile(0.05),
            p10: self.percentile(0.1),
            p50: self.percentile(0.5),
            p90: self.percentile(0.9),
            p99: self.percentile(0.99),
            p99_9: self.percentile(0.999),
        }
    }
}

/// Percentiles of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named after its percentile")]
pub struct PercentileStats {
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { samples, p10, p50, p90, p99, .. } = self;
        write!(formatter, "{samples} samples, p10 {p10}, p50 {p50}, p90 {p90}, p99 {p99}")
    }
}

/// Several histograms under each other.
#[derive(Debug, Clone, Default)]
pub struct AsciiChart {
    series: Vec<(String, Histogram)>,
}

impl AsciiChart {
    /// Without histograms.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more.
    #[must_use]
    pub fn add(mut self, name: &str, histogram: Histogram) -> Self {
        self.series.push((name.to_owned(), histogram));
        self
    }

    /// A line for each.
    pub fn detailed(&self) -> impl fmt::Display {
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.series
            .iter()
            .try_for_each(|(name, histogram)| writeln!(formatter, "{name}: {}", histogram.percentile_stats()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_exact_to_a_power_of_two() {
        let mut histogram = Histogram::<()>::new();
        assert_eq!(histogram.percentile(0.5), 0);
        histogram.record_n(0, 10);
        histogram.record_n(1, 40);
        histogram.record_n(100, 49);
        histogram.record(u64::MAX);
        let stats = histogram.percentile_stats();
        let found = [stats.samples, stats.p10, stats.p50, stats.p90, stats.p99, stats.p99_9];
        assert_eq!(found, [100, 0, 1, 64, 64, 1 << 63]);
    }

    #[test]
    fn a_chart_has_a_line_for_each() {
        let mut histogram = Histogram::<()>::new();
        histogram.record(5);
        let chart = AsciiChart::new().add("applied", histogram);
        assert_eq!(chart.detailed().to_string(), "applied: 1 samples, p10 4, p50 4, p90 4, p99 4\n");
    }
}
