//! Opening the log: reading all of it once, proving that it is whole, and finding its end.
//!
//! A tail that was never acknowledged may be torn and is dropped. Anything else that is missing or changed refuses the
//! start: the log would look like a shorter one (S7).

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::index::{Index, Segment};
use super::journal::{self, Course, End, Journal, Place};
use super::layout::{self, Head, Kind, Sealed, Truncation};
use super::mark::Mark;
use super::memory::Memory;
use super::segment::{Reader, Record};
use crate::codec;
use crate::disk::File;
use crate::error::Error;
use crate::record::{LogId, Owner, Vote};

/// What opening found.
pub(super) struct Opened {
    pub(super) journal: Journal,
    pub(super) index: Arc<Mutex<Index>>,
    pub(super) memory: Memory,
    /// Which of all logs this member ever had it is.
    pub(super) incarnation: u64,
    /// Keeps others out.
    pub(super) lock: Box<dyn Send + Sync>,
}

fn damaged(detail: impl std::fmt::Display) -> Error {
    let detail = format!("{detail}; this member must be replaced by a new one");
    Error::damaged("verifying the log", detail)
}

fn reading(error: io::Error) -> Error {
    Error::storage("reading the log", error)
}

/// Opens the log, creating it when there is none, and proves that it is whole.
pub(super) fn open(place: &Place, owner: Owner, cache_bytes: usize) -> Result<Opened, Error> {
    let unusable =
        |error: io::Error| Error::Directory { path: place.directory.clone(), detail: error.to_string() };
    place.disk.create_dir(&place.directory).map_err(unusable)?;
    let lock = place.disk.lock(&place.path("lock")).map_err(|error| Error::Directory {
        path: place.directory.clone(),
        detail: format!("is another process using it? {error}"),
    })?;
    let names = place.disk.list(&place.directory).map_err(unusable)?;
    refuse_former_format(place, &names)?;
    let mut mark = open_mark(place, owner, &names)?;
    let mut replay = Replay::new(cache_bytes);
    let end = replay.read_all(place, segments(place, &names)?)?;
    replay.check(&mark)?;
    let life = mark.begin_life().map_err(unusable)?;
    let incarnation = mark.incarnation();
    let Replay { memory, chain, sequence, index, .. } = replay;
    let head = Head {
        vote: memory.vote,
        purged: memory.purged,
        committed: memory.committed,
        last: memory.last,
        chain,
    };
    let index = Arc::new(Mutex::new(index));
    let spares = names.into_iter().filter(|name| journal::is_spare(name)).collect();
    let course = Course { sequence, life };
    let journal = Journal::new(place.clone(), Arc::clone(&index), mark, end, course, head, spares);
    Ok(Opened { journal: journal.map_err(reading)?, index, memory, incarnation, lock })
}

fn refuse_former_format(place: &Place, names: &[String]) -> Result<(), Error> {
    match names.iter().any(|name| name == "db") {
        false => Ok(()),
        true => Err(Error::Directory {
            path: place.directory.clone(),
            detail: "it holds a log in the format of an earlier version, which this one does not read; remove this \
                     member and add a new one, or restore a snapshot into an empty directory"
                .into(),
        }),
    }
}

fn open_mark(place: &Place, owner: Owner, names: &[String]) -> Result<Mark, Error> {
    let disk = &*place.disk;
    if !Mark::exists(names) {
        // The mark is there before the first segment.
        if names.iter().any(|name| layout::segment_number(name).is_some()) {
            return Err(damaged("the log lost its mark"));
        }
        let created = Mark::create(disk, &place.directory, owner);
        return created.map_err(|error| Error::storage("creating the log", error));
    }
    let mark = Mark::open(disk, &place.directory);
    let mark = mark.map_err(|error| Error::storage("opening the mark of the log", error))?;
    match mark.owner() {
        found if found == owner => Ok(mark),
        found => Err(Error::ForeignCluster {
            detail: format!(
                "the log belongs to member {:x} of cluster {:x}, not to member {:x} of cluster {:x}",
                found.member, found.cluster, owner.member, owner.cluster
            ),
        }),
    }
}

