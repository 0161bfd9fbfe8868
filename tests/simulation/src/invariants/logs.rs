//! Log matching: two logs that have an entry in common are the same up to there.
//!
//! Each entry is compared with what anybody ever held under its index and term: the same content, after the same entry. By
//! induction that is the whole log before it.

use std::collections::{BTreeMap, HashMap};

use raft::Seen;

/// All entries anybody ever held, and each member's log.
#[derive(Default)]
pub struct Logs {
    /// Index and term; digest, and the term of the entry before if that is known.
    entries: HashMap<(u64, u64), (u32, Option<u64>)>,
    members: HashMap<usize, BTreeMap<u64, u64>>,
}

impl Logs {
    /// A member takes an entry.
    pub fn appended(&mut self, member: usize, entry: Seen) -> Result<(), String> {
        let (index, term) = (entry.index.0, entry.term.0);
        let log = self.members.entry(member).or_default();
        log.split_off(&index);
        let before = index.checked_sub(1).and_then(|before| log.get(&before)).copied();
        log.insert(index, term);
        let known = self.entries.entry((index, term)).or_insert((entry.digest, before));
        if known.0 != entry.digest {
            return Err(format!("entry {index} of term {term} has two contents"));
        }
        match (known.1, before) {
            (Some(known), Some(before)) if known != before => Err(format!(
                "entry {index} of term {term} follows an entry of term {known} and one of {before}"
            )),
            (None, Some(_)) => {
                known.1 = before;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A member drops everything from an index on.
    pub fn truncated(&mut self, member: usize, from: u64) {
        self.members.entry(member).or_default().split_off(&from);
    }

    /// A member lost its log, or some of its end, as far as we know.
    pub fn forgotten(&mut self, member: usize) {
        // What survived a crash is a prefix; an entry that is appended next replaces what is behind it. But a truncation may
        // have been undone, so nothing is known of the entry before.
        self.members.remove(&member);
    }
}
