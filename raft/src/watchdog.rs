//! Whether the disk of the log moves. A leader whose disk hangs would send signs of life for ever and commit nothing, so
//! it steps down, and does not stand again until the disk moves.
//!
//! Slow is not hanging: as long as something is finished within the patience, all that is lost is time.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use crate::adapter::group::Group;
use crate::log::{Backlog, Log};

/// Judges what the writer of the log has done. Pure: the time is told.
struct Watchdog {
    patience: Duration,
    finished: u64,
    /// Since when the writer has owed something without finishing anything.
    owing: Option<Instant>,
}

impl Watchdog {
    /// Whether the disk hangs.
    fn observe(&mut self, now: Instant, backlog: Backlog) -> bool {
        if backlog.queued == backlog.finished {
            self.owing = None;
        } else if self.owing.is_none() || backlog.finished != self.finished {
            self.owing = Some(now);
        }
        self.finished = backlog.finished;
        self.owing.is_some_and(|since| now.duration_since(since) >= self.patience)
    }
}

/// Watches until aborted. `patience` is an election timeout, `interval` a fraction of it.
pub(crate) async fn watch(group: Group, log: Log, patience: Duration, interval: Duration) {
    let mut watchdog = Watchdog { patience, finished: 0, owing: None };
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut hanging = false;
    loop {
        let now = ticks.tick().await;
        let before = std::mem::replace(&mut hanging, watchdog.observe(now, log.backlog()));
        match (before, hanging) {
            (false, true) => {
                tracing::error!(
                    ?patience,
                    "the disk of the log hangs; this member does not lead until it moves"
                );
                group.stand_back().await;
            }
            (true, false) => {
                tracing::info!("the disk of the log moves again");
                group.stand_again();
            }
            (true, true) | (false, false) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_is_not_hanging() {
        let start = Instant::now();
        let mut watchdog = Watchdog { patience: Duration::from_millis(1000), finished: 0, owing: None };
        let mut observe = |at_ms, queued, finished| {
            watchdog.observe(start + Duration::from_millis(at_ms), Backlog { queued, finished })
        };
        assert!(!observe(0, 0, 0));
        assert!(!observe(5000, 1, 0), "it has just been asked");
        assert!(!observe(5900, 2, 0));
        assert!(!observe(5950, 9, 1), "it finished something");
        assert!(!observe(6900, 9, 1));
        assert!(observe(6950, 9, 1));
        assert!(observe(60_000, 10, 1));
        assert!(!observe(60_100, 10, 2), "it moves");
        assert!(!observe(60_200, 10, 10));
        assert!(!observe(90_000, 10, 10), "nothing is owed");
    }
}
