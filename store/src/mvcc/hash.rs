//! A hash of the readable content, equal on all members at the same revision (invariant S5).

use super::Error;
use super::layout::{self, Version};
use crate::engine::Reader;

/// CRC-32C over every version that can be read between `compacted` and `revision`, in key order: what compaction
/// has made unreadable does not count, whether or not it has been removed from this member's disk.
pub fn content(reader: &dyn Reader, compacted: i64, revision: i64) -> Result<u32, Error> {
    let (lower, upper) = layout::table(layout::VERSIONS);
    let mut cursor = reader.cursor(&lower, &upper);
    cursor.seek(&lower)?;
    let mut hash = 0;
    let mut group = Vec::new();
    let mut base_seen = false;
    while let Some((entry, record)) = cursor.entry() {
        let (found, at) = layout::split_version_key(entry)?;
        if found != group {
            group.clear();
            group.extend_from_slice(found);
            base_seen = false;
        }
        let readable = at > compacted || !base_seen;
        base_seen |= at <= compacted;
        let superfluous = at < compacted && matches!(Version::decode(record)?, Version::Deleted);
        if at <= revision && readable && !superfluous {
            hash = crc32c::crc32c_append(hash, entry);
            hash = crc32c::crc32c_append(hash, record);
        }
        cursor.next()?;
    }
    Ok(hash)
}
