//! Leases of the store for objects that disappear by themselves. Many objects share one, as upstream has it:
//! granting one for each event would double the writes.

use std::time::Duration;

use api::Status;
use store_client::LeaseId;
use tokio::{sync::Mutex, time::Instant};

use crate::storage::Storage;

/// How long a lease is given to new objects. Its time to live is longer by this, so nothing goes too early.
const SHARED_FOR: Duration = Duration::from_secs(60);
/// Objects that share one lease; its expiry deletes them in one transaction.
const SHARED_BY_MAX: usize = 1_000;

#[derive(Default)]
pub(crate) struct Leases {
    current: Mutex<Option<Current>>,
}

struct Current {
    id: i64,
    ttl_s: i64,
    since: Instant,
    objects: usize,
}

impl Leases {
    /// A lease under which an object lives at least `ttl_s` more seconds.
    pub(super) async fn lease(&self, storage: &Storage, ttl_s: i64) -> Result<i64, Status> {
        let mut current = self.current.lock().await;
        if let Some(lease) = current.as_mut()
            && lease.ttl_s == ttl_s
            && lease.objects < SHARED_BY_MAX
            && lease.since.elapsed() < SHARED_FOR
        {
            lease.objects += 1;
            return Ok(lease.id);
        }
        let slack = i64::try_from(SHARED_FOR.as_secs()).unwrap_or(60);
        let granted = storage.request(storage.kv.lease_grant(LeaseId(0), ttl_s + slack)).await?;
        *current = Some(Current { id: granted.id.0, ttl_s, since: Instant::now(), objects: 1 });
        Ok(granted.id.0)
    }
}
