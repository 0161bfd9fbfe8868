//! The log database: opening it, proving that it is whole, reading runs of entries.

use std::path::Path;

use bytes::Bytes;
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBRecoveryMode, Direction, IteratorMode, LogLevel, Options, ReadOptions,
};

use super::layout;
use super::mark::Mark;
use super::memory::Memory;
use crate::codec;
use crate::entry::Entry;
use crate::error::Error;
use crate::limits;
use crate::record::{LogId, Owner, Vote};

/// Bytes collected in memory before RocksDB writes a file. Large, so that entries are purged before they are
/// ever compacted.
const MEMTABLE_BYTES: usize = 64 << 20;

/// Memtables that may exist at once; more would only hide a disk that is too slow.
const MEMTABLES: i32 = 4;

/// Block cache in bytes. Small: the newest entries are cached as entries, the others are read once.
const BLOCK_CACHE_BYTES: usize = 8 << 20;

/// RocksDB's own log files that are kept.
const DIAGNOSTIC_FILES: usize = 2;

/// What opening found.
pub(super) struct Opened {
    pub(super) db: DB,
    pub(super) mark: Mark,
    pub(super) memory: Memory,
    /// Chain of the last entry.
    pub(super) chain: u32,
}

/// Opens the log in `directory`, creating it when there is none, and proves that it is whole.
pub(super) fn open(directory: &Path, owner: Owner, cache_bytes: usize) -> Result<Opened, Error> {
    let unusable =
        |error: std::io::Error| Error::Directory { path: directory.to_owned(), detail: error.to_string() };
    std::fs::create_dir_all(directory).map_err(unusable)?;
    let mark_path = directory.join("mark");
    let db_path = directory.join("db");
    // The mark is there before the database, so a database without a mark lost it.
    let mark = match db_path.join("CURRENT").exists() {
        true => {
            Mark::open(&mark_path).map_err(|error| Error::storage("opening the mark of the log", error))?
        }
        false => {
            let mark = Mark::create(&mark_path).map_err(unusable)?;
            std::fs::File::open(directory).and_then(|handle| handle.sync_all()).map_err(unusable)?;
            mark
        }
    };
    let options = options().map_err(|error| Error::storage("configuring the log", error))?;
    let db = DB::open(&options, &db_path).map_err(|error| Error::storage("opening the log", error))?;
    claim(&db, owner)?;
    let (memory, chain) = verify(&db, cache_bytes)?;
    if memory.next_index() < mark.next() {
        let detail = format!(
            "the log ends before index {} but was durable up to {}; this member must be replaced by a new one",
            memory.next_index(),
            mark.next()
        );
        return Err(Error::damaged("opening the log", detail));
    }
    Ok(Opened { db, mark, memory, chain })
}

fn options() -> Result<Options, rocksdb::Error> {
    // Not in the binding: never resume after a failed write by itself. A sync that failed once proves nothing
    // when it succeeds later (S7).
    let mut options = Options::default().get_options_from_string("max_bgerror_resume_count=0")?;
    options.create_if_missing(true);
    options.set_paranoid_checks(true);
    // The writer buffers a batch and then writes and syncs it in one go.
    options.set_manual_wal_flush(true);
    // The default would silently drop everything after the first damaged record.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_recycle_log_file_num(0);
    options.set_write_buffer_size(MEMTABLE_BYTES);
    options.set_max_write_buffer_number(MEMTABLES);
    options.set_keep_log_file_num(DIAGNOSTIC_FILES);
    options.set_log_level(LogLevel::Warn);
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&Cache::new_lru_cache(BLOCK_CACHE_BYTES));
    options.set_block_based_table_factory(&blocks);
    Ok(options)
}

/// Makes sure that the log belongs to us.
fn claim(db: &DB, owner: Owner) -> Result<(), Error> {
    match meta::<Owner>(db, layout::OWNER)? {
        Some(found) if found == owner => Ok(()),
        Some(found) => {
            let detail = format!(
                "the log belongs to member {:x} of cluster {:x}, not to member {:x} of cluster {:x}",
                found.member, found.cluster, owner.member, owner.cluster
            );
            Err(Error::ForeignCluster { detail })
        }
        None => db
            .put(layout::OWNER, codec::encode(&owner))
            .and_then(|()| db.flush_wal(true))
            .map_err(|error| Error::storage("writing the owner of the log", error)),
    }
}

