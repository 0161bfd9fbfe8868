//! The loop around a controller: takes keys from a queue, reconciles them, and decides what comes after.
//!
//! Knows workers, back-off and logging; must not know what is reconciled. A failure is logged here and
//! nowhere else: conflicts and objects that are gone quietly, since they only mean that the cache was behind.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::{Error, error::chain, limits, queue::Key, queue::Queue};

/// When to look at a key again, apart from changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// When something changes.
    Change,
    /// After this long at the latest.
    Delay(Duration),
}

/// Brings what a key stands for to its desired state: reads, plans, applies. Level triggered.
#[async_trait]
pub trait Reconcile: Send + Sync + 'static {
    /// What it is called with.
    type Key: Key;

    /// One pass. An error brings the key back after its back-off.
    async fn reconcile(&self, key: &Self::Key) -> Result<After, Error>;
}

/// Runs `workers` workers over the queue until shutdown, then lets them finish what they do.
pub async fn run<R: Reconcile>(
    name: &'static str,
    controller: Arc<R>,
    queue: Queue<R::Key>,
    workers: usize,
    shutdown: CancellationToken,
) {
    let mut tasks = JoinSet::new();
    for _ in 0..workers.max(1) {
        tasks.spawn(work(name, controller.clone(), queue.clone()));
    }
    shutdown.cancelled().await;
    queue.close();
    let finish = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(limits::STEP_DOWN_TIMEOUT, finish).await.is_err() {
        warn!(controller = name, "workers did not finish in time and were stopped");
    }
}

async fn work<R: Reconcile>(name: &'static str, controller: Arc<R>, queue: Queue<R::Key>) {
    while let Some(key) = queue.next().await {
        // A panic is a broken invariant of one key; it must not take the other keys' worker down.
        let pass = tokio::spawn({
            let (controller, key) = (controller.clone(), key.clone());
            async move { controller.reconcile(&key).await }
        });
        let guard = AbortOnDrop(pass.abort_handle());
        match pass.await {
            Ok(outcome) => settle(name, &queue, &key, outcome),
            Err(failure) => {
                error!(controller = name, ?key, %failure, "reconcile ended abnormally");
                queue.retry(key.clone());
            }
        }
        drop(guard);
        queue.done(&key);
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn settle<K: Key>(name: &'static str, queue: &Queue<K>, key: &K, outcome: Result<After, Error>) {
    match outcome {
        Ok(after) => {
            queue.forget(key);
            if let After::Delay(delay) = after {
                queue.add_after(key.clone(), delay);
            }
        }
        Err(error) if error.is_conflict() || error.is_not_found() || error.is_namespace_terminating() => {
            debug!(controller = name, ?key, error = chain(&error), "will try again");
            queue.retry(key.clone());
        }
        Err(error) => {
            warn!(controller = name, ?key, error = chain(&error), "reconcile failed; will try again");
            queue.retry(key.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::mpsc;

    use super::*;

    struct Flaky {
        calls: AtomicU32,
        done: mpsc::UnboundedSender<u32>,
    }

    #[async_trait]
    impl Reconcile for Flaky {
        type Key = u32;

        async fn reconcile(&self, key: &u32) -> Result<After, Error> {
            match self.calls.fetch_add(1, Ordering::SeqCst) {
                0 => Err(Error::internal("try", "it", "not yet")),
                1 => panic!("a bug"),
                2 => Ok(After::Delay(Duration::from_secs(5))),
                _ => {
                    self.done.send(*key).unwrap();
                    Ok(After::Change)
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failures_panics_and_delays_bring_the_key_back() {
        let (done, mut finished) = mpsc::unbounded_channel();
        let controller = Arc::new(Flaky { calls: AtomicU32::new(0), done });
        let (queue, shutdown) = (Queue::default(), CancellationToken::new());
        queue.add(7);
        let task = tokio::spawn(run("flaky", controller, queue, 2, shutdown.clone()));
        assert_eq!(finished.recv().await, Some(7));
        shutdown.cancel();
        task.await.unwrap();
    }
}
