//! Reads of a database, by whoever can wait for the disk and whoever cannot.

use std::sync::Arc;

use bytes::Bytes;
use rocksdb::{DBRawIterator, ReadOptions, ReadTier};

use super::super::{Cursor, Error, GROUP_END, Pace, Reader};
use super::{Database, error_of};

/// A database as somebody sees it who has so much time.
pub(super) struct View {
    pub(super) database: Arc<Database>,
    pub(super) pace: Pace,
}

impl View {
    fn options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        if self.pace == Pace::AtOnce {
            options.set_read_tier(ReadTier::BlockCache);
        }
        options
    }

    /// Without it the filters would hide what is beyond the group of the key that is sought.
    fn across_groups(&self) -> ReadOptions {
        let mut options = self.options();
        options.set_total_order_seek(true);
        options
    }

    fn scan<'a>(&'a self, mut options: ReadOptions, lower: &[u8], upper: &[u8]) -> Box<dyn Cursor + 'a> {
        options.set_iterate_lower_bound(lower);
        options.set_iterate_upper_bound(upper);
        Box::new(RocksCursor { iterator: self.database.db.raw_iterator_opt(options) })
    }
}

impl Reader for View {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let found = self.database.db.get_pinned_opt(key, &self.options());
        let found = found.map_err(|source| error_of("read", source))?;
        Ok(found.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn cursor<'a>(&'a self, lower: &[u8], upper: &[u8]) -> Box<dyn Cursor + 'a> {
        self.scan(self.across_groups(), lower, upper)
    }

    fn group_cursor<'a>(&'a self, lower: &[u8], upper: &[u8]) -> Box<dyn Cursor + 'a> {
        let mut options = self.options();
        options.set_prefix_same_as_start(true);
        self.scan(options, lower, upper)
    }

    fn passing<'a>(&'a self, lower: &[u8], upper: &[u8]) -> Box<dyn Cursor + 'a> {
        let mut options = self.across_groups();
        options.fill_cache(false);
        self.scan(options, lower, upper)
    }
}

struct RocksCursor<'a> {
    iterator: DBRawIterator<'a>,
}

impl RocksCursor<'_> {
    fn check(&self) -> Result<(), Error> {
        if self.iterator.valid() {
            return Ok(());
        }
        self.iterator.status().map_err(|source| error_of("scan", source))
    }
}

impl Cursor for RocksCursor<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<(), Error> {
        self.iterator.seek(key);
        self.check()
    }

    fn next(&mut self) -> Result<(), Error> {
        self.iterator.next();
        self.check()
    }

    fn entry(&self) -> Option<(&[u8], &[u8])> {
        self.iterator.item()
    }
}

/// Where the group of a key ends, if it has one.
fn group_end(key: &[u8]) -> Option<usize> {
    let at = key.windows(GROUP_END.len()).position(|bytes| bytes == GROUP_END)?;
    Some(at + GROUP_END.len())
}

pub(super) fn group(key: &[u8]) -> &[u8] {
    &key[..group_end(key).unwrap_or(key.len())]
}

pub(super) fn has_group(key: &[u8]) -> bool {
    group_end(key).is_some()
}
