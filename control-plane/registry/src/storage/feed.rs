//! The one watch of the store that feeds every cache.
//!
//! It watches all keys, so every revision passes through it, and "the cache has reached revision R" means the
//! same for every resource: a consistent read needs no polling. It survives the loss of a leader by resuming
//! after the last revision it saw; when the store has compacted that, every cache is filled anew.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::StreamExt as _;
use parking_lot::RwLock;
use store_client::{Change, Error, KeyRange, Kv, Revision, Watch, WatchMessage};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::cache::Cache;
use crate::limits;

/// Caches by key prefix.
#[derive(Default)]
pub(super) struct Caches {
    pub(super) by_prefix: RwLock<HashMap<Box<[u8]>, Arc<Cache>>>,
}

impl Caches {
    /// The cache that a key belongs to.
    fn of(&self, key: &[u8]) -> Option<Arc<Cache>> {
        self.by_prefix.read().get(prefix(key)?).cloned()
    }
}

/// `/registry/<group>/<resource>/` of a longer key.
fn prefix(key: &[u8]) -> Option<&[u8]> {
    let third = key.iter().enumerate().filter(|(_, byte)| **byte == b'/').nth(3)?.0;
    Some(&key[..=third])
}

/// The feed's position, shared with readers.
pub(super) struct Feed {
    kv: Arc<dyn Kv>,
    caches: Arc<Caches>,
    /// Everything up to this revision has been applied; 0 before the first contact.
    reached: watch::Sender<i64>,
    /// Told when every cache must be filled again.
    refill: tokio::sync::mpsc::Sender<()>,
}

impl Feed {
    pub(super) fn new(
        kv: Arc<dyn Kv>,
        caches: Arc<Caches>,
        reached: watch::Sender<i64>,
        refill: tokio::sync::mpsc::Sender<()>,
    ) -> Self {
        Self { kv, caches, reached, refill }
    }

    /// Follows the store until shutdown.
    pub(super) async fn run(self, shutdown: CancellationToken) {
        let mut pause = limits::FEED_BACKOFF_MIN;
        loop {
            let before = *self.reached.borrow();
            let error = tokio::select! {
                () = shutdown.cancelled() => return,
                error = self.follow() => error,
            };
            match &error {
                Error::Compacted { .. } => {
                    tracing::info!(
                        reached = before,
                        "the store compacted what was not yet seen; filling anew"
                    );
                    self.start_over().await;
                }
                other => tracing::debug!(%other, "the watch of the store ended; resuming"),
            }
            if *self.reached.borrow() > before {
                pause = limits::FEED_BACKOFF_MIN;
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = next_pause(pause);
        }
    }

    async fn start_over(&self) {
        for cache in self.caches.by_prefix.read().values() {
            cache.reset();
        }
        self.reached.send_replace(0);
        // A full channel means that a refill is due already.
        _ = self.refill.try_send(());
    }

    async fn follow(&self) -> Error {
        let reached = *self.reached.borrow();
        let start = if reached == 0 { Revision(0) } else { Revision(reached + 1) };
        let request = Watch { keys: KeyRange::From(Bytes::new()), start, prev_kv: false, progress: true };
        let mut stream = match self.kv.watch(request).await {
            Ok(stream) => stream,
            Err(error) => return error,
        };
        while let Some(message) = stream.next().await {
            match message {
                Ok(WatchMessage::Created { revision }) if reached == 0 => self.reach(revision.0),
                Ok(WatchMessage::Created { .. }) => {}
                Ok(WatchMessage::Changes { revision, changes }) => {
                    self.apply(changes);
                    self.reach(revision.0);
                }
                Ok(WatchMessage::Progress { revision }) => self.reach(revision.0),
                Err(error) => return error,
            }
        }
        Error::Unavailable("the watch of the store ended".into())
    }

    fn reach(&self, revision: i64) {
        self.reached.send_if_modified(|reached| {
            let moved = revision > *reached;
            *reached = revision.max(*reached);
            moved
        });
    }

    /// Hands each cache its changes, in order. Most messages concern one cache.
    fn apply(&self, changes: Vec<Change>) {
        let mut batches: Vec<(Arc<Cache>, Vec<Change>)> = Vec::new();
        for change in changes {
            let Some(cache) = self.caches.of(&change.kv.key) else { continue };
            match batches.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &cache)) {
                Some((_, batch)) => batch.push(change),
                None => batches.push((cache, vec![change])),
            }
        }
        for (cache, batch) in batches {
            cache.apply(batch);
        }
    }
}

/// Doubles a pause up to the limit.
pub(super) fn next_pause(pause: Duration) -> Duration {
    (pause * 2).min(limits::FEED_BACKOFF_MAX)
}
