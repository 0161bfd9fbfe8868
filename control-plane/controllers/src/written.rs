//! Waits for a cache to have seen our own writes, by the API's revisions.

use std::collections::HashMap;

use client::ObjectKey;
use parking_lot::Mutex;

/// The newest revision written for each key that is still worked on.
#[derive(Default)]
pub(crate) struct Written {
    revisions: Mutex<HashMap<ObjectKey, u64>>,
}

impl Written {
    /// Something was written for the key at this revision.
    pub(crate) fn note(&self, key: &ObjectKey, revision: u64) {
        let mut revisions = self.revisions.lock();
        let newest = revisions.entry(key.clone()).or_insert(0);
        *newest = revision.max(*newest);
    }

    /// Whether a cache at this revision shows all of it.
    pub(crate) fn is_seen(&self, key: &ObjectKey, cached: u64) -> bool {
        let mut revisions = self.revisions.lock();
        let seen = revisions.get(key).is_none_or(|written| *written <= cached);
        if seen {
            revisions.remove(key);
        }
        seen
    }
}
