//! Exponential back-off with jitter, as a pure function of the number of failures.

use std::time::Duration;

/// How waits grow.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// Wait after the first failure.
    pub first: Duration,
    /// No wait is longer.
    pub max: Duration,
}

impl Backoff {
    /// The wait after this many consecutive failures (1 or more), doubled each time.
    pub fn after(&self, failures: u32) -> Duration {
        let factor = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.max)
    }

    /// The same, shortened by up to a half, so that many clients do not come back together.
    pub fn jittered(&self, failures: u32) -> Duration {
        self.after(failures).mul_f64(1.0 - rand::random_range(0.0..0.5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_maximum() {
        let backoff = Backoff { first: Duration::from_millis(5), max: Duration::from_millis(30) };
        let waits: Vec<u128> =
            [1, 2, 3, 4, 40, u32::MAX].iter().map(|n| backoff.after(*n).as_millis()).collect();
        assert_eq!(waits, [5, 10, 20, 30, 30, 30]);
        assert!(
            backoff.jittered(3) >= Duration::from_millis(10)
                && backoff.jittered(3) <= Duration::from_millis(20)
        );
    }
}
