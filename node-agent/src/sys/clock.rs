//! Where the time comes from. The only place that asks for it.

use jiff::Timestamp;
use tokio::time::Instant;

/// A source of wall-clock time.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's.
    System,
    /// Follows tokio's clock from a starting point, so that paused time carries it along.
    Tokio {
        /// The wall-clock time at `start`.
        base: Timestamp,
        /// The instant that corresponds to `base`.
        start: Instant,
    },
}

impl Clock {
    /// A clock that follows tokio's, for tests with paused time.
    pub fn tokio() -> Self {
        Self::Tokio { base: Timestamp::now(), start: Instant::now() }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            Self::Tokio { base, start } => base.saturating_add(start.elapsed()).unwrap_or(*base),
        }
    }

    /// Sleeps until a time; returns at once if it has passed.
    pub async fn sleep_until(&self, at: Timestamp) {
        tokio::time::sleep(remaining(self.now(), at)).await;
    }
}

/// How long from `now` to `at`; zero if it has passed.
pub fn remaining(now: Timestamp, at: Timestamp) -> std::time::Duration {
    std::time::Duration::try_from(at.duration_since(now)).unwrap_or_default()
}

/// `at + delay`, saturating.
pub fn after(at: Timestamp, delay: std::time::Duration) -> Timestamp {
    at.saturating_add(delay).unwrap_or(Timestamp::MAX)
}

/// A CRI time (nanoseconds since the epoch; 0 for never).
pub fn from_nanos(nanos: i64) -> Option<Timestamp> {
    if nanos <= 0 { None } else { Timestamp::from_nanosecond(i128::from(nanos)).ok() }
}
