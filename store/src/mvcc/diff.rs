//! What differs between two revisions, and what was deleted: one pass over the versions of a range, nothing kept.

use std::ops::ControlFlow;

use bytes::Bytes;
use store_client::{KeyRange, KeyValue};

use super::Error;
use super::layout::{self, Version};
use super::scan::{skip_group, skip_newer};
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
    groups(cursor, newer, &mut |cursor, group, revision, version| {
        if revision <= older {
            return Ok(ControlFlow::Continue(()));
        }
        let after = version.key_value(|| layout::group_key(group), revision, true);
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
    groups(cursor, newest, &mut |cursor, group, revision, version| {
        if !matches!(version, Version::Deleted) || revision <= compacted {
            return Ok(ControlFlow::Continue(()));
        }
        cursor.next()?;
        Ok(in_group(cursor, group)?.map_or(ControlFlow::Continue(()), &mut *emit))
    })
}

/// The version at the cursor if it is of this group.
fn in_group(cursor: &mut dyn Cursor, group: &[u8]) -> Result<Option<KeyValue>, Error> {
    let Some((entry, record)) = cursor.entry() else { return Ok(None) };
    let (found, revision) = layout::split_version_key(entry)?;
    if found != group {
        return Ok(None);
    }
    Ok(Version::decode(record)?.key_value(|| layout::group_key(group), revision, true))
}

/// Is shown the newest version of a group, at which the cursor stands; may move the cursor on within the group.
type See<'s> = dyn FnMut(&mut dyn Cursor, &[u8], i64, Version<'_>) -> Result<ControlFlow<()>, Error> + 's;

/// Shows the newest version at a revision of each key.
fn groups(cursor: &mut dyn Cursor, at: i64, see: &mut See<'_>) -> Result<(), Error> {
    let mut group = Vec::new();
    while let Some((entry, record)) = cursor.entry() {
        let (found, revision) = layout::split_version_key(entry)?;
        group.clear();
        group.extend_from_slice(found);
        if revision > at {
            skip_newer(cursor, &group, at)?;
            continue;
        }
        let record = Bytes::copy_from_slice(record);
        if see(cursor, &group, revision, Version::decode(&record)?)?.is_break() {
            return Ok(());
        }
        let inside = match cursor.entry() {
            Some((entry, _)) => layout::split_version_key(entry)?.0 == group,
            None => false,
        };
        if inside {
            skip_group(cursor, &mut group)?;
        }
    }
    Ok(())
}
