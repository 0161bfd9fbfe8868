//! One revision for each change, in the order of the log, the same on every member (S1, S5).

use std::collections::BTreeMap;

use check::log::{Change, ChangeLog};

/// The changes, as the members told them, each with the time it was told first.
#[derive(Default)]
pub struct Revisions {
    told: BTreeMap<i64, (Change, u64)>,
}

impl Revisions {
    /// A member tells a change.
    pub fn told(&mut self, member: usize, change: Change, at_ms: u64) -> Result<bool, String> {
        let known = self.told.get(&change.revision).map(|(known, _)| *known);
        match known {
            None => {
                self.told.insert(change.revision, (change, at_ms));
                Ok(true)
            }
            Some(known) if known == change => Ok(false),
            Some(known) => Err(format!("m{member} tells {change:?}, another told {known:?}")),
        }
    }

    /// When a revision was told first.
    pub fn told_at(&self, revision: i64) -> Option<u64> {
        self.told.get(&revision).map(|(_, at)| *at)
    }

    /// The newest revision that was told.
    pub fn newest(&self) -> i64 {
        self.told.last_key_value().map_or(1, |(revision, _)| *revision)
    }

    /// All of them, if none is missing.
    pub fn log(&self) -> Result<ChangeLog, String> {
        ChangeLog::new(1, self.told.values().map(|(change, _)| *change)).map_err(|fault| fault.to_string())
    }
}
