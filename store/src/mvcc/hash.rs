//! A hash of the readable content, equal on all members at the same revision (invariant S5).

use super::layout::{self, Head};
use super::{Error, Facts, sum};
use crate::engine::{Cursor, Reader};

/// CRC-32C over every version that can be read between `compacted` and `revision`, in key order: what compaction
/// has made unreadable does not count, whether or not it has been removed from this member's disk.
pub fn content(reader: &dyn Reader, compacted: i64, revision: i64) -> Result<u32, Error> {
    let (lower, upper) = layout::table(layout::VERSIONS);
    let mut cursor = reader.passing(&lower, &upper);
    cursor.seek(&lower)?;
    let mut content = Content::new(compacted, revision);
    while let Some((entry, _)) = cursor.entry() {
        content.push(entry, &cursor.value()?)?;
        cursor.next()?;
    }
    Ok(content.hash)
}

/// Like [`content`], over what a cursor at the start of the versions table sees, by the sums of long values as they were written: whether those are still
/// the same, it does not find out. `pace` is told how many bytes were looked at since it was told last, and may take its time.
pub fn paced(cursor: &mut dyn Cursor, facts: Facts, pace: &mut dyn FnMut(usize)) -> Result<u32, Error> {
    let mut content = Content::new(facts.compacted, facts.revision);
    while let Some((entry, front)) = cursor.entry() {
        content.take(entry, front, &|hash| {
            Ok(match cursor.value_len() {
                bytes if bytes == front.len() => crc32c::crc32c_append(hash, front),
                bytes => sum::of_both(hash, cursor.value_sum()?, bytes),
            })
        })?;
        pace(entry.len() + front.len());
        cursor.next()?;
    }
    Ok(content.hash)
}

/// The hash under way: takes the entries of the versions table in key order.
#[derive(Debug)]
pub struct Content {
    compacted: i64,
    revision: i64,
    hash: u32,
    keys: u64,
    group: Vec<u8>,
    base_seen: bool,
    newest_seen: bool,
}

impl Content {
    /// Nothing yet of what can be read between two revisions.
    pub fn new(compacted: i64, revision: i64) -> Self {
        Self {
            compacted,
            revision,
            hash: 0,
            keys: 0,
            group: Vec::new(),
            base_seen: false,
            newest_seen: false,
        }
    }

    /// Takes the next entry.
    pub fn push(&mut self, entry: &[u8], record: &[u8]) -> Result<(), Error> {
        self.take(entry, record, &|hash| Ok(crc32c::crc32c_append(hash, record)))
    }

    /// The same by the front of its record, and how the whole changes a hash.
    fn take(
        &mut self,
        entry: &[u8],
        front: &[u8],
        append: &dyn Fn(u32) -> Result<u32, Error>,
    ) -> Result<(), Error> {
        let (found, at) = layout::split_version_key(entry)?;
        if found != self.group {
            self.group.clear();
            self.group.extend_from_slice(found);
            self.base_seen = false;
            self.newest_seen = false;
        }
        let readable = at > self.compacted || !self.base_seen;
        self.base_seen |= at <= self.compacted;
        let deleted = Head::decode(front)?.is_none();
        let superfluous = at < self.compacted && deleted;
        if at > self.revision {
            return Ok(());
        }
        if !self.newest_seen {
            self.newest_seen = true;
            self.keys += u64::from(!deleted);
        }
        if readable && !superfluous {
            self.hash = append(crc32c::crc32c_append(self.hash, entry))?;
        }
        Ok(())
    }

    /// The hash of what was taken.
    pub fn hash(&self) -> u32 {
        self.hash
    }

    /// The keys that exist at the revision.
    pub fn keys(&self) -> u64 {
        self.keys
    }
}
