//! The store in memory: for tests, and the model that the replicated store is compared with.
//!
//! It keeps whole histories in ordered maps and does everything the slow and obvious way. It knows nothing of
//! durability or members: one process, gone when dropped. Lease expiry follows tokio's clock, so a test with
//! paused time decides when a lease ends. It must be used inside a tokio runtime.

mod state;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    Error, Kv, Lease, LeaseId, Range, RangeResult, Revision, Txn, TxnResult, Watch, WatchStream, validate,
};
use state::State;

/// A [`Kv`] in memory. Clones share the same content.
#[derive(Clone, Debug, Default)]
pub struct MemoryKv {
    shared: Arc<Shared>,
    expiry: Arc<Mutex<Option<AbortOnDropHandle<()>>>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// A lease was granted: the next deadline may be nearer.
    leases_changed: Notify,
}

impl MemoryKv {
    /// An empty store at revision 1.
    pub fn new() -> Self {
        Self::default()
    }

    /// The newest revision.
    pub fn revision(&self) -> Revision {
        Revision(self.shared.state.lock().revision)
    }

    /// Starts the one task that ends leases; it stops when the last clone is dropped.
    fn start_expiry(&self) {
        let mut task = self.expiry.lock();
        if task.is_none() {
            *task = Some(AbortOnDropHandle::new(tokio::spawn(expire(self.shared.clone()))));
        }
    }
}

async fn expire(shared: Arc<Shared>) {
    loop {
        let next = {
            let mut state = shared.state.lock();
            state.expire(Instant::now());
            state.next_deadline()
        };
        // With no lease there is nothing to wait for but a grant, which notifies.
        let wait = next.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()));
        let _woken_or_due = tokio::time::timeout(wait, shared.leases_changed.notified()).await;
    }
}

#[async_trait]
impl Kv for MemoryKv {
    async fn range(&self, range: Range) -> Result<RangeResult, Error> {
        validate::range(&range)?;
        self.shared.state.lock().range(&range)
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResult, Error> {
        validate::txn(&txn)?;
        self.shared.state.lock().txn(&txn)
    }

    async fn watch(&self, watch: Watch) -> Result<WatchStream, Error> {
        validate::keys(&watch.keys)?;
        Ok(self.shared.state.lock().watch(watch))
    }

    async fn read_revision(&self) -> Result<Revision, Error> {
        Ok(self.revision())
    }

    async fn lease_grant(&self, id: LeaseId, ttl_s: i64) -> Result<Lease, Error> {
        validate::lease_grant(ttl_s)?;
        let lease = self.shared.state.lock().lease_grant(id, ttl_s, Instant::now())?;
        self.start_expiry();
        self.shared.leases_changed.notify_one();
        Ok(lease)
    }

    async fn lease_revoke(&self, id: LeaseId) -> Result<Revision, Error> {
        self.shared.state.lock().lease_revoke(id)
    }

    async fn lease_keep_alive(&self, id: LeaseId) -> Result<Lease, Error> {
        self.shared.state.lock().lease_keep_alive(id, Instant::now())
    }

    async fn lease_time_to_live(&self, id: LeaseId, keys: bool) -> Result<Lease, Error> {
        Ok(self.shared.state.lock().lease_time_to_live(id, keys, Instant::now()))
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.shared.state.lock().compact(revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[tokio::test(start_paused = true)]
    async fn passes_the_suite() {
        testing::suite(|| async { MemoryKv::new() }).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_watcher_is_cut_off_after_what_it_was_sent() {
        let kv = MemoryKv::new();
        let stream = kv.watch(testing::watch_prefix("k", 0)).await.unwrap();
        for i in 0..crate::limits::MEMORY_WATCH_MESSAGES_MAX + 10 {
            testing::put(&kv, "k", &i.to_string()).await;
        }
        let all: Vec<_> = futures::StreamExt::collect(stream).await;
        assert!(all.len() >= crate::limits::MEMORY_WATCH_MESSAGES_MAX);
        assert!(matches!(all.last(), Some(Err(Error::Slow))));
    }
}