/// The segments in order, without a gap.
fn segments(place: &Place, names: &[String]) -> Result<Vec<Segment>, Error> {
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| layout::segment_number(name)).collect();
    numbers.sort_unstable();
    if let Some(pair) = numbers.windows(2).find(|pair| pair[0] + 1 != pair[1]) {
        return Err(damaged(format!("segment {} of the log is missing", pair[0] + 1)));
    }
    let open = |number| {
        let file: Arc<dyn File> = place.disk.open(&place.path(&layout::segment_name(number)))?;
        Ok(Segment { number, file })
    };
    numbers.into_iter().map(open).collect::<io::Result<_>>().map_err(reading)
}

/// What the records read so far amount to.
struct Replay {
    memory: Memory,
    chain: u32,
    /// Of the next record.
    sequence: u64,
    life: u32,
    /// The first index that the segments hold.
    base: u64,
    started: bool,
    index: Index,
}

impl Replay {
    fn new(cache_bytes: usize) -> Self {
        let memory = Memory::new(cache_bytes);
        Self { memory, chain: 0, sequence: 1, life: 0, base: 0, started: false, index: Index::default() }
    }

    /// Reads all segments and returns where the log ends. What is behind the end is discarded.
    fn read_all(&mut self, place: &Place, segments: Vec<Segment>) -> Result<Option<End>, Error> {
        let mut end: Option<End> = None;
        let mut discarded = Vec::new();
        for segment in segments {
            let offset = match discarded.is_empty() {
                true => self.read_segment(&segment)?,
                false => 0,
            };
            if offset == 0 {
                if !self.started && segment.number > 1 {
                    return Err(damaged("the log lost its beginning"));
                }
                discarded.push(segment);
                continue;
            }
            // What a killed process wrote may not have been synced, and we are about to build on it.
            segment.file.sync().map_err(|error| Error::storage("syncing the log", error))?;
            end = Some(End { number: segment.number, file: segment.file, offset });
        }
        if let Some(end) = &end {
            self.nothing_later(&Segment { number: end.number, file: Arc::clone(&end.file) }, end.offset)?;
        }
        for segment in &discarded {
            self.nothing_later(segment, 0)?;
        }
        for segment in discarded {
            place.disk.remove(&place.path(&layout::segment_name(segment.number))).map_err(reading)?;
        }
        Ok(end)
    }

    /// Refuses a segment in which something from `offset` on says that more was durable than we found.
    fn nothing_later(&self, segment: &Segment, offset: u64) -> Result<(), Error> {
        #[cfg(feature = "known-bugs")]
        if crate::bugs::is_on(crate::bugs::Bug::M18) {
            return Ok(());
        }
        let reader = Reader::new(Arc::clone(&segment.file), segment.number, offset);
        match reader.betrays_later_than(self.sequence).map_err(reading)? {
            false => Ok(()),
            true => Err(damaged(format!("record {} of the log is damaged or missing", self.sequence))),
        }
    }

    /// Reads a segment up to the first record that is not the next one, and returns where that would be.
    fn read_segment(&mut self, segment: &Segment) -> Result<u64, Error> {
        let mut reader = Reader::new(Arc::clone(&segment.file), segment.number, 0);
        loop {
            let offset = reader.offset();
            let Some(record) = reader.next().map_err(reading)? else { return Ok(offset) };
            let begins = offset == 0;
            if begins != (record.kind == Kind::Head) {
                return Err(damaged(format!("segment {} does not begin with its head", segment.number)));
            }
            if begins && !self.started {
                self.sequence = record.sequence;
            }
            if record.sequence != self.sequence || record.life < self.life {
                // Left behind by a crash, and written over since.
                return Ok(offset);
            }
            if begins {
                self.index.add(segment.clone());
            }
            (self.sequence, self.life) = (record.sequence + 1, record.life);
            self.apply(record)?;
        }
    }

