//! Which revision was the newest at moments of the past.
//!
//! | table | key | value |
//! |---|---|---|
//! | times | `t`, `!` milliseconds since 1970 UTC u64 BE: newest first | revision i64 LE |
//!
//! The leader's clock travels in a command (invariant S5: applying asks no clock), so every member has the same table, and
//! it survives restarts and changes of the leader. Later moments never have smaller revisions. A moment before one that is
//! known means that a clock was wrong: what the table says of the time since is folded into it, so that a clock that
//! once ran ahead does no lasting harm.

use bytes::{BufMut, Bytes, BytesMut};

use super::Error;
use super::layout::{TIMES, table};
use crate::engine::Reader;

/// A moment and the newest revision then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Milliseconds since 1970 UTC.
    pub unix_ms: u64,
    /// The newest revision.
    pub revision: i64,
}

/// Where a moment stands.
pub fn time_key(unix_ms: u64) -> Bytes {
    let mut key = BytesMut::with_capacity(9);
    key.put_u8(TIMES);
    key.put_u64(!unix_ms);
    key.freeze()
}

/// The moment of an entry.
pub fn time_of(entry: &[u8]) -> Result<u64, Error> {
    let field = entry.get(1..).and_then(|field| field.try_into().ok());
    field
        .map(|field| !u64::from_be_bytes(field))
        .ok_or_else(|| Error::corrupt("time key", format!("{} bytes", entry.len())))
}

/// The value of an entry.
pub fn record(revision: i64) -> Bytes {
    Bytes::copy_from_slice(&revision.to_le_bytes())
}

/// Reads [`record`].
pub fn revision_of(record: &[u8]) -> Result<i64, Error> {
    let field = record.try_into().map(i64::from_le_bytes);
    field.map_err(|_| Error::corrupt("time record", format!("{} bytes", record.len())))
}

/// The last moment at or before a time.
pub fn at(reader: &dyn Reader, unix_ms: u64) -> Result<Option<Noted>, Error> {
    let mut last = None;
    visit(reader, &time_key(unix_ms), &table(TIMES).1, &mut |noted| {
        last = Some(noted);
        false
    })?;
    Ok(last)
}

/// The first moment whose revision is not before `compacted`.
pub fn oldest(reader: &dyn Reader, compacted: i64) -> Result<Option<Noted>, Error> {
    // The table is short: an entry for each second of the window at most.
    let (lower, upper) = table(TIMES);
    let mut oldest = None;
    visit(reader, &lower, &upper, &mut |noted| {
        if noted.revision >= compacted {
            oldest = Some(noted);
        }
        noted.revision >= compacted
    })?;
    Ok(oldest)
}

/// Calls `take` with the moments from one key to before another, newest first, as long as it returns true.
pub fn visit(
    reader: &dyn Reader,
    lower: &[u8],
    upper: &[u8],
    take: &mut dyn FnMut(Noted) -> bool,
) -> Result<(), Error> {
    let mut cursor = reader.cursor(lower, upper);
    cursor.seek(lower)?;
    while let Some((entry, record)) = cursor.entry() {
        if !take(Noted { unix_ms: time_of(entry)?, revision: revision_of(record)? }) {
            return Ok(());
        }
        cursor.next()?;
    }
    Ok(())
}
