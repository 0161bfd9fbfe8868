//! RocksDB as the engine of a member.
//!
//! No log of its own: a batch is atomic in the memtables, those of both column families (see [`apart`]) are flushed together, in order and
//! whole, so what survives a crash is a prefix of the batches. Background errors are not resumed
//! (`max_bgerror_resume_count = 0`): a failed flush says nothing about what is on the disk (invariant S7).
//!
//! Memtables and tables have filters of the groups in them, so that a write finds out what it follows, most often nothing or something
//! recent, without a search in each. No filter knows whole keys: facts, which exist, and leases, which most who name
//! them hold, are read by theirs.
//!
//! | in the directory | |
//! |---|---|
//! | `current` | name of the database that counts, replaced by rename |
//! | `db-<n>/removed` | about how many bytes of its tables were removed and not given back yet, and how many they had then |
//! | `db-<n>` | a database; any but the current one is a leftover of an interrupted restore and removed at start |

mod apart;
mod merges;
mod view;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use raft::disk::{Disk as _, RealDisk};
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB,
    DBCompressionType, DEFAULT_COLUMN_FAMILY_NAME, FlushOptions, Options, SliceTransform, WriteBatch,
    WriteOptions, checkpoint::Checkpoint,
};

use super::{Batch, Engine, Error, Pace, Reader, Write as Change};
use crate::limits;
use apart::Stored;
use merges::Merges;
use view::View;

const CURRENT: &str = "current";
/// Names what [`view::group`] does in every table: RocksDB uses no filter that was made for another name.
const GROUPS: &str = "kontiki.groups.1";
/// Bytes a write takes in a batch beyond its key and value: a tag, a family and two lengths, at most.
const WRITE_OVERHEAD_BYTES: usize = 16;

/// An [`Engine`] on RocksDB.
pub struct RocksEngine {
    directory: PathBuf,
    database: ArcSwap<Database>,
    /// Restores exclude each other.
    restoring: Mutex<()>,
}

impl RocksEngine {
    /// Opens the directory, creating it when missing.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        Self::open_with(directory, false)
    }

    /// The same for who has much to write at once and to be quick about it: unless space is short, no tables are merged before
    /// [`settle`](Engine::settle).
    pub fn open_busy(directory: &Path) -> Result<Self, Error> {
        Self::open_with(directory, true)
    }

    fn open_with(directory: &Path, postponed: bool) -> Result<Self, Error> {
        let failed = |source| Error::new("open its directory", source);
        fs::create_dir_all(directory).map_err(failed)?;
        let name = match fs::read_to_string(directory.join(CURRENT)) {
            Ok(name) => name.trim().to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let name = "db-0".to_owned();
                set_current(directory, &name).map_err(failed)?;
                name
            }
            Err(error) => return Err(failed(error)),
        };
        remove_leftovers(directory, &name).map_err(failed)?;
        let database = Database::open(&directory.join(name), postponed)?;
        Ok(Self {
            directory: directory.to_owned(),
            database: ArcSwap::from_pointee(database),
            restoring: Mutex::new(()),
        })
    }
}

impl Engine for RocksEngine {
    fn reader_at(&self, pace: Pace) -> Arc<dyn Reader> {
        Arc::new(View { database: self.database.load_full(), pace })
    }

    fn write_at(&self, pace: Pace, batch: &Batch) -> Result<(), Error> {
        self.database.load().write(batch, pace)
    }

    fn flush(&self) -> Result<bool, Error> {
        self.flush_removals(0)
    }

