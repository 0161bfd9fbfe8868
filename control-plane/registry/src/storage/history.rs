//! The recent past of one resource, bounded in changes and bytes.

use std::{collections::VecDeque, sync::Arc};

use crate::{contract::Encoded, limits};

/// One change of one object.
#[derive(Debug)]
pub(crate) struct Change {
    /// The store's revision.
    pub(crate) revision: i64,
    /// The object after the change; for a deletion the last one, at the revision of the deletion.
    pub(crate) object: Arc<Encoded>,
    /// The object before; `None` when it was created.
    pub(crate) before: Option<Arc<Encoded>>,
    /// Whether it was deleted.
    pub(crate) deleted: bool,
}

impl Change {
    fn bytes(&self) -> usize {
        // What the history alone keeps alive: the state before, and of a deletion the state after too.
        self.before.as_ref().map_or(0, |b| b.json.len())
            + if self.deleted { self.object.json.len() } else { 0 }
            + 128
    }
}

/// Changes after `floor`, in order.
#[derive(Debug, Default)]
pub(super) struct History {
    changes: VecDeque<Arc<Change>>,
    bytes: usize,
    floor: i64,
}

impl History {
    /// Begins at a revision: only what comes after it will be known.
    pub(super) fn begin(&mut self, floor: i64) {
        *self = Self { floor, ..Self::default() };
    }

    pub(super) fn push(&mut self, change: Arc<Change>) {
        self.bytes += change.bytes();
        self.changes.push_back(change);
        while self.changes.len() > limits::HISTORY_CHANGES_MAX || self.bytes > limits::HISTORY_BYTES_MAX {
            let Some(oldest) = self.changes.pop_front() else { break };
            self.bytes -= oldest.bytes();
            self.floor = oldest.revision;
        }
    }

    /// The changes after `revision`, or the oldest revision that can still be asked for.
    pub(super) fn since(&self, revision: i64) -> Result<impl Iterator<Item = &Arc<Change>>, i64> {
        if revision < self.floor {
            return Err(self.floor);
        }
        let start = self.changes.partition_point(|change| change.revision <= revision);
        Ok(self.changes.range(start..))
    }
}
