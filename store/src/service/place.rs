//! A place in a queue of keys: what locks and elections are made of.
//!
//! Whoever wants to be first puts the key `NAME/LEASE` (the lease in hexadecimal, as etcd's clients do, so that both can
//! wait in one queue). The order is that of creation. Each waits for the one right before it to go, so that nobody's
//! leaving wakes more than one. The lease removes the key of whoever dies.

use bytes::Bytes;
use futures::StreamExt;
use store_client::{
    ChangeKind, Compare, Error, KeyRange, KeyValue, Kv, LeaseId, Op, OpResult, Order, Range, Revision,
    Target, Txn, Watch, WatchMessage,
};
use tokio::sync::oneshot;
use tonic::Status;

use super::error;
use crate::limits::SESSION_TTL_S;
use crate::server::Handle;

/// A key in a queue.
#[derive(Clone, Debug)]
pub struct Place {
    /// The key.
    pub key: Bytes,
    /// The revision that created it: the fencing token.
    pub created: Revision,
    /// The lease it hangs on.
    pub lease: LeaseId,
}

/// All keys of a queue begin with this.
pub fn prefix(name: &[u8]) -> Bytes {
    [name, b"/"].concat().into()
}

/// The first in a queue.
pub async fn first(handle: &Handle, name: &[u8]) -> Result<(Revision, Option<KeyValue>), Error> {
    let result = handle.range(Range::new(KeyRange::prefix(prefix(name)))).await?;
    let first = result.kvs.into_iter().min_by_key(|kv| kv.create_revision);
    Ok((result.revision, first))
}

impl Place {
    /// Takes a place, or finds the one that was taken under the same lease before. Without a lease, one is granted that
    /// nobody renews. A place that was taken for a caller who has gone away meanwhile is given up.
    pub async fn take(handle: &Handle, name: &[u8], lease: LeaseId, value: Bytes) -> Result<Self, Error> {
        let (tell, told) = oneshot::channel();
        let (handle, name) = (handle.clone(), Bytes::copy_from_slice(name));
        // Whether a key was put is known to whoever waits for the answer, and the caller may not.
        tokio::spawn(async move {
            let taken = Self::try_take(&handle, &name, lease, value).await;
            let taken = taken.map(|(place, is_new)| {
                let guard = Guard { handle, place: is_new.then(|| place.clone()) };
                (place, guard)
            });
            // Where nobody receives it, the guard is dropped.
            drop(tell.send(taken));
        });
        let stopped = |_| Error::Unavailable("the member has stopped".to_owned());
        let (place, mut guard) = told.await.map_err(stopped)??;
        guard.place = None;
        Ok(place)
    }

    /// Takes a place; says whether it is new.
    async fn try_take(
        handle: &Handle,
        name: &[u8],
        lease: LeaseId,
        value: Bytes,
    ) -> Result<(Self, bool), Error> {
        let lease = match lease {
            LeaseId(0) => handle.lease_grant(LeaseId(0), SESSION_TTL_S).await?.id,
            given => given,
        };
        let key = Bytes::from([name, format!("/{:x}", lease.0).as_bytes()].concat());
        let put = Op::Put {
            key: key.clone(),
            value,
            lease,
            prev_kv: false,
            ignore_value: false,
            ignore_lease: false,
        };
        let absent = created_at(&key, Revision(0));
        let txn = Txn { compare: vec![absent], success: vec![put], failure: vec![Op::get(key.clone())] };
        let result = handle.txn(txn).await?;
        let created = match result.results.first() {
            Some(OpResult::Range(read)) => read.kvs.first().map(|kv| kv.create_revision),
            Some(OpResult::Put { .. } | OpResult::Delete { .. } | OpResult::Txn(_)) | None => {
                Some(result.revision)
            }
        };
        let created = created.ok_or_else(|| Error::Internal("the key of a place was not read".to_owned()))?;
        Ok((Self { key, created, lease }, result.succeeded))
    }

    /// Whether the key is still the one that was created.
    pub fn is_held(&self) -> Compare {
        created_at(&self.key, self.created)
    }

    /// Waits until nobody is before it. The place is given up if the caller goes away, or on an error.
    pub async fn wait(&self, handle: &Handle, name: &[u8]) -> Result<Revision, Status> {
        let mut guard = Guard { handle: handle.clone(), place: Some(self.clone()) };
        let revision = self.wait_first(handle, name).await?;
        guard.place = None;
        Ok(revision)
    }

    async fn wait_first(&self, handle: &Handle, name: &[u8]) -> Result<Revision, Status> {
        loop {
            let read = Range { keys_only: true, ..Range::new(KeyRange::prefix(prefix(name))) };
            let queue = handle.range(read).await.map_err(error::status)?;
            if !queue.kvs.iter().any(|kv| kv.key == self.key && kv.create_revision == self.created) {
                return Err(error::session_expired());
            }
            let earlier = queue.kvs.into_iter().filter(|kv| kv.create_revision < self.created);
            let Some(before) = earlier.max_by_key(|kv| kv.create_revision) else { return Ok(queue.revision) };
            gone(handle, before.key, Revision(queue.revision.0 + 1)).await.map_err(error::status)?;
        }
    }

    /// Gives the place up, if it is still held.
    pub async fn leave(&self, handle: &Handle) -> Result<Revision, Error> {
        let txn = Txn {
            compare: vec![self.is_held()],
            success: vec![Op::delete(self.key.clone())],
            failure: vec![],
        };
        Ok(handle.txn(txn).await?.revision)
    }
}

fn created_at(key: &Bytes, created: Revision) -> Compare {
    let target = Target::CreateRevision(created);
    Compare { keys: KeyRange::Key(key.clone()), target, order: Order::Equal }
}

/// Returns once the key is deleted, at or after a revision. A watch that breaks ends the wait too: the caller looks
/// again.
async fn gone(handle: &Handle, key: Bytes, start: Revision) -> Result<(), Error> {
    let watch = Watch { keys: KeyRange::Key(key), start, prev_kv: false, progress: false };
    let mut changes = handle.watch(watch).await?;
    while let Some(message) = changes.next().await {
        let deleted = match message {
            Ok(WatchMessage::Changes { changes, .. }) => {
                changes.iter().any(|change| change.kind == ChangeKind::Delete)
            }
            Ok(WatchMessage::Created { .. } | WatchMessage::Progress { .. }) => false,
            Err(Error::Compacted { .. } | Error::Slow) => true,
            Err(error) => return Err(error),
        };
        if deleted {
            break;
        }
    }
    Ok(())
}

/// Gives a place up when a wait ends without success: the caller may be gone, which drops the wait at any await.
struct Guard {
    handle: Handle,
    place: Option<Place>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else { return };
        let handle = self.handle.clone();
        // One short transaction; if it fails, the lease does the same later.
        tokio::spawn(async move {
            if let Err(error) = place.leave(&handle).await {
                tracing::debug!(%error, "a place in a queue is left to its lease");
            }
        });
    }
}
