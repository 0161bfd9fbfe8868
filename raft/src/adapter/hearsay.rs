//! Bugs M1 and M2, put back: a leader that takes what members acknowledge for more than they said.
//!
//! Both were in how openraft counts, which is not ours to change. Here the answers are bent on their way to it, which has the
//! effect they had: an entry counts as held by a member that does not hold it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::bugs::{Bug, is_on};
use crate::record::{Append, Appended, LogId};

/// Other members from which on a quorum is counted wrongly (M1): four voters.
const OTHERS_MIN: usize = 3;

/// What the members said to this one. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub(super) struct Hearsay {
    said: Arc<Mutex<Said>>,
}

#[derive(Default)]
struct Said {
    /// The newest entry each acknowledged.
    acknowledged: HashMap<u64, LogId>,
    /// Whose log went back.
    reverted: HashSet<u64>,
}

/// One stream of entries to a member.
#[derive(Clone)]
pub(super) struct Stream {
    hearsay: Hearsay,
    target: u64,
    /// The newest entry that was sent.
    sent: Arc<Mutex<Option<LogId>>>,
}

impl Hearsay {
    /// A new stream to a member.
    pub(super) fn stream(&self, target: u64) -> Stream {
        Stream { hearsay: self.clone(), target, sent: Arc::default() }
    }
}

impl Stream {
    /// Entries are sent.
    pub(super) fn sent(&self, append: &Append<'_>) {
        if let Some(entry) = append.entries.last() {
            *self.sent.lock() = Some(entry.id);
        }
    }

    /// What the leader is told that the member said. Never more than the member was sent: openraft would notice that.
    pub(super) fn heard(&self, answer: Appended) -> Appended {
        let mut said = self.hearsay.said.lock();
        let matched = match answer {
            Appended::Matched(Some(matched)) => matched,
            Appended::Conflict(_) => {
                said.reverted.insert(self.target);
                return answer;
            }
            Appended::Matched(None) | Appended::HigherVote(_) => return answer,
        };
        said.acknowledged.insert(self.target, matched);
        let Some(sent) = *self.sent.lock() else { return answer };
        if is_on(Bug::M2) && said.reverted.contains(&self.target) {
            return Appended::Matched(Some(matched.max(sent)));
        }
        let of_this_term: Vec<LogId> =
            said.acknowledged.values().copied().filter(|id| id.term == sent.term).collect();
        match of_this_term.iter().max() {
            Some(best) if is_on(Bug::M1) && of_this_term.len() >= OTHERS_MIN => {
                Appended::Matched(Some(matched.max(sent.min(*best))))
            }
            Some(_) | None => answer,
        }
    }
}
