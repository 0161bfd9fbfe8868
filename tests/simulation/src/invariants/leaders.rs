//! One leader per term.

use std::collections::BTreeMap;

/// Who led when, as anybody heard.
#[derive(Default)]
pub struct Leaders {
    by_term: BTreeMap<u64, u64>,
}

impl Leaders {
    /// Somebody has heard that a member leads a term.
    pub fn leads(&mut self, term: u64, member: u64) -> Result<(), String> {
        match *self.by_term.entry(term).or_insert(member) {
            known if known == member => Ok(()),
            known => Err(format!("term {term} is led by {known:x} and by {member:x}")),
        }
    }

    /// How many terms had a leader.
    pub fn terms(&self) -> u64 {
        self.by_term.len() as u64
    }
}
