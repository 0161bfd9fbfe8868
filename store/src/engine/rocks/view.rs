//! Reads of a database, by whoever can wait for the disk and whoever cannot.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use rocksdb::{DB, DBRawIterator, ReadOptions, ReadTier, SnapshotWithThreadMode};

use super::super::{Cursor, Error, GROUP_END, Pace, Reader, VERSIONS};
use super::apart::{self, Found};
use super::{Database, error_of};
use crate::limits;

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

    fn scan<'a>(&'a self, mut options: ReadOptions, lower: &[u8], upper: &[u8]) -> RocksCursor<'a> {
        options.set_iterate_lower_bound(lower);
        options.set_iterate_upper_bound(upper);
        // Both kinds of reads as of one moment: what is apart goes with its key.
        let rests = has_versions(lower, upper).then(|| Rests::As(self.moment()));
        if let Some(Rests::As(Moment { snapshot, .. })) = &rests {
            options.set_snapshot(snapshot);
        }
        let iterator = self.database.db.raw_iterator_opt(options);
        RocksCursor { iterator, rests, database: &self.database }
    }

    /// The same without a snapshot. While there is one, RocksDB keeps in the tables that it merges what was removed since, and forgets to look again.
    fn scan_long<'a>(
        &'a self,
        options: &dyn Fn() -> ReadOptions,
        lower: &[u8],
        upper: &[u8],
    ) -> RocksCursor<'a> {
        let Database { db, .. } = &*self.database;
        for _ in 0..limits::ENGINE_LOOKS_AT_A_MOMENT_MAX {
            let before = db.latest_sequence_number();
            let mut bounded = options();
            bounded.set_iterate_lower_bound(lower);
            bounded.set_iterate_upper_bound(upper);
            let iterator = db.raw_iterator_opt(bounded);
            let rests = db.raw_iterator_cf_opt(self.database.apart(), options());
            if db.latest_sequence_number() == before {
                let rests = Some(Rests::Beside(RefCell::new(rests)));
                return RocksCursor { iterator, rests, database: &self.database };
            }
        }
        self.scan(options(), lower, upper)
    }

    fn moment(&self) -> Moment<'_> {
        let snapshot = self.database.db.snapshot();
        let mut options = self.options();
        options.set_snapshot(&snapshot);
        Moment { options, snapshot }
    }
}

fn has_versions(lower: &[u8], upper: &[u8]) -> bool {
    lower < &[VERSIONS + 1][..] && upper > &[VERSIONS][..]
}

/// What there was when this was made. The options name the snapshot.
struct Moment<'a> {
    options: ReadOptions,
    snapshot: SnapshotWithThreadMode<'a, DB>,
}

/// Where a cursor finds what is apart.
enum Rests<'a> {
    /// One by one.
    As(Moment<'a>),
    /// By an iterator that sees what the cursor sees.
    Beside(RefCell<DBRawIterator<'a>>),
}

impl Reader for View {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        if key.first() == Some(&VERSIONS) {
            let mut cursor = self.cursor(key, &[key, &[0]].concat());
            cursor.seek(key)?;
            return cursor.entry().is_some().then(|| cursor.value_from(0)).transpose();
        }
        let found = self.database.db.get_pinned_opt(key, &self.options());
        let found = found.map_err(|source| error_of("read", source))?;
        Ok(found.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn cursor<'a>(&'a self, lower: &[u8], upper: &[u8]) -> Box<dyn Cursor + 'a> {
        Box::new(self.scan(self.across_groups(), lower, upper))
    }

    fn group_cursor<'a>(&'a self, lower: &[u8], upper: &[u8]) -> Box<dyn Cursor + 'a> {
        let mut options = self.options();
        options.set_prefix_same_as_start(true);
        Box::new(self.scan(options, lower, upper))
    }

    fn passing<'a>(&'a self, lower: &[u8], upper: &[u8]) -> Box<dyn Cursor + 'a> {
        let options = || {
            let mut options = self.across_groups();
            options.fill_cache(false);
            options
        };
        match has_versions(lower, upper) {
            true => Box::new(self.scan_long(&options, lower, upper)),
            false => Box::new(self.scan(options(), lower, upper)),
        }
    }

    fn inspect(&self, place: &[u8], bytes: usize) -> Result<Option<Bytes>, Error> {
        let mut options = self.options();
        options.fill_cache(false);
        // Made anew each time: while there is one, tables that were merged are kept.
        let mut rests = self.database.db.raw_iterator_cf_opt(self.database.apart(), options);
        rests.seek(place);
        let mut looked_at = 0;
        while let Some((key, rest)) = rests.item() {
            if looked_at >= bytes {
                return Ok(Some(Bytes::copy_from_slice(key)));
            }
            looked_at += key.len() + rest.len();
            rests.next();
        }
        rests.status().map_err(|source| error_of("look at long values", source))?;
        Ok(None)
    }
}

struct RocksCursor<'a> {
    iterator: DBRawIterator<'a>,
    /// If there are versions among what it sees. After the iterator, as that must not outlive a snapshot.
    rests: Option<Rests<'a>>,
    database: &'a Database,
}

impl RocksCursor<'_> {
    fn check(&self) -> Result<(), Error> {
        if self.iterator.valid() {
            return Ok(());
        }
        self.iterator.status().map_err(|source| error_of("scan", source))
    }

    fn found(&self) -> Option<(&[u8], Found<'_>)> {
        self.iterator.item().map(|(key, stored)| (key, Found::of(key, stored)))
    }

    /// Shows the rest of a version's value, if it is there.
    fn rest<T>(&self, version: &[u8], see: impl FnOnce(Option<&[u8]>) -> T) -> Result<T, rocksdb::Error> {
        let key = apart::key_of(version);
        match &self.rests {
            None => Ok(see(None)),
            Some(Rests::As(Moment { options, .. })) => {
                let rest = self.database.db.get_pinned_cf_opt(self.database.apart(), key, options)?;
                Ok(see(rest.as_deref()))
            }
            Some(Rests::Beside(iterator)) => {
                let mut iterator = iterator.borrow_mut();
                iterator.seek(&key);
                iterator.status()?;
                Ok(see(iterator.item().filter(|(found, _)| *found == key).map(|(_, rest)| rest)))
            }
        }
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
        self.found().map(|(key, found)| (key, found.front))
    }

    fn value_len(&self) -> usize {
        self.found().map_or(0, |(_, found)| found.front.len() + found.rest_len)
    }

    fn value_from(&self, start: usize) -> Result<Bytes, Error> {
        let (key, found) = self.found().expect("a cursor has a value on an entry only");
        let joined = match found.rest_len {
            0 => Ok(found.join(start, &[])),
            _ => self.rest(key, |rest| found.join(start, rest.unwrap_or_default())),
        };
        let joined = joined.map_err(|source| error_of("read a long value", source))?;
        joined.map_err(|lost| Error::new("read a long value", lost))
    }

    fn value_sum(&self) -> Result<u32, Error> {
        let (_, found) = self.found().expect("a cursor has a value on an entry only");
        match found.sum {
            Some(sum) => Ok(sum),
            None => Ok(crc32c::crc32c(&self.value_from(0)?)),
        }
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
