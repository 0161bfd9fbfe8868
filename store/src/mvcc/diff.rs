//! What differs between two revisions, and what was deleted: one pass over the versions of a range, nothing kept.

use std::ops::ControlFlow;

use store_client::{KeyRange, KeyValue};

use super::entry::Entry;
use super::scan::{skip_group, skip_newer};
use super::{Error, layout};
use crate::engine::{Cursor, Reader};

/// One key that differs. At least one side is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// As it was at the older moment.
    pub before: Option<KeyValue>,
    /// As it was at the newer moment.
    pub after: Option<KeyValue>,
}

/// Takes the next difference in key order; may end the scan.
pub type Emit<'e> = dyn FnMut(Difference) -> ControlFlow<()> + 'e;

/// A cursor at the first version of a range; `None` for a range that holds no key. It sees what there is when it is made,
/// so whoever makes it first and then finds a revision readable has all versions of that revision, whatever is compacted
/// and removed later.
pub fn cursor<'a>(reader: &'a dyn Reader, keys: &KeyRange) -> Result<Option<Box<dyn Cursor + 'a>>, Error> {
    let (lower, upper) = layout::range_bounds(keys);
    if lower >= upper {
        return Ok(None);
    }
    let mut cursor = reader.passing(&lower, &upper);
    cursor.seek(&lower)?;
    Ok(Some(cursor))
}

/// Calls `emit` with each key whose existence, value or lease differs between `from` and `to`, in either order. Both
/// must have been readable after the cursor was made.
pub fn between(cursor: &mut dyn Cursor, from: i64, to: i64, emit: &mut Emit<'_>) -> Result<(), Error> {
    let (older, newer) = (from.min(to), from.max(to));
    groups(cursor, newer, &mut |cursor, group, revision| {
        if revision <= older {
            return Ok(ControlFlow::Continue(()));
        }
        let after = in_group(cursor, group)?;
        skip_newer(cursor, group, older)?;
        let before = in_group(cursor, group)?;
        let same = match (&before, &after) {
            (None, None) => true,
            (Some(before), Some(after)) => before.value == after.value && before.lease == after.lease,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if same {
            return Ok(ControlFlow::Continue(()));
        }
        let difference = if from <= to {
            Difference { before, after }
        } else {
            Difference { before: after, after: before }
        };
        Ok(emit(difference))
    })
}

/// Calls `emit` with each key that is deleted at `newest` and whose last value is still readable, given what was compacted
/// after the cursor was made.
pub fn deleted(
    cursor: &mut dyn Cursor,
    compacted: i64,
    newest: i64,
    emit: &mut dyn FnMut(KeyValue) -> ControlFlow<()>,
) -> Result<(), Error> {
    groups(cursor, newest, &mut |cursor, group, revision| {
        if revision <= compacted || exists(cursor)? {
            return Ok(ControlFlow::Continue(()));
        }
        cursor.next()?;
        Ok(in_group(cursor, group)?.map_or(ControlFlow::Continue(()), &mut *emit))
    })
}

/// Whether the version at the cursor is none of a deletion.
fn exists(cursor: &dyn Cursor) -> Result<bool, Error> {
    Ok(match Entry::at(cursor)? {
        Some(entry) => entry.written()?.is_some(),
        None => false,
    })
}

/// The version at the cursor if it is of this group.
fn in_group(cursor: &dyn Cursor, group: &[u8]) -> Result<Option<KeyValue>, Error> {
    let Some(entry) = Entry::at(cursor)?.filter(|entry| entry.group == group) else { return Ok(None) };
    entry.written()?.map(|written| written.key_value(written.key(), true)).transpose()
}

/// Is shown the group and the revision of its newest version, at which the cursor stands; may move the cursor on within the group.
type See<'s> = dyn FnMut(&mut dyn Cursor, &[u8], i64) -> Result<ControlFlow<()>, Error> + 's;

/// Shows the newest version at a revision of each key.
fn groups(cursor: &mut dyn Cursor, at: i64, see: &mut See<'_>) -> Result<(), Error> {
    let mut group = Vec::new();
    while let Some(entry) = Entry::at(cursor)? {
        let revision = entry.revision;
        group.clear();
        group.extend_from_slice(entry.group);
        if revision > at {
            skip_newer(cursor, &group, at)?;
            continue;
        }
        if see(cursor, &group, revision)?.is_break() {
            return Ok(());
        }
        let inside = Entry::at(cursor)?.is_some_and(|entry| entry.group == group);
        if inside {
            skip_group(cursor, &mut group)?;
        }
    }
    Ok(())
}
