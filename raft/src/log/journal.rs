//! The end of the log: records on their way to disk, space for them, and one sync for all of them.
//!
//! A round of records goes to one segment in one write. Space is made before anything of a round is written, so that a
//! full disk is found while nothing is half done; a write then only changes bytes that are there. Segments that no longer
//! count become the next ones, without zeros being written again.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::index::{Index, Segment};
use super::layout::{self, Head, Kind, Stamp, Truncation};
use super::mark::Mark;
use super::read;
use crate::codec;
use crate::disk::{Disk, File};
use crate::entry::{Entry, Payload};
use crate::error::Error;
use crate::limits;
use crate::record::{LogId, Vote};

/// A segment grows in so many steps to its full size, so that a small log is small.
const STEPS: u64 = 16;

/// More than a head takes, in bytes.
const HEAD_BYTES: u64 = 512;

/// More than any record takes that carries no command and no membership, in bytes.
pub(super) const SMALL_BYTES: u64 = 128;

/// Where the log lies.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) directory: PathBuf,
    pub(super) segment_bytes: u64,
    /// Free bytes that the log leaves to others.
    pub(super) reserve_bytes: u64,
}

impl Place {
    /// As [`File::preallocate`], and leaves the reserve alone: what it would take of that is no space to us.
    fn preallocate(&self, file: &dyn File, size: u64) -> io::Result<()> {
        let more = size.saturating_sub(file.size()?);
        if more > 0 && self.has_less_than(self.reserve_bytes.saturating_add(more))? {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "what is free is left to the state"));
        }
        file.preallocate(size)
    }

    /// Whether fewer bytes are free; never without a reserve.
    fn has_less_than(&self, bytes: u64) -> io::Result<bool> {
        Ok(self.reserve_bytes > 0 && self.disk.free_bytes(&self.directory)? < bytes)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// The segment that is written.
pub(super) struct End {
    pub(super) number: u64,
    pub(super) file: Arc<dyn File>,
    /// Where the next record goes.
    pub(super) offset: u64,
}

/// Where the numbers of the records continue.
#[derive(Clone, Copy)]
pub(super) struct Course {
    pub(super) sequence: u64,
    pub(super) life: u32,
}

/// The end of the log.
pub(super) struct Journal {
    place: Place,
    index: Arc<Mutex<Index>>,
    mark: Mark,
    end: Option<End>,
    /// The length of the segment that is written.
    capacity: u64,
    buffer: Vec<u8>,
    course: Course,
    durable: u64,
    head: Head,
    spares: Vec<String>,
    spare_number: u64,
    /// Nothing was purged since segments were last given up.
    tidy: bool,
}

/// More than the entry takes on disk, in bytes.
pub(super) fn entry_bytes(entry: &Entry) -> u64 {
    match &entry.payload {
        Payload::Blank => SMALL_BYTES,
        Payload::Command(command) => SMALL_BYTES + command.len() as u64,
        Payload::Membership(membership) => SMALL_BYTES + codec::encode(membership).len() as u64,
    }
}

/// How many of some entries go into the next record: all that have room, and at least one.
fn fitting(entries: &[Entry]) -> usize {
    let mut bytes = 0;
    let fit = entries.iter().take_while(|entry| {
        bytes += entry_bytes(entry);
        bytes <= limits::LOG_RECORD_BYTES
    });
    fit.count().max(1)
}

fn writing(error: io::Error) -> Error {
    Error::storage("writing the log", error)
}

impl Journal {
    pub(super) fn new(
        place: Place,
        index: Arc<Mutex<Index>>,
        mark: Mark,
        end: Option<End>,
        course: Course,
        head: Head,
        spares: Vec<String>,
    ) -> io::Result<Self> {
        let capacity = end.as_ref().map_or(Ok(0), |end| end.file.size())?;
        let durable = course.sequence;
        let numbers = spares.iter().filter_map(|name| name.strip_prefix("spare-")?.parse::<u64>().ok());
        let spare_number = numbers.max().unwrap_or(0);
        let buffer = Vec::new();
        let tidy = false;
        Ok(Self {
            place,
            index,
            mark,
            end,
            capacity,
            buffer,
            course,
            durable,
            head,
            spares,
            spare_number,
            tidy,
        })
    }

    fn step(&self) -> u64 {
        self.place.segment_bytes / STEPS
    }

    /// Makes sure that small records of so many bytes can be written. `false` when the disk is full; nothing was written then.
    pub(super) fn make_room(&mut self, bytes: u64) -> Result<bool, Error> {
        self.with_spares(|journal| journal.try_make_room(bytes))
    }

    /// The same for entries, which leave room for small records: for votes, and for what lets other entries go.
    pub(super) fn make_room_for_entries(&mut self, bytes: u64) -> Result<bool, Error> {
        let least = (self.step() / 4).max(2 * SMALL_BYTES);
        self.with_spares(|journal| {
            journal.try_make_room(bytes)?;
            journal.try_keep_headroom(bytes, least)
        })
    }

    /// Tries something that needs space, and once more without spares; `false` when there is none.
    fn with_spares(&mut self, mut attempt: impl FnMut(&mut Self) -> io::Result<()>) -> Result<bool, Error> {
        let is_full = |error: &io::Error| error.kind() == io::ErrorKind::StorageFull;
        let outcome = match attempt(self) {
            Err(error) if is_full(&error) => match self.give_up_spares() {
                Ok(true) => attempt(self),
                Ok(false) => return Ok(false),
                Err(error) => Err(error),
            },
            other => other,
        };
        match outcome {
            Ok(()) => Ok(true),
            Err(error) if is_full(&error) => Ok(false),
            Err(error) => Err(Error::storage("making room in the log", error)),
        }
    }

    /// Removes the spares that take space; returns whether there were any.
    fn give_up_spares(&mut self) -> io::Result<bool> {
        let spares = self.spares.len();
        for spare in std::mem::take(&mut self.spares) {
            let path = self.place.path(&spare);
            match self.place.disk.open(&path)?.size()? {
                0 => self.spares.push(spare),
                _ => self.place.disk.remove(&path)?,
            }
        }
        Ok(self.spares.len() < spares)
    }

    fn try_make_room(&mut self, bytes: u64) -> io::Result<()> {
        let step = self.step();
        let Some(end) = &self.end else { return self.roll(bytes) };
        let until = end.offset + self.buffer.len() as u64 + bytes;
        // A round larger than a segment makes one that is larger.
        if until > self.place.segment_bytes.max(self.capacity) && end.offset > HEAD_BYTES {
            return self.roll(bytes);
        }
        if until > self.capacity {
            let generous = (until + step).min(self.place.segment_bytes.max(until));
            match self.place.preallocate(&*end.file, generous) {
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    self.place.preallocate(&*end.file, until)?;
                }
                other => other?,
            }
            self.capacity = end.file.size()?;
        }
        Ok(())
    }

    /// Keeps space at hand beyond what is needed now. `false` when the disk is full.
    pub(super) fn keep_headroom(&mut self) -> Result<bool, Error> {
        let least = self.step() / 2;
        self.with_spares(|journal| journal.try_keep_headroom(0, least))
    }

    /// Has space for `least` bytes at hand beyond what is needed for so many.
    fn try_keep_headroom(&mut self, needed: u64, least: u64) -> io::Result<()> {
        let step = self.step();
        let Some(end) = &self.end else { return Ok(()) };
        let until = end.offset + self.buffer.len() as u64 + needed + least;
        if until <= self.capacity {
            return Ok(());
        }
        if self.capacity < self.place.segment_bytes {
            self.place.preallocate(&*end.file, (self.capacity + step).min(self.place.segment_bytes))?;
            self.capacity = end.file.size()?;
            if until <= self.capacity {
                return Ok(());
            }
        }
        let spare = self.spare()?;
        self.place.preallocate(&*spare, step)
    }

    /// A file that can become a segment.
    fn spare(&mut self) -> io::Result<Arc<dyn File>> {
        if let Some(name) = self.spares.last() {
            return self.place.disk.open(&self.place.path(name));
        }
        self.spare_number += 1;
        let name = format!("spare-{}", self.spare_number);
        let file = self.place.disk.create(&self.place.path(&name))?;
        self.spares.push(name);
        Ok(file)
    }

    /// Goes on to the next segment, which has room for so many bytes.
    fn roll(&mut self, bytes: u64) -> io::Result<()> {
        let file = self.spare()?;
        self.place.preallocate(&*file, (HEAD_BYTES + bytes).max(self.step()))?;
        let number = self.end.as_ref().map_or(1, |end| end.number + 1);
        let Some(spare) = self.spares.last() else { return Err(io::Error::other("the spare is gone")) };
        self.place.disk.rename(&self.place.path(spare), &self.place.path(&layout::segment_name(number)))?;
        self.spares.pop();
        // Before anything is written: the file may still have a former name on disk, under which it must stay whole.
        // Not being able to say so is an error even when the reason is a full disk.
        self.place.disk.sync_dir(&self.place.directory).map_err(io::Error::other)?;
        self.capacity = file.size()?;
        self.index.lock().add(Segment { number, file: Arc::clone(&file) });
        self.end = Some(End { number, file, offset: 0 });
        let head = self.head.clone();
        self.push(Kind::Head, |body| codec::encode_into(&head, body));
        Ok(())
    }

    /// Adds a record to the round and returns where it stands.
    fn push(&mut self, kind: Kind, body: impl FnOnce(&mut Vec<u8>)) -> u64 {
        let end = self.end.as_ref().expect("room was made, so there is a segment");
        let offset = end.offset + self.buffer.len() as u64;
        let stamp = Stamp {
            number: end.number,
            sequence: self.course.sequence,
            durable: self.durable,
            life: self.course.life,
        };
        layout::write_record(&mut self.buffer, stamp, kind, body);
        self.course.sequence += 1;
        offset
    }

    pub(super) fn append(&mut self, entries: &[Entry]) {
        let mut rest = entries;
        while let Some(first) = rest.first() {
            let (together, others) = rest.split_at(fitting(rest));
            let mut chain = self.head.chain;
            let offset = self.push(Kind::Entries, |body| {
                together.iter().for_each(|entry| chain = layout::seal_beside(entry, chain, body));
            });
            self.head.chain = chain;
            self.head.last = together.last().map(|entry| entry.id);
            self.index.lock().note(first.id.index, offset);
            rest = others;
        }
    }

    pub(super) fn vote(&mut self, vote: Vote) {
        self.head.vote = Some(vote);
        self.push(Kind::Vote, |body| codec::encode_into(&vote, body));
    }

    /// Remembers what is committed, if that is news.
    pub(super) fn committed(&mut self, committed: Option<LogId>) {
        if committed != self.head.committed
            && let Some(id) = committed
        {
            self.head.committed = committed;
            self.push(Kind::Committed, |body| codec::encode_into(&id, body));
        }
    }

    pub(super) fn truncate(&mut self, last: Option<LogId>) -> Result<(), Error> {
        // The chain to continue may be in what is not written yet.
        self.write().map_err(writing)?;
        let chain = read::chain_at(&self.index, last)?;
        let truncation = Truncation { last, chain };
        self.push(Kind::Truncation, |body| codec::encode_into(&truncation, body));
        (self.head.last, self.head.chain) = (last, chain);
        self.index.lock().truncate(self.next());
        Ok(())
    }

    pub(super) fn purge(&mut self, upto: LogId) {
        self.push(Kind::Purge, |body| codec::encode_into(&upto, body));
        self.head.purged = self.head.purged.max(Some(upto));
        if self.next() <= upto.index {
            (self.head.last, self.head.chain) = (Some(upto), 0);
        }
        self.index.lock().purge(self.first(), self.next());
        self.tidy = false;
    }

    /// The first index that is not purged.
    fn first(&self) -> u64 {
        self.head.purged.map_or(0, |id| id.index + 1)
    }

    /// The index after the last entry.
    pub(super) fn next(&self) -> u64 {
        self.head.last.map_or(0, |id| id.index + 1)
    }

    fn write(&mut self) -> io::Result<()> {
        let Some(end) = &mut self.end else { return Ok(()) };
        if !self.buffer.is_empty() {
            end.file.write_at(end.offset, &self.buffer)?;
            end.offset += self.buffer.len() as u64;
            self.buffer.clear();
            self.buffer.shrink_to(limits::WRITE_BYTES_MAX);
        }
        Ok(())
    }

    /// Makes the round durable.
    pub(super) fn sync(&mut self) -> Result<(), Error> {
        self.write().map_err(writing)?;
        let Some(end) = &self.end else { return Ok(()) };
        let synced = end.file.sync();
        #[cfg(feature = "known-bugs")]
        let synced = match crate::bugs::is_on(crate::bugs::Bug::M17) {
            true => synced.or_else(|_| end.file.sync()),
            false => synced,
        };
        synced.map_err(|error| Error::storage("syncing the log", error))?;
        self.durable = self.course.sequence;
        Ok(())
    }

    /// Bug M4: what was written before is made durable, what is written now is not.
    #[cfg(feature = "known-bugs")]
    pub(super) fn sync_former(&mut self) -> Result<(), Error> {
        if let Some(end) = &self.end {
            end.file.sync().map_err(|error| Error::storage("syncing the log", error))?;
        }
        self.durable = self.course.sequence;
        self.write().map_err(writing)
    }

    /// After a sync, and after whoever waited for it was told: raises the mark, gives up segments that no longer count.
    pub(super) fn settle(&mut self, closing: bool) -> Result<(), Error> {
        let mut raised = self.mark.raise(self.durable);
        if closing {
            raised = raised.and_then(|()| self.mark.sync());
        }
        raised.map_err(|error| Error::storage("raising the mark of the log", error))?;
        if self.tidy {
            return Ok(());
        }
        self.tidy = true;
        self.give_up().map_err(|error| Error::storage("purging the log", error))
    }

    /// Oldest first: after a crash those that are left have no gap. What is left to the state may soon be all there is: then no
    /// spares are kept.
    fn give_up(&mut self) -> io::Result<()> {
        let short = self.place.has_less_than(self.place.reserve_bytes.saturating_mul(2))?;
        let spares_max = if short { 0 } else { limits::LOG_SPARES_MAX };
        if short {
            self.give_up_spares()?;
        }
        loop {
            let obsolete = self.index.lock().take_obsolete(self.first(), self.next());
            let Some(segment) = obsolete else { return Ok(()) };
            self.spare_number += 1;
            let spare = format!("spare-{}", self.spare_number);
            let path = self.place.path(&layout::segment_name(segment.number));
            if self.spares.len() < spares_max && segment.file.size()? <= self.place.segment_bytes {
                self.place.disk.rename(&path, &self.place.path(&spare))?;
                self.spares.push(spare);
            } else {
                self.place.disk.remove(&path)?;
            }
        }
    }
}

/// Whether a name is that of a spare.
pub(super) fn is_spare(name: &str) -> bool {
    name.starts_with("spare-")
}