    fn flush_removals(&self, bytes: u64) -> Result<bool, Error> {
        // A flush that fails half-way cannot be tried again.
        let free = free_bytes(&self.directory)?;
        let database = self.database.load();
        let fits = free >= limits::ENGINE_FLUSH_FREE_BYTES_MIN;
        let merge = database.may_merge(free, if fits { database.packed(bytes) } else { 0 });
        // A flush is followed by a merge at once; and one that is to give back what was removed must find that in a table.
        if !merge {
            database.set_merging(false);
        }
        if fits {
            let mut options = FlushOptions::default();
            options.set_wait(true);
            database
                .db
                .flush_cfs_opt(&database.families(), &options)
                .map_err(|source| Error::new("flush", source))?;
        }
        if merge {
            database.set_merging(true);
        }
        Ok(fits)
    }

    fn checkpoint(&self, into: &Path, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let failed = |source| Error::new("write an image", source);
        let database = self.database.load_full();
        let checkpoint = Checkpoint::new(&database.db).map_err(failed)?;
        checkpoint.create_checkpoint(into).map_err(failed)?;
        // Batches may have been written meanwhile: only the image itself knows what it holds.
        let image = DB::open_for_read_only(&Options::default(), into, false).map_err(failed)?;
        image.get(key).map(|value| value.map(Bytes::from)).map_err(failed)
    }

    fn restore(&self, from: &Path) -> Result<(), Error> {
        let _one_at_a_time = self.restoring.lock();
        let failed = |source| Error::new("take over an image", source);
        let old = self.database.load_full();
        let generation = old.generation() + 1;
        let name = format!("db-{generation}");
        let path = self.directory.join(&name);
        fs::rename(from, &path).map_err(failed)?;
        let database = Database::open(&path, false)?;
        set_current(&self.directory, &name).map_err(failed)?;
        self.database.store(Arc::new(database));
        old.replaced.0.store(true, Ordering::Release);
        Ok(())
    }

    fn settle(&self) -> Result<(), Error> {
        let free = free_bytes(&self.directory)?;
        let database = self.database.load();
        let may = database.may_merge(free, 0);
        let mut merges = database.merges.lock();
        if std::mem::take(&mut merges.postponed) && may {
            database.switch_merging(&mut merges, true);
        }
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        let database = self.database.load();
        database.bytes("rocksdb.total-sst-files-size") + database.bytes("rocksdb.cur-size-all-mem-tables")
    }
}

