//! What is committed was taken by a majority before anybody applies it.
//!
//! Who belongs to the group changes. But an odd number founds it and members leave one at a time, so no quorum is ever smaller than a
//! majority of the founders. What a member took counts until it drops it or takes something else in its place, even if a
//! crash took it away again: so this accuses nobody wrongly.

use std::collections::{BTreeMap, HashMap};

use raft::Seen;

/// What everybody took.
pub struct Majority {
    founders: usize,
    /// Index and term, of each member.
    taken: HashMap<usize, BTreeMap<u64, u64>>,
    /// The newest index that anybody applied.
    applied: u64,
}

impl Majority {
    /// In a group that so many members found.
    pub fn new(founders: usize) -> Self {
        Self { founders, taken: HashMap::new(), applied: 0 }
    }

    /// A member takes an entry.
    pub fn appended(&mut self, member: usize, entry: Seen) {
        self.truncated(member, entry.index.0);
        self.taken.entry(member).or_default().insert(entry.index.0, entry.term.0);
    }

    /// A member drops everything from an index on.
    pub fn truncated(&mut self, member: usize, from: u64) {
        self.taken.entry(member).or_default().split_off(&from);
    }

    /// A member applies a command.
    pub fn applied(&mut self, member: usize, command: Seen) -> Result<(), String> {
        let (index, term) = (command.index.0, command.term.0);
        if index <= self.applied {
            return Ok(());
        }
        self.applied = index;
        let takers = self.taken.values().filter(|taken| taken.get(&index) == Some(&term)).count();
        match takers > self.founders / 2 {
            true => Ok(()),
            false => Err(format!(
                "m{member} applies entry {index} of term {term}, which {takers} of {} took",
                self.founders
            )),
        }
    }
}
