//! The high-water mark: how long the log is at least, remembered outside of the log.
//!
//! A log that lost its tail looks like a shorter log that is whole. The mark tells the two apart. It is written after
//! each sync of the log and therefore never says too much; it is not synced itself, so after a power failure it
//! may say too little. Before the log is truncated on purpose the mark is lowered, durably.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | number of the first index that may be missing, little-endian |
//! | 8 | 4 | crc32c of the former, little-endian |

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const BYTES: usize = 12;

/// The file that holds the mark.
pub(super) struct Mark {
    file: File,
    next: u64,
}

impl Mark {
    /// Creates the mark of an empty log, durably.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        let mut mark = Self { file, next: 0 };
        mark.set(0)?;
        mark.sync()?;
        Ok(mark)
    }

    /// Opens the mark of an existing log.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut bytes = [0; BYTES];
        file.read_exact_at(&mut bytes, 0)?;
        let (next, crc) = bytes.split_at(8);
        if crc32c::crc32c(next).to_le_bytes() != crc {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the mark does not match its checksum"));
        }
        let next = u64::from_le_bytes(next.try_into().expect("eight bytes"));
        Ok(Self { file, next })
    }

    /// The log holds every index below this one, or has purged it.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Records that the log is durable below `next`.
    pub(super) fn set(&mut self, next: u64) -> io::Result<()> {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&next.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..8]);
        bytes[8..].copy_from_slice(&crc.to_le_bytes());
        self.file.write_all_at(&bytes, 0)?;
        self.next = next;
        Ok(())
    }

    /// Makes the mark durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
