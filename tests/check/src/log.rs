//! The order of all changes, as one complete watch from the first revision on told it.

use std::collections::{BTreeMap, HashMap};

use crate::kv::{Action, Answer, Call, Cell};
use crate::linear::Timed;

/// A change of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The revision that made it.
    pub revision: i64,
    /// The key's number.
    pub key: usize,
    /// What it wrote; `None` for a deletion.
    pub value: Option<u64>,
    /// What was there before, if the watch was to tell.
    pub before: Option<Option<u64>>,
}

/// What is wrong with the log, or with what somebody saw beside it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Revisions are not counted one by one.
    #[error("after revision {after} comes {revision}")]
    Gap {
        /// The last in order.
        after: i64,
        /// What follows.
        revision: i64,
    },
    /// An acknowledged change is not there, or is another.
    #[error("{call:?} was acknowledged, and the log has {found:?} at its revision")]
    Lost {
        /// The call with its answer.
        call: Box<Call>,
        /// What stands there.
        found: Option<Change>,
    },
    /// A read saw what never was.
    #[error("at revision {revision} key {key} held {truth:?}, a read saw {seen:?}")]
    NeverWas {
        /// The revision of the read.
        revision: i64,
        /// The key's number.
        key: usize,
        /// What the log says.
        truth: Option<Cell>,
        /// What the read saw.
        seen: Option<Cell>,
    },
}

/// All changes in order; one for each revision.
#[derive(Clone, Debug, Default)]
pub struct ChangeLog {
    changes: BTreeMap<i64, Change>,
    values: HashMap<u64, i64>,
    first: i64,
}

impl ChangeLog {
    /// Takes the changes of a watch that began after revision `first`; they must count on from there.
    pub fn new(first: i64, changes: impl IntoIterator<Item = Change>) -> Result<Self, Fault> {
        let mut log = Self { first, ..Self::default() };
        let mut after = first;
        for change in changes {
            if change.revision != after + 1 {
                return Err(Fault::Gap { after, revision: change.revision });
            }
            after = change.revision;
            log.values.extend(change.value.map(|value| (value, change.revision)));
            log.changes.insert(change.revision, change);
        }
        Ok(log)
    }

    /// The newest revision.
    pub fn newest(&self) -> i64 {
        self.changes.last_key_value().map_or(self.first, |(revision, _)| *revision)
    }

    /// How many changes there are.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether nothing was changed.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The change of a revision.
    pub fn at(&self, revision: i64) -> Option<&Change> {
        self.changes.get(&revision)
    }

    /// The changes of revisions within bounds, both included.
    pub fn between(&self, from: i64, upto: i64) -> impl Iterator<Item = &Change> {
        let upto = upto.max(from.saturating_sub(1));
        self.changes
            .range(from..)
            .take_while(move |(revision, _)| **revision <= upto)
            .map(|(_, change)| change)
    }

    /// Where a value was written.
    pub fn written_at(&self, value: u64) -> Option<i64> {
        self.values.get(&value).copied()
    }

    /// What a key held at a revision.
    pub fn held(&self, key: usize, revision: i64) -> Option<Cell> {
        let before = self.changes.range(..=revision).rev().map(|(_, change)| change);
        let last = before.into_iter().find(|change| change.key == key)?;
        last.value.map(|value| Cell { value, revision: last.revision })
    }

    /// Nothing acknowledged is missing: every change that was answered stands at its revision.
    pub fn holds_all(&self, history: &[Timed<Call>]) -> Result<(), Fault> {
        for timed in history {
            let Some(Answer::Changed { revision }) = timed.call.answer else { continue };
            let (key, value) = match timed.call.action {
                Action::Put { key, value } | Action::Swap { key, value, .. } => (key, Some(value)),
                Action::Delete { key } | Action::Get { key } => (key, None),
            };
            let found = self.at(revision);
            if !found.is_some_and(|change| change.key == key && change.value == value) {
                return Err(Fault::Lost { call: Box::new(timed.call.clone()), found: found.copied() });
            }
        }
        Ok(())
    }

    /// A read without agreement saw a state that was: the one at the revision it names.
    pub fn is_past(&self, key: usize, revision: i64, seen: Option<Cell>) -> Result<(), Fault> {
        let truth = self.held(key, revision);
        if truth != seen || revision > self.newest() {
            return Err(Fault::NeverWas { revision, key, truth, seen });
        }
        Ok(())
    }
}
