//! What time it is for people. The only place of this crate that asks for it; nothing that is applied depends on it.

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// Where the time of day comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// The machine's clock.
    #[default]
    System,
    /// Counted from a moment on, by the clock that the runtime's timers follow: what simulations and tests need.
    Counted {
        /// Milliseconds since 1970 UTC when the member starts.
        start_unix_ms: u64,
    },
}

/// A clock that runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running {
    clock: Clock,
    started: Instant,
}

impl Running {
    /// Starts the clock.
    pub(crate) fn start(clock: Clock) -> Self {
        Self { clock, started: Instant::now() }
    }

    /// Milliseconds since 1970 UTC.
    pub(crate) fn unix_ms(&self) -> u64 {
        match self.clock {
            Clock::System => now_unix_ms(),
            Clock::Counted { start_unix_ms } => {
                start_unix_ms + u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX / 2)
            }
        }
    }
}

/// The machine's clock in milliseconds since 1970 UTC; 0 before.
pub fn now_unix_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}
