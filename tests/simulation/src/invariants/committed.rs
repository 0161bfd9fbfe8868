//! What is committed stays: every member applies the same command at an index, each once in a life and in order.

use std::collections::{BTreeMap, HashMap};

use raft::Seen;

/// All commands anybody applied.
#[derive(Default)]
pub struct Committed {
    commands: BTreeMap<u64, (u64, u32)>,
    reached: HashMap<usize, u64>,
}

impl Committed {
    /// A member applies a command.
    pub fn applied(&mut self, member: usize, command: Seen) -> Result<(), String> {
        let index = command.index.0;
        let found = (command.term.0, command.digest);
        let known = *self.commands.entry(index).or_insert(found);
        if known != found {
            return Err(format!("index {index} was applied as {known:x?} and as {found:x?}"));
        }
        let reached = self.reached.insert(member, index).unwrap_or(0);
        if index <= reached && reached > 0 {
            return Err(format!("index {index} was applied after {reached}"));
        }
        Ok(())
    }

    /// A member begins anew, from wherever its state is.
    pub fn restarted(&mut self, member: usize) {
        self.reached.remove(&member);
    }

    /// How many commands were applied.
    pub fn count(&self) -> u64 {
        self.commands.len() as u64
    }
}