/// Whether RocksDB says that a checksum did not match, or a part of a value is gone.
pub(super) fn is_corruption(source: &(dyn std::error::Error + 'static)) -> bool {
    let told = source.downcast_ref::<rocksdb::Error>();
    told.is_some_and(|error| error.kind() == rocksdb::ErrorKind::Corruption) || source.is::<apart::Lost>()
}

/// An error of a read or a write, which may have been one that must not wait.
fn error_of(action: &'static str, source: rocksdb::Error) -> Error {
    match source.kind() {
        rocksdb::ErrorKind::Incomplete => Error::would_wait(),
        _ => Error::new(action, source),
    }
}

struct Database {
    db: DB,
    // After `db`, because fields are dropped in this order and an open database needs its files.
    replaced: Replaced,
    path: PathBuf,
    merges: Mutex<Merges>,
}

/// Removes the files of a replaced database once its last reader is gone.
struct Replaced(AtomicBool, PathBuf);

impl Drop for Replaced {
    fn drop(&mut self) {
        if !self.0.load(Ordering::Acquire) {
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.1) {
            tracing::info!(path = %self.1.display(), %error, "a replaced database is removed at the next start");
        }
    }
}

impl Database {
    fn open(path: &Path, postponed: bool) -> Result<Self, Error> {
        let failed = |source| Error::new("open its database", source);
        let cache = Cache::new_lru_cache(limits::ENGINE_CACHE_BYTES);
        let (mut options, mut apart) =
            (options(&cache).map_err(failed)?, apart_options(&cache).map_err(failed)?);
        let tables = tables_bytes(path).map_err(|source| Error::new("look into its database", source))?;
        // Where there are tables a database was made already: making another would forget them.
        options.create_if_missing(tables.is_none());
        // Earlier versions had one.
        options.create_missing_column_families(true);
        let tables = tables.unwrap_or(0);
        let mut merges = merges::recall(path);
        let free = free_bytes(path.parent().unwrap_or(path))?;
        let room = merges.consider(free, tables, 0);
        if !room {
            tracing::info!("there is no room to merge tables");
        }
        // Where space is short, what others wait for may be what a merge gives back.
        merges.postponed = postponed && free >= limits::ENGINE_MERGE_BYTES_MAX;
        merges.off = merges.postponed || !room;
        options.set_disable_auto_compactions(merges.off);
        apart.set_disable_auto_compactions(merges.off);
        let families = [
            ColumnFamilyDescriptor::new(DEFAULT_COLUMN_FAMILY_NAME, options.clone()),
            ColumnFamilyDescriptor::new(apart::FAMILY, apart),
        ];
        let db = DB::open_cf_descriptors(&options, path, families).map_err(failed)?;
        let replaced = Replaced(AtomicBool::new(false), path.to_owned());
        Ok(Self { db, replaced, path: path.to_owned(), merges: Mutex::new(merges) })
    }

    fn write(&self, batch: &Batch, pace: Pace) -> Result<(), Error> {
        // Its size at once instead of by doubling: a full batch is larger than what the allocator keeps at hand.
        let bytes = |(key, change): &(Bytes, Change)| match change {
            Change::Put(value) if value.len() < limits::ENGINE_APART_BYTES_MIN => {
                WRITE_OVERHEAD_BYTES + key.len() + value.len()
            }
            Change::Put(value) => 2 * (WRITE_OVERHEAD_BYTES + key.len()) + apart::PLACE_BYTES + value.len(),
            Change::Delete(_) => 2 * (WRITE_OVERHEAD_BYTES + key.len()),
        };
        let mut writes = WriteBatch::with_capacity_bytes(batch.writes().iter().map(bytes).sum());
        let apart = self.apart();
        for (key, change) in batch.writes() {
            match change {
                Change::Put(value) => match Stored::of(key, value) {
                    Stored::Whole(value) => writes.put(key, value),
                    Stored::Split { place, rest } => {
                        writes.put(key, place);
                        if !rest.is_empty() {
                            writes.put_cf(apart, apart::key_of(key), rest);
                        }
                    }
                },
                Change::Delete(bytes_max) => {
                    writes.delete(key);
                    if apart::may_be(key, *bytes_max) {
                        writes.delete_cf(apart, apart::key_of(key));
                    }
                }
            }
        }
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        // Where flushes do not keep up, a write waits for them.
        options.set_no_slowdown(pace == Pace::AtOnce);
        self.db.write_opt(writes, &options).map_err(|source| error_of("write", source))
    }

    /// Where long values are.
    fn apart(&self) -> &ColumnFamily {
        self.family(apart::FAMILY)
    }

    fn family(&self, name: &str) -> &ColumnFamily {
        self.db.cf_handle(name).expect("a database is opened with both families")
    }

    fn families(&self) -> [&ColumnFamily; 2] {
        [self.family(DEFAULT_COLUMN_FAMILY_NAME), self.apart()]
    }

    fn bytes(&self, property: &str) -> u64 {
        let number = |family| self.db.property_int_value_cf(family, property).ok().flatten().unwrap_or(0);
        self.families().into_iter().map(number).sum()
    }

    fn may_merge(&self, free: u64, removed: u64) -> bool {
        let tables = self.bytes("rocksdb.live-sst-files-size");
        let mut merges = self.merges.lock();
        let before = (merges.removed, merges.tables);
        let may = merges.consider(free, tables, removed);
        // Both: what is given back is told by how the tables shrink.
        let counts = before.0 > 0 || merges.removed > 0;
        if counts
            && (merges.removed, merges.tables) != before
            && let Err(error) = merges::remember(&self.path, &merges)
        {
            tracing::debug!(%error, "how much was removed could not be written down");
        }
        may
    }

    /// How many bytes of tables so many bytes of keys and values are, by what is in the tables now: they are compressed. None when that is not
    /// known: then less is merged than might be.
    fn packed(&self, bytes: u64) -> u64 {
        if bytes == 0 {
            // Most flushes, which need not look into all tables.
            return 0;
        }
        let sizes = self.families().map(|family| self.sizes(family).unwrap_or_default());
        let (raw, blocks) = (sizes[0].0 + sizes[1].0, sizes[0].1 + sizes[1].1);
        let packed = u128::from(bytes) * blocks / raw.max(1);
        u64::try_from(packed).map_or(bytes, |packed| packed.min(bytes))
    }

    /// Bytes of the keys and values in the tables of a family, and of the blocks that hold them.
    fn sizes(&self, family: &ColumnFamily) -> Option<(u128, u128)> {
        let told = self.db.property_value_cf(family, "rocksdb.aggregated-table-properties").ok().flatten()?;
        let number = |name: &str| {
            let mut pairs = told.split(';').filter_map(|pair| pair.trim().split_once('='));
            pairs.find(|(known, _)| *known == name).and_then(|(_, number)| number.parse::<u128>().ok())
        };
        Some((number("raw key size")? + number("raw value size")?, number("data block size")?))
    }

    fn set_merging(&self, on: bool) {
        let mut merges = self.merges.lock();
        if merges.off != on || merges.postponed {
            return;
        }
        match on {
            true => tracing::info!("there is room to merge tables again"),
            false => tracing::info!("there is no room to merge tables"),
        }
        self.switch_merging(&mut merges, on);
    }

    fn switch_merging(&self, merges: &mut Merges, on: bool) {
        merges.off = !on;
        // Options count even if they could not be written down, for which there may be no space.
        let disabled = [("disable_auto_compactions", if on { "false" } else { "true" })];
        for family in self.families() {
            if let Err(error) = self.db.set_options_cf(family, &disabled) {
                tracing::info!(%error, "the storage engine could not write down its options");
            }
        }
    }

    fn generation(&self) -> u64 {
        let name = self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.trim_start_matches("db-").parse().unwrap_or(0)
    }
}

/// Of the database, and of the family of keys.
fn options(cache: &Cache) -> Result<Options, rocksdb::Error> {
    let mut options = common_options()?;
    options.set_atomic_flush(true);
    options.set_paranoid_checks(true);
    options.set_max_open_files(limits::ENGINE_OPEN_FILES_MAX);
    options.set_bytes_per_sync(1 << 20);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_prefix_extractor(SliceTransform::create(GROUPS, view::group, Some(view::has_group)));
    options.set_memtable_prefix_bloom_ratio(limits::ENGINE_MEMTABLE_FILTER_RATIO);
    let mut table = table_options(cache);
    table.set_bloom_filter(10.0, false);
    table.set_whole_key_filtering(false);
    // In one piece, those of a large table have more bytes than there are in one shard of the cache: they would be read for each look.
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(true);
    options.set_block_based_table_factory(&table);
    Ok(options)
}

/// Of the family of what is apart. What is looked for there exists, and tables do not overlap: a filter would say nothing.
fn apart_options(cache: &Cache) -> Result<Options, rocksdb::Error> {
    let mut options = common_options()?;
    let mut table = table_options(cache);
    // Who looks for one value should not have to read the index of all in its table.
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    options.set_block_based_table_factory(&table);
    Ok(options)
}

fn common_options() -> Result<Options, rocksdb::Error> {
    let mut base = Options::default();
    // Only reachable by name: the binding has no setter.
    let by_name = format!(
        "max_bgerror_resume_count=0;bottommost_file_compaction_delay={}",
        limits::ENGINE_TABLES_LEFT_ALONE.as_secs()
    );
    let mut options = base.get_options_from_string(by_name)?;
    options.set_write_buffer_size(limits::ENGINE_MEMTABLE_BYTES);
    options.set_max_write_buffer_number(limits::ENGINE_MEMTABLES_MAX);
    options.set_level_zero_file_num_compaction_trigger(limits::ENGINE_TABLES_BEFORE_MERGE);
    // A table that does little but remove is merged at once, with what it removes; in others removals are about as many as what is written.
    options.add_compact_on_deletion_collector_factory(0, 0, limits::ENGINE_REMOVALS_PART);
    options.set_level_compaction_dynamic_level_bytes(true);
    // The same for the lowest level, which most of all merges write: a denser one makes tables a third smaller, and costs several times the CPU.
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_max_compaction_bytes(limits::ENGINE_MERGE_BYTES_MAX / 2);
    Ok(options)
}

fn table_options(cache: &Cache) -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_block_size(8 << 10);
    table.set_format_version(5);
    table
}

