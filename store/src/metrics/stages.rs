//! Where the time of a request goes.
//!
//! A request carries a slip of paper; whoever makes it wait notes on it for how long. What has no slip is not noted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A quorum to confirm that a read is not stale, and this member to get there.
    Confirm,
    /// A command to be agreed on and applied.
    Propose,
    /// The engine.
    Read,
}

/// The slip.
#[derive(Debug, Default)]
pub struct Slip {
    spent: Mutex<Spent>,
}

/// What stands on a [`Slip`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// Time in [`Stage::Confirm`].
    pub confirm: Duration,
    /// Time in [`Stage::Propose`].
    pub propose: Duration,
    /// When the last command was under way.
    pub proposed: Option<(Instant, Instant)>,
    /// Time in [`Stage::Read`].
    pub read: Duration,
}

impl Slip {
    /// What was noted.
    pub fn spent(&self) -> Spent {
        *self.spent.lock()
    }

    fn note(&self, stage: Stage, begin: Instant) {
        let end = Instant::now();
        let took = end.saturating_duration_since(begin);
        let mut spent = self.spent.lock();
        match stage {
            Stage::Confirm => spent.confirm += took,
            Stage::Read => spent.read += took,
            Stage::Propose => {
                spent.propose += took;
                spent.proposed = Some((begin, end));
            }
        }
    }
}

tokio::task_local! {
    static SLIP: Arc<Slip>;
}

/// Runs a request that carries the slip.
pub async fn carrying<T>(slip: Arc<Slip>, request: impl Future<Output = T>) -> T {
    SLIP.scope(slip, request).await
}

/// Notes how long something takes. What is large is pinned by the caller, and not moved.
pub async fn noting<T>(stage: Stage, wait: impl Future<Output = T>) -> T {
    let begin = Instant::now();
    let done = wait.await;
    // Without a slip there is nobody who wants to know.
    let _nobody_asks = SLIP.try_with(|slip| slip.note(stage, begin));
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_request_waits_for_is_noted() {
        let slip = Arc::new(Slip::default());
        assert_eq!(noting(Stage::Read, async { 1 }).await, 1, "without a slip too");
        let request = async {
            noting(Stage::Propose, tokio::task::yield_now()).await;
            noting(Stage::Read, tokio::task::yield_now()).await;
        };
        carrying(slip.clone(), request).await;
        let spent = slip.spent();
        assert!(spent.propose > Duration::ZERO && spent.read > Duration::ZERO);
        assert_eq!((spent.confirm, spent.proposed.is_some()), (Duration::ZERO, true));
    }
}
