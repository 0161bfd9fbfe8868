//! Reading entries that are no longer in memory.

use parking_lot::Mutex;

use super::index::{Index, Run};
use super::layout::{self, Sealed};
use super::segment::Reader;
use crate::entry::Entry;
use crate::error::Error;
use crate::limits;
use crate::record::LogId;

fn damaged(detail: impl Into<String>) -> Error {
    Error::damaged("reading the log", detail)
}

/// Hands the entries of a run from `from` to before `to` to `take` until it returns false. Returns the index it came to.
fn scan(run: Run, from: u64, to: u64, mut take: impl FnMut(Sealed) -> bool) -> Result<u64, Error> {
    let mut next = run.anchor.index;
    let mut reader = Reader::new(run.file, run.anchor.number, run.anchor.offset);
    let end = run.end.min(to);
    while next < end {
        let record = reader.next().map_err(|error| Error::storage("reading the log", error))?;
        let record = record.ok_or_else(|| damaged(format!("entry {next} is missing")))?;
        for sealed in layout::entries(record.kind, record.body) {
            let sealed = sealed.map_err(damaged)?;
            if sealed.entry.id.index != next {
                return Err(damaged(format!(
                    "entry {} stands in the place of {next}",
                    sealed.entry.id.index
                )));
            }
            // What follows in this record may have been cut off.
            if next >= end || next >= from && !take(sealed) {
                return Ok(next);
            }
            next += 1;
        }
    }
    Ok(next)
}

fn run_of(index: &Mutex<Index>, entry: u64) -> Result<Run, Error> {
    index.lock().find(entry).ok_or_else(|| damaged(format!("entry {entry} is missing")))
}

/// Appends to `out` the entries from `from` to before `to`, up to `bytes_max` but at least one. All of them must exist.
pub(super) fn entries(
    index: &Mutex<Index>,
    from: u64,
    to: u64,
    bytes_max: usize,
    out: &mut Vec<Entry>,
) -> Result<(), Error> {
    let mut bytes: usize = out.iter().map(Entry::bytes).sum();
    let entries_max = limits::READ_ENTRIES_MAX.max(to - from);
    let mut next = from;
    let mut full = false;
    while next < to && !full {
        let reached = scan(run_of(index, next)?, next, to, |sealed| {
            bytes += sealed.entry.bytes();
            full = (bytes > bytes_max && !out.is_empty()) || out.len() as u64 >= entries_max;
            if !full {
                // What is read in one piece would otherwise live as long as any entry of it.
                out.push(sealed.entry.compact());
            }
            !full
        })?;
        next = reached;
    }
    Ok(())
}

/// The chain of an entry; zero when there is none, or when it was purged.
pub(super) fn chain_at(index: &Mutex<Index>, id: Option<LogId>) -> Result<u32, Error> {
    let Some(id) = id else { return Ok(0) };
    let Some(run) = index.lock().find(id.index) else { return Ok(0) };
    let mut found = None;
    scan(run, id.index, id.index + 1, |sealed| {
        found = Some((sealed.entry.id, sealed.chain));
        false
    })?;
    match found {
        Some((found, chain)) if found == id => Ok(chain),
        Some((found, _)) => Err(damaged(format!("{found:?} stands in the place of {id:?}"))),
        None => Err(damaged(format!("entry {} is missing", id.index))),
    }
}
