//! The known bugs, and how many seeds it takes to find each.

use std::path::Path;

pub use raft::bugs::Bug;

use crate::apart;
use crate::run::Failure;

/// Those that are put back in our code; `docs/testing.md` says why M1, M2 and M7 are not.
pub const ALL: &[Bug] = &[
    Bug::M3,
    Bug::M4,
    Bug::M5,
    Bug::M6,
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

/// The name of a bug.
pub fn name(bug: Bug) -> String {
    format!("{bug:?}")
}