fn meta<T: codec::Decode<()>>(db: &DB, key: &[u8]) -> Result<Option<T>, Error> {
    let value = db.get(key).map_err(|error| Error::storage("reading the log", error))?;
    let Some(value) = value else { return Ok(None) };
    codec::decode_owned(&value).map(Some).map_err(|error| {
        Error::damaged("reading the log", format!("{}: {error}", String::from_utf8_lossy(key)))
    })
}

/// Reads the whole log once: no hole, no damage, no entry of another history, no entry newer than the vote.
fn verify(db: &DB, cache_bytes: usize) -> Result<(Memory, u32), Error> {
    let mut memory = Memory::new(cache_bytes);
    memory.vote = meta::<Vote>(db, layout::VOTE)?;
    memory.purged = meta::<LogId>(db, layout::PURGED)?;
    memory.last = memory.purged;
    memory.committed = meta::<LogId>(db, layout::COMMITTED)?;
    let mut chain = None;
    let first = memory.first_index();
    scan(db, first, u64::MAX, |sealed| {
        let id = sealed.entry.id;
        let problem = match (memory.last, chain) {
            (Some(last), _) if id.index != last.index + 1 => Some("does not continue the log"),
            (None, _) if id.index != 0 => Some("is not the first entry"),
            (Some(last), _) if id.term < last.term => Some("has an older term than the entry before it"),
            (_, Some(chain)) if !sealed.follows(chain) => {
                Some("belongs to another history than the entry before it")
            }
            _ => None,
        };
        if let Some(problem) = problem {
            return Err(Error::damaged("verifying the log", format!("entry {} {problem}", id.index)));
        }
        chain = Some(sealed.chain);
        memory.push(sealed.entry);
        memory.written_below(id.index + 1);
        Ok(true)
    })?;
    let vote_term = memory.vote.map_or(0, |vote| vote.term);
    match memory.last {
        Some(last) if last.term > vote_term => {
            let detail = format!(
                "entry {} of term {} is newer than the vote of term {vote_term}",
                last.index, last.term
            );
            Err(Error::damaged("verifying the log", detail))
        }
        _ => Ok((memory, chain.unwrap_or(0))),
    }
}

/// Hands the entries from `from` to before `to` to `take` until it returns false. Every crc is checked.
fn scan(
    db: &DB,
    from: u64,
    to: u64,
    mut take: impl FnMut(layout::Sealed) -> Result<bool, Error>,
) -> Result<(), Error> {
    let mut bounds = ReadOptions::default();
    bounds.set_iterate_upper_bound(match to {
        u64::MAX => layout::ENTRIES_END.to_vec(),
        to => layout::key(to).to_vec(),
    });
    let start = layout::key(from);
    for item in db.iterator_opt(IteratorMode::From(&start, Direction::Forward), bounds) {
        let (key, value) = item.map_err(|error| Error::storage("reading the log", error))?;
        let index = layout::index_of(&key)
            .ok_or_else(|| Error::damaged("reading the log", format!("{} bytes long key", key.len())))?;
        let sealed = layout::open(index, Bytes::from(value))
            .map_err(|detail| Error::damaged("reading the log", detail))?;
        if !take(sealed)? {
            break;
        }
    }
    Ok(())
}

/// Appends to `out` the entries from `from` to before `to`, up to `bytes_max` but at least one. All of them
/// must exist.
pub(super) fn read(db: &DB, from: u64, to: u64, bytes_max: usize, out: &mut Vec<Entry>) -> Result<(), Error> {
    let mut bytes: usize = out.iter().map(Entry::bytes).sum();
    let mut next = from;
    let mut full = false;
    scan(db, from, to, |sealed| {
        let entry = sealed.entry;
        if entry.id.index != next {
            return Err(Error::damaged("reading the log", format!("entry {next} is missing")));
        }
        bytes += entry.bytes();
        if bytes > bytes_max && !out.is_empty() {
            full = true;
            return Ok(false);
        }
        next += 1;
        out.push(entry);
        Ok((out.len() as u64) < limits::READ_ENTRIES_MAX.max(to - from))
    })?;
    if next < to && !full {
        return Err(Error::damaged("reading the log", format!("entry {next} is missing")));
    }
    Ok(())
}

/// The chain of the entry at `index`, or zero when it was purged.
pub(super) fn chain_at(db: &DB, index: Option<u64>) -> Result<u32, Error> {
    let Some(index) = index else { return Ok(0) };
    let value = db.get(layout::key(index)).map_err(|error| Error::storage("reading the log", error))?;
    match value {
        None => Ok(0),
        Some(value) => layout::open(index, Bytes::from(value))
            .map(|sealed| sealed.chain)
            .map_err(|detail| Error::damaged("reading the log", detail)),
    }
}
