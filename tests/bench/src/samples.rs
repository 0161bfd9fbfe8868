//! Durations of the same thing, and what is said of them.

use std::time::Duration;

/// Samples in the order they were taken.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<Duration>);

impl Samples {
    /// Adds one.
    pub fn push(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    /// Adds those of another.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The sample below which this part of all lies (0 to 1), by nearest rank; zero of nothing.
    pub fn quantile(&self, part: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (part * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    /// Cells of a table: minimum, median, 99th percentile, maximum, in milliseconds.
    pub fn cells(&self) -> [String; 4] {
        [0.0, 0.5, 0.99, 1.0].map(|part| millis(self.quantile(part)))
    }
}

/// Headings for [`Samples::cells`].
pub const HEADINGS: [&str; 4] = ["min ms", "median ms", "p99 ms", "max ms"];

/// Milliseconds with as many decimals as mean something.
pub fn millis(duration: Duration) -> String {
    number(duration.as_secs_f64() * 1e3)
}

/// A number with about three digits that mean something; a dash for NaN.
pub fn number(value: f64) -> String {
    match value.abs() {
        unknown if unknown.is_nan() => "-".to_owned(),
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        small if small >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// The middle of some numbers; the mean of both when there are two; NaN of nothing.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples_by_nearest_rank() {
        let mut samples = Samples::default();
        assert_eq!(samples.quantile(0.5), Duration::ZERO);
        for millis in [30, 10, 20, 40] {
            samples.push(Duration::from_millis(millis));
        }
        let at = |part| samples.quantile(part).as_millis();
        assert_eq!([at(0.0), at(0.5), at(0.75), at(0.99), at(1.0)], [10, 20, 30, 40, 40]);
    }

    #[test]
    fn a_median_is_in_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn numbers_keep_three_digits() {
        assert_eq!(
            ["1234", "12.3", "1.23", "0.123"],
            [1234.4, 12.34, 1.234, 0.1234].map(number).each_ref().map(String::as_str)
        );
    }
}