/// Bytes of the tables in a directory, which need not exist; `None` when there are no tables.
fn tables_bytes(directory: &Path) -> io::Result<Option<u64>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut bytes = None;
    for entry in entries {
        let entry = entry?;
        if Path::new(&entry.file_name()).extension().is_some_and(|extension| extension == "sst") {
            *bytes.get_or_insert(0) += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}

fn free_bytes(directory: &Path) -> Result<u64, Error> {
    RealDisk.free_bytes(directory).map_err(|error| Error::new("look for free space", error))
}

fn set_current(directory: &Path, name: &str) -> io::Result<()> {
    let draft = directory.join("current.new");
    let mut file = fs::File::create(&draft)?;
    file.write_all(name.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, directory.join(CURRENT))?;
    fs::File::open(directory)?.sync_all()
}

fn remove_leftovers(directory: &Path, current: &str) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("db-") && name != current {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rocksdb::WaitForCompactOptions;

    use super::super::FRONT_BYTES;
    use super::*;

    #[test]
    fn what_was_removed_is_remembered_where_there_are_tables() {
        let directory = tempfile::tempdir().unwrap();
        let removed = |engine: &RocksEngine| engine.database.load().merges.lock().removed;
        let engine = RocksEngine::open(directory.path()).unwrap();
        let mut batch = Batch::default();
        batch.put(Bytes::from_static(b"key"), Bytes::from(vec![7; 4096]));
        engine.write(&batch).unwrap();
        assert!(engine.flush().unwrap());
        assert!(engine.flush_removals(500).unwrap());
        let remembered = removed(&engine);
        assert!((1..500).contains(&remembered), "{remembered} of 500 bytes of what compresses well");
        drop(engine);
        let engine = RocksEngine::open(directory.path()).unwrap();
        assert_eq!(removed(&engine), remembered);
        let database = engine.database.load().path.clone();
        drop(engine);
        let engine = RocksEngine::open(directory.path()).unwrap();
        batch.put(Bytes::from_static(b"more"), Bytes::from(vec![9; 4096]));
        engine.write(&batch).unwrap();
        assert!(engine.flush().unwrap());
        assert!(engine.flush().unwrap());
        let (known, now) =
            (merges::recall(&database), engine.database.load().bytes("rocksdb.live-sst-files-size"));
        assert_eq!(known.tables, now, "tables that have come since are known, too");
        drop(engine);
        let given_back = Merges { tables: 1 << 20, removed: 1 << 19, ..Merges::default() };
        merges::remember(&database, &given_back).unwrap();
        assert_eq!(removed(&RocksEngine::open(directory.path()).unwrap()), 0, "a merge came before the end");
        for nonsense in ["nonsense", "", "7", "7 x"] {
            fs::write(database.join(merges::REMOVED), nonsense).unwrap();
            assert_eq!(removed(&RocksEngine::open(directory.path()).unwrap()), 0, "{nonsense}");
        }
    }

    #[test]
    fn tables_of_earlier_versions_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let mut earlier = options(&Cache::new_lru_cache(1 << 20)).unwrap();
        earlier.create_if_missing(true);
        earlier.set_compression_type(DBCompressionType::Zstd);
        let value = [7; 4096];
        {
            let db = DB::open(&earlier, directory.path().join("db-0")).unwrap();
            let mut unlogged = WriteOptions::default();
            unlogged.disable_wal(true);
            db.put_opt("key", value, &unlogged).unwrap();
            db.flush().unwrap();
        }
        let engine = RocksEngine::open(directory.path()).unwrap();
        assert_eq!(engine.reader().get(b"key").unwrap().as_deref(), Some(&value[..]));
    }

    #[test]
    fn what_is_apart_goes_with_its_key() {
        let directory = tempfile::tempdir().unwrap();
        let engine = RocksEngine::open(directory.path()).unwrap();
        let database = engine.database.load_full();
        let apart = || {
            let mut rests = database.db.raw_iterator_cf(database.apart());
            rests.seek_to_first();
            std::iter::from_fn(|| {
                let found = rests.valid().then(|| rests.value().unwrap().len());
                rests.next();
                found
            })
            .collect::<Vec<usize>>()
        };
        let key = |sequence: u64| Bytes::from([&b"kname\0\x01"[..], &(!sequence).to_be_bytes()].concat());
        let lengths = [limits::ENGINE_APART_BYTES_MIN - 1, limits::ENGINE_APART_BYTES_MIN, 5000];
        let mut batch = Batch::default();
        for (length, sequence) in lengths.into_iter().zip(1..) {
            batch.put(key(sequence), vec![7; length]);
        }
        engine.write(&batch).unwrap();
        assert_eq!(apart(), [lengths[1] - FRONT_BYTES, lengths[2] - FRONT_BYTES]);
        assert!(engine.flush().unwrap());
        let mut removals = Batch::default();
        removals.delete(key(1));
        removals.delete_short(key(2), lengths[1]);
        engine.write(&removals).unwrap();
        assert_eq!(apart(), [lengths[2] - FRONT_BYTES]);
        database.db.delete_cf(database.apart(), apart::key_of(&key(3))).unwrap();
        let lost = engine.reader().get(&key(3)).unwrap_err();
        assert!(lost.is_corruption(), "{lost}");
    }

    #[test]
    fn what_is_damaged_apart_is_found_by_inspection() {
        let directory = tempfile::tempdir().unwrap();
        let engine = RocksEngine::open(directory.path()).unwrap();
        let mut state = 1_u32;
        for sequence in 1..100_u64 {
            let value = std::iter::repeat_with(|| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            });
            let mut batch = Batch::default();
            batch.put(
                [&b"kname\0\x01"[..], &(!sequence).to_be_bytes()].concat(),
                value.take(5000).collect::<Bytes>(),
            );
            engine.write(&batch).unwrap();
        }
        assert!(engine.flush().unwrap());
        let inspect = |engine: &RocksEngine| {
            let (reader, mut place, mut steps) = (engine.reader(), Bytes::new(), 0);
            while let Some(next) = reader.inspect(&place, 10_000)? {
                (place, steps) = (next, steps + 1);
            }
            Ok::<_, Error>(steps)
        };
        assert!((30..60).contains(&inspect(&engine).unwrap()), "some two values in a step");
        drop(engine);

        let tables = fs::read_dir(directory.path().join("db-0")).unwrap().map(|file| file.unwrap().path());
        let longest = tables.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
        let mut bytes = fs::read(&longest).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&longest, bytes).unwrap();
        let engine = RocksEngine::open(directory.path()).unwrap();
        let damaged = inspect(&engine).unwrap_err();
        assert!(damaged.is_corruption(), "{damaged}");
    }

    #[test]
    fn no_tables_are_merged_while_a_log_is_replayed() {
        let directory = tempfile::tempdir().unwrap();
        let engine = RocksEngine::open_busy(directory.path()).unwrap();
        assert!(engine.database.load().merges.lock().postponed, "this needs 1 GiB of free space");
        let tables = || {
            let told = engine.database.load().db.property_value("rocksdb.num-files-at-level0");
            told.unwrap().unwrap().parse::<i32>().unwrap()
        };
        let due = limits::ENGINE_TABLES_BEFORE_MERGE + 1;
        for number in 0..due {
            let mut batch = Batch::default();
            batch.put(Bytes::from_static(b"key"), number.to_string());
            engine.write(&batch).unwrap();
            assert!(engine.flush().unwrap());
        }
        let merged =
            || engine.database.load().db.wait_for_compact(&WaitForCompactOptions::default()).unwrap();
        merged();
        assert_eq!(tables(), due);
        engine.settle().unwrap();
        merged();
        assert!(tables() < due, "{} tables are not merged", tables());
    }

    #[test]
    fn what_would_wait_for_the_disk_is_not_done_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let one = |key: &'static [u8]| {
            let mut batch = Batch::default();
            batch.put(Bytes::from_static(key), Bytes::from_static(b"value"));
            batch
        };
        let engine = RocksEngine::open(directory.path()).unwrap();
        engine.write_at(Pace::AtOnce, &one(b"k\0\x01a")).unwrap();
        assert!(engine.reader_at(Pace::AtOnce).get(b"k\0\x01a").unwrap().is_some(), "it is in a memtable");
        assert!(engine.flush().unwrap());
        drop(engine);

        let engine = RocksEngine::open(directory.path()).unwrap();
        let (reader, at_once) = (engine.reader(), engine.reader_at(Pace::AtOnce));
        let seek = |reader: &dyn Reader| {
            let mut cursor = reader.group_cursor(b"k", b"l");
            cursor.seek(b"k\0\x01").map(|()| cursor.entry().is_some())
        };
        assert!(at_once.get(b"k\0\x01a").unwrap_err().is_impatience());
        assert!(seek(at_once.as_ref()).unwrap_err().is_impatience());
        assert!(seek(reader.as_ref()).unwrap());
        assert!(seek(at_once.as_ref()).unwrap(), "now it is in memory");
        assert_eq!(at_once.get(b"k\0\x01a").unwrap(), reader.get(b"k\0\x01a").unwrap());

        let stopped = [
            "level0_file_num_compaction_trigger",
            "level0_slowdown_writes_trigger",
            "level0_stop_writes_trigger",
        ];
        let stopped = [(stopped[0], "9"), (stopped[1], "1"), (stopped[2], "1")];
        engine.database.load().db.set_options(&stopped).unwrap();
        assert!(engine.write_at(Pace::AtOnce, &one(b"late")).unwrap_err().is_impatience());
        assert_eq!(reader.get(b"late").unwrap(), None);
    }

    #[test]
    fn what_was_removed_counts_as_it_is_in_tables() {
        let mut state = 1_u64;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u8
        };
        let noisy = (0..1 << 20).map(|_| noise()).collect::<Vec<u8>>();
        for (value, expected) in [(vec![7; 1 << 20], 0..100), (noisy, 900..1001)] {
            let directory = tempfile::tempdir().unwrap();
            let engine = RocksEngine::open(directory.path()).unwrap();
            assert_eq!(engine.database.load().packed(1000), 0, "nothing is in tables yet");
            for (number, piece) in value.chunks(4096).enumerate() {
                let mut batch = Batch::default();
                batch.put(number.to_be_bytes().to_vec(), piece.to_vec());
                engine.write(&batch).unwrap();
            }
            assert!(engine.flush().unwrap());
            let packed = engine.database.load().packed(1000);
            assert!(expected.contains(&packed), "{packed} of 1000 bytes");
        }
    }
}
