//! Reading a range of keys as they were at a revision.

use std::ops::ControlFlow;

use store_client::{KeyRange, Range, RangeResult, Revision};

use super::entry::{Entry, Written};
use super::layout;
use super::{Error, overlay::Overlay};
use crate::engine::{Cursor, Reader};
use crate::limits::SCAN_STEPS_BEFORE_SEEK;

/// Takes the version that a key has; may end the scan.
pub type Visitor<'v> = dyn FnMut(&Written<'_>) -> Result<ControlFlow<()>, Error> + 'v;

/// Calls `visit` with each key of the range that existed at the revision, in key order.
pub fn visit(
    reader: &dyn Reader,
    overlay: &Overlay,
    keys: &KeyRange,
    at: i64,
    visit: &mut Visitor<'_>,
) -> Result<(), Error> {
    if let KeyRange::Key(key) = keys {
        return visit_one(reader, overlay, key, at, visit);
    }
    let (lower, upper) = layout::range_bounds(keys);
    if lower >= upper {
        return Ok(());
    }
    let mut cursor = overlay.over(reader.cursor(&lower, &upper), &upper);
    walk(cursor.as_mut(), &lower, at, visit)
}

fn walk(cursor: &mut dyn Cursor, lower: &[u8], at: i64, visit: &mut Visitor<'_>) -> Result<(), Error> {
    cursor.seek(lower)?;
    let mut group = Vec::new();
    while let Some(entry) = Entry::at(cursor)? {
        group.clear();
        group.extend_from_slice(entry.group);
        if entry.revision > at {
            // Too new: step or seek to what the key was at the time.
            skip_newer(cursor, &group, at)?;
            continue;
        }
        if let Some(written) = entry.written()?
            && visit(&written)?.is_break()
        {
            return Ok(());
        }
        skip_group(cursor, &mut group)?;
    }
    Ok(())
}

/// The same for one key: straight to the version it had, without stepping over newer or older ones.
fn visit_one(
    reader: &dyn Reader,
    overlay: &Overlay,
    key: &[u8],
    at: i64,
    visit: &mut Visitor<'_>,
) -> Result<(), Error> {
    let (lower, upper) = (layout::version_key(key, at), layout::key_end(key));
    let mut cursor = overlay.over(reader.group_cursor(&lower, &upper), &upper);
    cursor.seek(&lower)?;
    if let Some(entry) = Entry::at(cursor.as_ref())?
        && let Some(written) = entry.written()?
    {
        // There is nothing to go on to, whatever the visitor says.
        let _ended = visit(&written)?;
    }
    Ok(())
}

/// Leaves the versions of this group that are newer than the revision.
pub(super) fn skip_newer(cursor: &mut dyn Cursor, group: &[u8], at: i64) -> Result<(), Error> {
    for _ in 0..SCAN_STEPS_BEFORE_SEEK {
        cursor.next()?;
        let Some((entry, _)) = cursor.entry() else { return Ok(()) };
        let (found, revision) = layout::split_version_key(entry)?;
        if found != group || revision <= at {
            return Ok(());
        }
    }
    let mut target = group.to_vec();
    target.extend_from_slice(&(!at.cast_unsigned()).to_be_bytes());
    Ok(cursor.seek(&target)?)
}

/// Leaves the versions of this group.
pub(super) fn skip_group(cursor: &mut dyn Cursor, group: &mut [u8]) -> Result<(), Error> {
    for _ in 0..SCAN_STEPS_BEFORE_SEEK {
        cursor.next()?;
        match cursor.entry() {
            Some((entry, _)) if layout::split_version_key(entry)?.0 == &*group => {}
            Some(_) | None => return Ok(()),
        }
    }
    *group.last_mut().expect("a group ends with its end mark") += 1;
    Ok(cursor.seek(group)?)
}

/// Answers a read at a revision that is known to be readable. `Err(bytes)` when the answer would exceed
/// `bytes_max`.
pub fn range(
    reader: &dyn Reader,
    overlay: &Overlay,
    range: &Range,
    at: i64,
    bytes_max: usize,
) -> Result<Result<RangeResult, TooLarge>, Error> {
    let mut result = RangeResult { revision: Revision(at), ..RangeResult::default() };
    let mut bytes = 0;
    visit(reader, overlay, &range.keys, at, &mut |written| {
        result.count += 1;
        if range.count_only {
            return Ok(ControlFlow::Continue(()));
        }
        if range.limit > 0 && result.kvs.len() == range.limit {
            result.more = true;
            return Ok(ControlFlow::Continue(()));
        }
        let kv = written.key_value(written.key(), !range.keys_only)?;
        bytes += kv.key.len() + kv.value.len();
        result.kvs.push(kv);
        Ok(if bytes > bytes_max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(if bytes > bytes_max { Err(TooLarge) } else { Ok(result) })
}

/// Reads the beginning of a range at a revision that is known to be readable: as many keys as its limit, and until there are
/// `bytes_max`. Looks no further, so it counts what it found; there may be more.
pub fn page(reader: &dyn Reader, range: &Range, at: i64, bytes_max: usize) -> Result<RangeResult, Error> {
    let mut result = RangeResult { revision: Revision(at), ..RangeResult::default() };
    let (lower, upper) = layout::range_bounds(&range.keys);
    if lower >= upper {
        return Ok(result);
    }
    let mut bytes = 0;
    walk(reader.passing(&lower, &upper).as_mut(), &lower, at, &mut |written| {
        if result.kvs.len() == range.limit || bytes >= bytes_max {
            result.more = true;
            return Ok(ControlFlow::Break(()));
        }
        let kv = written.key_value(written.key(), !range.keys_only)?;
        bytes += kv.key.len() + kv.value.len();
        result.count += 1;
        result.kvs.push(kv);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(result)
}

/// The answer does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;
