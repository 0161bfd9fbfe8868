//! Watchers of the memory store: a backlog from history, then a bounded queue of what happens next.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::{StreamExt, stream};
use tokio::sync::mpsc;

use crate::limits::MEMORY_WATCH_MESSAGES_MAX;
use crate::{Change, Error, Revision, Watch, WatchMessage, WatchStream};

/// The store's side of one watch.
#[derive(Debug)]
pub(super) struct Watcher {
    watch: Watch,
    sender: mpsc::Sender<WatchMessage>,
    slow: Arc<AtomicBool>,
}

impl Watcher {
    /// A watcher and its stream, which first delivers `backlog`.
    pub(super) fn new(watch: Watch, backlog: VecDeque<WatchMessage>) -> (Self, WatchStream) {
        let (sender, receiver) = mpsc::channel(MEMORY_WATCH_MESSAGES_MAX);
        let slow = Arc::new(AtomicBool::new(false));
        let live =
            stream::unfold((receiver, slow.clone(), false), |(mut receiver, slow, ended)| async move {
                match receiver.recv().await {
                    Some(message) => Some((Ok(message), (receiver, slow, ended))),
                    None if ended => None,
                    None => {
                        let error = if slow.load(Ordering::Acquire) {
                            Error::Slow
                        } else {
                            Error::Unavailable("the store was dropped".to_owned())
                        };
                        Some((Err(error), (receiver, slow, true)))
                    }
                }
            });
        let stream = stream::iter(backlog.into_iter().map(Ok)).chain(live);
        (Self { watch, sender, slow }, Box::pin(stream))
    }

    /// Sends what of `changes` concerns this watch; `false` when the watcher is gone or was cut off.
    pub(super) fn publish(&self, revision: Revision, changes: &[Change]) -> bool {
        let matching = select(&self.watch, revision, changes);
        if !matching.is_empty() {
            return self.send(WatchMessage::Changes { revision, changes: matching });
        }
        // Progress is a courtesy: it never pushes a watcher over its bound.
        if self.watch.progress && self.sender.capacity() > MEMORY_WATCH_MESSAGES_MAX / 2 {
            return self.send(WatchMessage::Progress { revision });
        }
        !self.sender.is_closed()
    }

    fn send(&self, message: WatchMessage) -> bool {
        match self.sender.try_send(message) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.slow.store(true, Ordering::Release);
                false
            }
        }
    }
}

/// The changes of one revision that a watch asked for.
pub(super) fn select(watch: &Watch, revision: Revision, changes: &[Change]) -> Vec<Change> {
    if revision < watch.start {
        return Vec::new();
    }
    let matching = changes.iter().filter(|change| watch.keys.contains(&change.kv.key));
    matching
        .map(|change| Change { prev_kv: change.prev_kv.clone().filter(|_| watch.prev_kv), ..change.clone() })
        .collect()
}
