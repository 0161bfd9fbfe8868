//! The high-water mark: how long the log is at least and whose it is, remembered outside of the log.
//!
//! A log that lost its tail looks like a shorter log that is whole. The mark tells the two apart. It is raised after each
//! sync of the log and therefore never says too much; raising is not synced, so after a power failure it may say too
//! little. It only ever grows: a truncated log is a longer sequence of records.
//!
//! The file holds two copies, 512 bytes apart. The second is raised, the first is what was true when the log was opened or
//! closed. They are never written without a sync in between, so a crash leaves one of them.
//!
//! | offset in a copy | size | field |
//! |---|---|---|
//! | 0 | 8 | cluster |
//! | 8 | 8 | member |
//! | 16 | 8 | the first sequence that may be missing |
//! | 24 | 4 | life: how often the log was opened |
//! | 28 | 8 | incarnation: a random number from when the log was created |
//! | 36 | 4 | crc32c of the former |

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::disk::{Disk, File};
use crate::record::Owner;

const BYTES: usize = 40;

/// Where the copies begin: the one from the last opening, and the one that is raised.
const SETTLED: u64 = 0;
const RAISED: u64 = 512;

const NAME: &str = "mark";

/// The file that holds the mark.
pub(super) struct Mark {
    file: Arc<dyn File>,
    owner: Owner,
    next: u64,
    life: u32,
    incarnation: u64,
}

/// What a copy says.
struct Copied {
    owner: Owner,
    next: u64,
    life: u32,
    incarnation: u64,
}

fn damaged(detail: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, detail)
}

/// Reads a copy, if it is whole.
fn read(file: &dyn File, at: u64) -> io::Result<Option<Copied>> {
    let mut bytes = [0; BYTES];
    let read = file.read_at(at, &mut bytes)?;
    let (fields, crc) = bytes.split_at(BYTES - 4);
    if read < BYTES || crc32c::crc32c(fields).to_le_bytes() != crc {
        return Ok(None);
    }
    let long = |at: usize| u64::from_le_bytes(fields[at..at + 8].try_into().expect("eight bytes"));
    let life = u32::from_le_bytes(fields[24..28].try_into().expect("four bytes"));
    let owner = Owner { cluster: long(0), member: long(8) };
    Ok(Some(Copied { owner, next: long(16), life, incarnation: long(28) }))
}

impl Mark {
    /// Whether there is one.
    pub(super) fn exists(names: &[String]) -> bool {
        names.iter().any(|name| name == NAME)
    }

    /// Creates the mark of an empty log, durably.
    pub(super) fn create(disk: &dyn Disk, directory: &Path, owner: Owner) -> io::Result<Self> {
        let fresh = directory.join("mark.new");
        let incarnation = RandomState::new().build_hasher().finish();
        let mark = Self { file: disk.create(&fresh)?, owner, next: 1, life: 0, incarnation };
        mark.write(SETTLED)?;
        mark.write(RAISED)?;
        mark.file.sync()?;
        disk.rename(&fresh, &directory.join(NAME))?;
        disk.sync_dir(directory)?;
        Ok(mark)
    }

    /// Opens the mark of an existing log.
    pub(super) fn open(disk: &dyn Disk, directory: &Path) -> io::Result<Self> {
        let file = disk.open(&directory.join(NAME))?;
        let copies = [read(&*file, SETTLED)?, read(&*file, RAISED)?];
        let newest = copies.into_iter().flatten().max_by_key(|copy| (copy.life, copy.next));
        let Copied { owner, next, life, incarnation } =
            newest.ok_or_else(|| damaged("the mark does not match its checksum"))?;
        Ok(Self { file, owner, next, life, incarnation })
    }

    /// Begins a new life, durably: no other ever had this number.
    pub(super) fn begin_life(&mut self) -> io::Result<u32> {
        self.life = self.life.checked_add(1).ok_or_else(|| damaged("the log was opened too often"))?;
        for copy in [RAISED, SETTLED] {
            self.write(copy)?;
            self.file.sync()?;
        }
        Ok(self.life)
    }

    /// Whose log it is.
    pub(super) fn owner(&self) -> Owner {
        self.owner
    }

    /// Which of all logs this member ever had it is.
    pub(super) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// The log holds every record below this sequence.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Records that the log is durable below `next`.
    pub(super) fn raise(&mut self, next: u64) -> io::Result<()> {
        if next > self.next {
            self.next = next;
            self.write(RAISED)?;
        }
        Ok(())
    }

    /// Makes the mark durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn write(&self, at: u64) -> io::Result<()> {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&self.owner.cluster.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.owner.member.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.next.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.life.to_le_bytes());
        bytes[28..36].copy_from_slice(&self.incarnation.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..BYTES - 4]);
        bytes[BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        self.file.write_at(at, &bytes)
    }
}
