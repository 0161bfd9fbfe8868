//! Protection against a cache that lags behind our own writes.
//!
//! Upstream counts expected additions and deletions. Here the API's revisions do: after writes up to a
//! revision, an owner waits until the cache has seen that revision and no longer shows what was deleted.

use std::collections::HashMap;

use client::{Informer, ObjectKey, refs};
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::limits;

#[derive(Default)]
pub(crate) struct Expectations {
    owners: Mutex<HashMap<ObjectKey, Expected>>,
}

struct Expected {
    revision: u64,
    gone: Vec<(ObjectKey, String)>,
    since: Instant,
}

impl Expectations {
    /// The owner's pods were created: the cache must have seen the newest.
    pub(crate) fn created<'a>(&self, owner: &ObjectKey, pods: impl Iterator<Item = &'a Pod>) {
        let Some(newest) = pods.map(|p| refs::revision(&p.metadata)).max() else { return };
        let mut owners = self.owners.lock();
        let expected = owners.entry(owner.clone()).or_insert_with(Expected::now);
        expected.revision = expected.revision.max(newest);
    }

    /// The owner's pods were deleted: the cache must show them ending or gone.
    pub(crate) fn deleted<'a>(&self, owner: &ObjectKey, pods: impl Iterator<Item = &'a Pod>) {
        let gone: Vec<_> = pods.map(|p| (ObjectKey::of(&p.metadata), refs::uid(p).to_owned())).collect();
        if !gone.is_empty() {
            self.owners.lock().entry(owner.clone()).or_insert_with(Expected::now).gone.extend(gone);
        }
    }

    /// The owner is gone.
    pub(crate) fn forget(&self, owner: &ObjectKey) {
        self.owners.lock().remove(owner);
    }

    /// Whether the cache shows the owner all of its own writes.
    pub(crate) fn satisfied(&self, owner: &ObjectKey, pods: &Informer<Pod>) -> bool {
        let mut owners = self.owners.lock();
        let Some(expected) = owners.get(owner) else { return true };
        let ended = |(key, uid): &(ObjectKey, String)| {
            pods.get(key).is_none_or(|p| refs::uid(&*p) != uid || p.metadata.deletion_timestamp.is_some())
        };
        let satisfied = pods.revision() >= expected.revision && expected.gone.iter().all(ended)
            || expected.since.elapsed() > limits::EXPECTATION_TIMEOUT;
        if satisfied {
            owners.remove(owner);
        }
        satisfied
    }
}

impl Expected {
    fn now() -> Self {
        Self { revision: 0, gone: Vec::new(), since: Instant::now() }
    }
}
