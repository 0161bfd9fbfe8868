//! Whether there is room to merge tables, and how much was removed from them.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use crate::limits;

/// Beside the tables of a database.
pub(super) const REMOVED: &str = "removed";

/// Whether tables are merged.
///
/// What comes out of a merge is written before what went in is given back. A disk that it filled up would fail the next flush, and that ends the
/// member; so where there is no room for what comes out, less what was removed from it, there is no merge. How much was removed is remembered
/// beside the tables, as a member may be started anew while its disk is short of space.
#[derive(Debug, Default)]
pub(super) struct Merges {
    /// No merge begins: there is no room, or it is too early.
    pub(super) off: bool,
    /// Until the engine is [told](crate::engine::Engine::settle) that others wait for it no more.
    pub(super) postponed: bool,
    /// Bytes of the tables at the last look.
    pub(super) tables: u64,
    /// How many of them were removed since and are given back by merges.
    pub(super) removed: u64,
}

impl Merges {
    /// Looks at the disk again; returns whether tables may be merged.
    pub(super) fn consider(&mut self, free: u64, tables: u64, removed: u64) -> bool {
        let given_back = self.tables.saturating_sub(tables);
        self.removed = self.removed.saturating_sub(given_back).saturating_add(removed);
        self.tables = tables;
        let out = tables.saturating_sub(self.removed).min(limits::ENGINE_MERGE_BYTES_MAX);
        free >= out + limits::ENGINE_FLUSH_FREE_BYTES_MIN
    }
}

/// Always as long, and in place: on a full disk there may be no space for another file.
pub(super) fn remember(database: &Path, Merges { removed, tables, .. }: &Merges) -> io::Result<()> {
    let mut file =
        fs::File::options().write(true).create(true).truncate(false).open(database.join(REMOVED))?;
    write!(file, "{removed:020} {tables:020}")
}

/// Nothing was removed when it is not known: then less is merged than might be.
pub(super) fn recall(database: &Path) -> Merges {
    let read = fs::read_to_string(database.join(REMOVED)).ok();
    let known = read.as_deref().and_then(|text| text.split_once(' '));
    let known =
        known.and_then(|(removed, tables)| Some((removed.parse::<u64>().ok()?, tables.parse().ok()?)));
    let (removed, tables) = known.unwrap_or_default();
    Merges { tables, removed: removed.min(tables), ..Merges::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_merged_where_there_is_room_or_much_to_give_back() {
        const MIB: u64 = 1 << 20;
        let mut merges = Merges::default();
        assert!(merges.consider(500 * MIB, 400 * MIB, 0));
        assert!(!merges.consider(450 * MIB, 400 * MIB, 0), "a flush must find space beside it");
        assert!(!merges.consider(200 * MIB, 400 * MIB, 200 * MIB), "it would give back too little");
        assert!(merges.consider(200 * MIB, 400 * MIB, 100 * MIB));
        assert!(merges.consider(200 * MIB, 401 * MIB, 0), "what was removed is still there");
        assert!(merges.consider(400 * MIB, 200 * MIB, 0), "and is given back");
        assert!(!merges.consider(200 * MIB, 400 * MIB, 0), "once");
        assert!(merges.consider(2048 * MIB, 100 * 1024 * MIB, 0), "not all tables are merged at once");
    }
}
