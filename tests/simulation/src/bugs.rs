//! The known bugs, and how many seeds it takes to find each.

pub use raft::bugs::Bug;

use crate::plan::plan;
use crate::run::{Failure, Manner, run};

/// Those that are put back in our code; `docs/testing.md` says why M1, M2 and M7 are not.
pub const ALL: &[(&str, Bug)] = &[
    ("M3", Bug::M3),
    ("M4", Bug::M4),
    ("M5", Bug::M5),
    ("M6", Bug::M6),
    ("M8", Bug::M8),
    ("M9", Bug::M9),
    ("M10", Bug::M10),
    ("M11", Bug::M11),
    ("M12", Bug::M12),
    ("M13", Bug::M13),
    ("M14", Bug::M14),
    ("M15", Bug::M15),
    ("M16", Bug::M16),
    ("M17", Bug::M17),
    ("M18", Bug::M18),
];

/// The bug of a name.
pub fn named(name: &str) -> Result<Bug, String> {
    let found = ALL.iter().find(|(known, _)| *known == name).map(|(_, bug)| *bug);
    found.ok_or_else(|| {
        format!("no such bug; there are {}", ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "))
    })
}

/// Runs seeds with a bug until one finds it.
pub fn hunt(bug: Bug, seeds: impl IntoIterator<Item = u64>) -> Option<(u64, Failure)> {
    let manner = Manner { bug: Some(bug), ..Manner::default() };
    seeds.into_iter().find_map(|seed| run(&plan(seed), manner).err().map(|failure| (seed, failure)))
}
