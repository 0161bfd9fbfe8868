//! The known bugs, and how many seeds it takes to find each.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

pub use raft::bugs::Bug;

use crate::apart;
use crate::run::{Failure, Report};

/// All of them; `docs/testing.md` says what each is.
pub const ALL: &[Bug] = &[
    Bug::M1,
    Bug::M2,
    Bug::M3,
    Bug::M4,
    Bug::M5,
    Bug::M6,
    Bug::M7,
    Bug::M8,
    Bug::M9,
    Bug::M10,
    Bug::M11,
    Bug::M12,
    Bug::M13,
    Bug::M14,
    Bug::M15,
    Bug::M16,
    Bug::M17,
    Bug::M18,
];

/// The bug of a name.
pub fn named(text: &str) -> Result<Bug, String> {
    let found = ALL.iter().copied().find(|bug| name(*bug) == text);
    found.ok_or_else(|| {
        format!("no such bug; there are {}", ALL.iter().map(|bug| name(*bug)).collect::<Vec<_>>().join(", "))
    })
}

/// Runs seeds with a bug until one finds it. `Err` if they could not be run.
pub fn hunt(
    simulate: &Path,
    bug: Bug,
    seeds: impl IntoIterator<Item = u64>,
) -> anyhow::Result<Option<(u64, Failure)>> {
    for seed in seeds {
        if let Err(failure) = apart::run(simulate, seed, Some(bug))? {
            return Ok(Some((seed, failure)));
        }
    }
    Ok(None)
}

/// Which seeds found a bug, and by what.
#[derive(Clone, Debug, Default)]
pub struct Finds {
    tried: u64,
    found: Vec<u64>,
    by: BTreeMap<String, u64>,
}

impl Finds {
    /// What came of a seed.
    pub fn take(&mut self, seed: u64, outcome: &Result<Report, Failure>) {
        self.tried += 1;
        if let Err(failure) = outcome {
            self.found.push(seed);
            let invariant = failure.broken.split(':').next().unwrap_or_default();
            *self.by.entry(invariant.to_owned()).or_default() += 1;
        }
    }
}

impl fmt::Display for Finds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.found.iter().min();
        write!(f, "{} of {} seeds, first {first:?}, by {:?}", self.found.len(), self.tried, self.by)
    }
}

/// The name of a bug.
pub fn name(bug: Bug) -> String {
    format!("{bug:?}")
}
