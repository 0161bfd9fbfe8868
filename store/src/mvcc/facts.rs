//! The few single records of the state.
//!
//! | name | value |
//! |---|---|
//! | `format` | u8, the version of the layout |
//! | `now` | revision u64 LE, compacted u64 LE |
//! | `position` | opaque record of Raft: how far the log has been applied |
//! | `scrubbed` | u64 LE: versions superseded up to this revision have been removed from this member's disk |

use bytes::{BufMut, Bytes, BytesMut};

use super::{Error, layout};
use crate::engine::{Batch, Reader};

/// Version of the layout this code reads and writes. In the first, records of changes did not name the version before.
pub const FORMAT: u8 = 2;

const NAME_FORMAT: &[u8] = b"format";
const NAME_NOW: &[u8] = b"now";
const NAME_POSITION: &[u8] = b"position";
const NAME_SCRUBBED: &[u8] = b"scrubbed";

/// Where the store stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The newest revision; 1 in an empty store, as in etcd.
    pub revision: i64,
    /// The oldest revision that can be read; 0 when nothing was compacted.
    pub compacted: i64,
}

impl Default for Facts {
    fn default() -> Self {
        Self { revision: 1, compacted: 0 }
    }
}

fn name(fact: &[u8]) -> Bytes {
    let mut key = BytesMut::with_capacity(1 + fact.len());
    key.put_u8(layout::FACTS);
    key.put_slice(fact);
    key.freeze()
}

/// Where Raft's position is stored.
pub fn position_key() -> Bytes {
    name(NAME_POSITION)
}

/// Refuses a layout of another version.
pub fn check_format(reader: &dyn Reader) -> Result<(), Error> {
    match reader.get(&name(NAME_FORMAT))?.as_deref() {
        None | Some([FORMAT]) => Ok(()),
        Some([found]) => Err(Error::Format { found: *found }),
        Some(found) => Err(Error::corrupt("format", format!("{found:?}"))),
    }
}

/// Reads where the store stands; refuses a layout of another version.
pub fn read(reader: &dyn Reader) -> Result<Facts, Error> {
    check_format(reader)?;
    let Some(now) = reader.get(&name(NAME_NOW))? else { return Ok(Facts::default()) };
    decode_now(&now)
}

/// Where it is written where the store stands.
pub fn now_key() -> Bytes {
    name(NAME_NOW)
}

/// Reads the record at [`now_key`].
pub fn decode_now(now: &[u8]) -> Result<Facts, Error> {
    let field =
        |at: usize| now.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(i64::from_le_bytes);
    match (field(0), field(8)) {
        // No store ever counts half as far; and from there on, counting on would overflow.
        (Some(revision), Some(compacted))
            if (0..=revision).contains(&compacted) && revision < i64::MAX / 2 =>
        {
            Ok(Facts { revision, compacted })
        }
        _ => Err(Error::corrupt("facts", format!("{now:?}"))),
    }
}

/// Records where the store stands.
pub fn write(facts: Facts, batch: &mut Batch) {
    let mut now = BytesMut::with_capacity(16);
    now.put_i64_le(facts.revision);
    now.put_i64_le(facts.compacted);
    batch.put(name(NAME_FORMAT), Bytes::from_static(&[FORMAT]));
    batch.put(name(NAME_NOW), now.freeze());
}

/// The position Raft stored last.
pub fn read_position(reader: &dyn Reader) -> Result<Option<Bytes>, Error> {
    Ok(reader.get(&name(NAME_POSITION))?)
}

/// Stores Raft's position with the effects it describes.
pub fn write_position(position: Bytes, batch: &mut Batch) {
    batch.put(name(NAME_POSITION), position);
}

/// How far compacted versions have been removed here.
pub fn read_scrubbed(reader: &dyn Reader) -> Result<i64, Error> {
    let Some(record) = reader.get(&name(NAME_SCRUBBED))? else { return Ok(0) };
    let field = record.as_ref().try_into().map(i64::from_le_bytes);
    field
        .ok()
        .filter(|revision| *revision >= 0)
        .ok_or_else(|| Error::corrupt("scrub progress", format!("{record:?}")))
}

/// Records how far compacted versions have been removed here.
pub fn write_scrubbed(revision: i64, batch: &mut Batch) {
    batch.put(name(NAME_SCRUBBED), Bytes::copy_from_slice(&revision.to_le_bytes()));
}
