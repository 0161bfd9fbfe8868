//! A member that lost or damaged what it had promised never votes, and takes no entry from anybody (S7).

use std::collections::{HashMap, HashSet};

use raft::Voted;

/// Which members must keep still, and why.
#[derive(Default)]
pub struct Silence {
    /// Who voted or took entries: nobody else has anything to lose.
    promised: HashSet<usize>,
    because: HashMap<usize, &'static str>,
}

impl Silence {
    /// From now on a member must keep still, if it ever promised anything.
    pub fn demand(&mut self, member: usize, because: &'static str) {
        if self.promised.contains(&member) {
            self.because.insert(member, because);
        }
    }

    /// Whether a member must keep still.
    pub fn is_demanded(&self, member: usize) -> bool {
        self.because.contains_key(&member)
    }

    /// A member votes. A vote for itself asks; one for another answers.
    pub fn voted(&mut self, member: usize, id: u64, vote: Voted) -> Result<(), String> {
        self.promised.insert(member);
        match self.because.get(&member) {
            Some(because) if vote.candidate != id || vote.leads => {
                Err(format!("m{member} {because} and voted for {:x} in term {}", vote.candidate, vote.term.0))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// A member takes an entry; its first one may be the founding of a group of its own.
    pub fn appended(&mut self, member: usize, index: u64) -> Result<(), String> {
        self.promised.insert(member);
        match self.because.get(&member) {
            Some(because) if index > 0 => Err(format!("m{member} {because} and took entry {index}")),
            Some(_) | None => Ok(()),
        }
    }
}
