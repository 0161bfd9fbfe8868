//! The store as clients see it: some keys, one revision for each change, and answers that carry revisions.

use crate::linear::{Model, Timed};
use crate::log::ChangeLog;

/// What is asked. Values are unique in a history, so that each tells which call wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write a value.
    Put {
        /// The key's number.
        key: usize,
        /// The value.
        value: u64,
    },
    /// Delete a key.
    Delete {
        /// The key's number.
        key: usize,
    },
    /// Write a value if the key was last changed at a revision; 0 for a key that is not there. Else read it.
    Swap {
        /// The key's number.
        key: usize,
        /// The revision it must have been changed at.
        expected: i64,
        /// The value.
        value: u64,
    },
    /// Read a key.
    Get {
        /// The key's number.
        key: usize,
    },
}

/// A value and the revision that wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cell {
    /// The value.
    pub value: u64,
    /// Where it was written.
    pub revision: i64,
}

/// What was answered; `revision` is the one in the answer's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A change was made.
    Changed {
        /// Its revision.
        revision: i64,
    },
    /// Nothing was changed; this is what the key holds.
    Held {
        /// The newest revision.
        revision: i64,
        /// What the key holds.
        cell: Option<Cell>,
    },
}

/// A call with its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What was asked.
    pub action: Action,
    /// What was answered, if anything was.
    pub answer: Option<Answer>,
}

/// The whole store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    revision: i64,
    cells: Vec<Option<Cell>>,
}

/// A store with so many keys, at a revision.
#[derive(Clone, Debug)]
pub struct Store {
    /// How many keys there are.
    pub keys: usize,
    /// The revision before the first call.
    pub revision: i64,
}

impl Action {
    fn key(&self) -> usize {
        match self {
            Self::Put { key, .. } | Self::Delete { key } | Self::Swap { key, .. } | Self::Get { key } => *key,
        }
    }

    /// What it would write, if it is to write anything.
    pub fn value(&self) -> Option<u64> {
        match self {
            Self::Put { value, .. } | Self::Swap { value, .. } => Some(*value),
            Self::Delete { .. } | Self::Get { .. } => None,
        }
    }

    /// What it would leave in the key: `None` if it would change nothing, `Some(None)` if it would delete it.
    fn effect(&self, cell: Option<Cell>) -> Option<Option<u64>> {
        match self {
            Self::Put { value, .. } => Some(Some(*value)),
            Self::Delete { .. } => cell.map(|_| None),
            Self::Swap { expected, value, .. } => {
                (cell.map_or(0, |cell| cell.revision) == *expected).then_some(Some(*value))
            }
            Self::Get { .. } => None,
        }
    }
}

impl Model for Store {
    type State = State;
    type Call = Call;

    fn initial(&self) -> State {
        State { revision: self.revision, cells: vec![None; self.keys] }
    }

    fn step(&self, state: &State, call: &Call) -> Option<State> {
        let key = call.action.key();
        let cell = *state.cells.get(key)?;
        let effect = call.action.effect(cell);
        let fits = match (call.answer, effect) {
            (None, _) => true,
            (Some(Answer::Changed { revision }), Some(_)) => revision == state.revision + 1,
            (Some(Answer::Held { revision, cell: held }), None) => revision == state.revision && held == cell,
            (Some(Answer::Changed { .. }), None) | (Some(Answer::Held { .. }), Some(_)) => false,
        };
        if !fits {
            return None;
        }
        let mut after = state.clone();
        if let Some(left) = effect {
            after.revision += 1;
            after.cells[key] = left.map(|value| Cell { value, revision: after.revision });
        }
        Some(after)
    }
}

/// Settles calls without an answer by what a complete log of changes shows: those whose value is in it happened at that
/// revision, at some time after the call; writes whose value is not in it never happened and are left out, and so
/// are reads. A deletion without answer stays open.
pub fn tighten(history: Vec<Timed<Call>>, log: &ChangeLog) -> Vec<Timed<Call>> {
    let settle = |mut timed: Timed<Call>| {
        if timed.call.answer.is_some() {
            return Some(timed);
        }
        match timed.call.action {
            Action::Put { value, .. } | Action::Swap { value, .. } => {
                let revision = log.written_at(value)?;
                timed.call.answer = Some(Answer::Changed { revision });
                Some(timed)
            }
            Action::Delete { .. } => Some(timed),
            Action::Get { .. } => None,
        }
    };
    history.into_iter().filter_map(settle).collect()
}
