//! The time of day as a member sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::time::Instant;

/// What a clock that is right says whenever a member starts: each restart sets it back to where it began.
const START_UNIX_MS: u64 = 1_700_000_000_000;

/// A member's clock, which may be wrong.
#[derive(Debug, Default)]
pub struct Clock {
    /// How far it is ahead of one that is right, or behind.
    ahead_ms: AtomicI64,
    /// How much it gains in a second, or loses.
    gain_ms: i64,
}

impl Clock {
    /// A clock that begins wrong and goes wrong.
    pub fn new(ahead_ms: i64, gain_ms: i64) -> Self {
        Self { ahead_ms: AtomicI64::new(ahead_ms), gain_ms }
    }

    /// Sets it forward, or back.
    pub fn set(&self, by_ms: i64) {
        self.ahead_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// For a member that starts now.
    pub fn start(self: &Arc<Self>) -> store::history::Clock {
        let (clock, started) = (self.clone(), Instant::now());
        Arc::new(move || {
            let elapsed = i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX / 4000);
            let wrong = clock.ahead_ms.load(Ordering::Relaxed) + elapsed * clock.gain_ms / 1000;
            START_UNIX_MS.saturating_add_signed(elapsed + wrong)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_goes_wrong_by_itself_and_when_it_is_set() {
        let clock = Arc::new(Clock::new(-50, 100));
        let now = clock.start();
        assert_eq!(now(), START_UNIX_MS - 50);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(now(), START_UNIX_MS - 50 + 2200);
        clock.set(-1000);
        assert_eq!(now(), START_UNIX_MS - 50 + 1200);
        assert_eq!(clock.start()(), START_UNIX_MS - 1050, "a restart sets it back to where it began");
    }
}