    fn apply(&mut self, record: Record) -> Result<(), Error> {
        match record.kind {
            Kind::Head => self.head(decode(&record)?),
            Kind::Entry | Kind::Entries => self.entries(record),
            Kind::Vote => {
                self.memory.vote = Some(decode::<Vote>(&record)?);
                Ok(())
            }
            Kind::Truncation => {
                let Truncation { last, chain } = decode(&record)?;
                self.memory.truncate(last);
                self.chain = chain;
                self.base = self.base.min(self.memory.next_index());
                self.index.truncate(self.memory.next_index());
                Ok(())
            }
            Kind::Purge => {
                let upto: LogId = decode(&record)?;
                if self.memory.next_index() <= upto.index {
                    self.chain = 0;
                }
                self.memory.purge(upto);
                self.index.purge(self.memory.first_index(), self.memory.next_index());
                Ok(())
            }
            Kind::Committed => {
                self.memory.committed = Some(decode::<LogId>(&record)?);
                Ok(())
            }
        }
    }

    fn head(&mut self, head: Head) -> Result<(), Error> {
        let memory = &mut self.memory;
        if !self.started {
            (memory.vote, memory.purged, memory.committed) = (head.vote, head.purged, head.committed);
            memory.last = head.last;
            self.chain = head.chain;
            self.base = memory.next_index();
            self.started = true;
            return Ok(());
        }
        let found = Head {
            vote: memory.vote,
            purged: memory.purged,
            committed: memory.committed,
            last: memory.last,
            chain: self.chain,
        };
        match found == head {
            true => Ok(()),
            false => Err(damaged(format!("the log holds {found:?} where it should hold {head:?}"))),
        }
    }

    fn entries(&mut self, record: Record) -> Result<(), Error> {
        let mut first = true;
        for sealed in layout::entries(record.kind, record.body) {
            let sealed = sealed.map_err(damaged)?;
            let index = sealed.entry.id.index;
            self.entry(sealed)?;
            if std::mem::take(&mut first) {
                self.index.note(index, record.offset);
            }
        }
        Ok(())
    }

    fn entry(&mut self, sealed: Sealed) -> Result<(), Error> {
        let id = sealed.entry.id;
        let problem = match self.memory.last {
            Some(last) if id.index != last.index + 1 => Some("does not continue the log"),
            Some(last) if id.term < last.term => Some("has an older term than the entry before it"),
            None if id.index != 0 => Some("is not the first entry"),
            _ if !sealed.follows(self.chain) => Some("belongs to another history than the entry before it"),
            _ => None,
        };
        if let Some(problem) = problem {
            return Err(damaged(format!("entry {} {problem}", id.index)));
        }
        self.chain = sealed.chain;
        self.memory.push(sealed.entry.compact());
        self.memory.written_below(id.index + 1);
        Ok(())
    }

    /// What can only be said of the whole.
    fn check(&self, mark: &Mark) -> Result<(), Error> {
        #[cfg(feature = "known-bugs")]
        if crate::bugs::is_on(crate::bugs::Bug::M18) {
            return Ok(());
        }
        if self.sequence < mark.next() {
            return Err(damaged(format!(
                "the log ends before record {} but was durable up to {}",
                self.sequence,
                mark.next()
            )));
        }
        if self.base > self.memory.first_index() {
            return Err(damaged(format!("the log lost what is before entry {}", self.base)));
        }
        let vote_term = self.memory.vote.map_or(0, |vote| vote.term);
        match self.memory.last {
            Some(last) if last.term > vote_term => Err(damaged(format!(
                "entry {} of term {} is newer than the vote of term {vote_term}",
                last.index, last.term
            ))),
            Some(_) | None => Ok(()),
        }
    }
}

fn decode<T: codec::Decode<()>>(record: &Record) -> Result<T, Error> {
    codec::decode_owned(&record.body)
        .map_err(|error| damaged(format!("record {} makes no sense: {error}", record.sequence)))
}
