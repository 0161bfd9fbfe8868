//! Ordered byte keys on some medium: what the store needs from a storage engine.
//!
//! | implementation | for |
//! |---|---|
//! | [`rocks`] | members: bounded memory whatever the size of the data |
//! | [`memory`] | tests and simulation: deterministic, and it can forget what was not flushed |
//! | [`reluctant`] | the same: one of the others that often has to be waited for |
//!
//! An engine knows bytes. It must not know keys, revisions or leases. It keeps no log of its own: the Raft log is
//! its log. After a crash it holds the effects of some prefix of the batches written, at least up to the last
//! [`Engine::flush`]; the position stored inside the batches says which. Any error is final (invariant S7): the
//! member stops, nothing is retried; only what was to be done at once is done again with patience.

pub mod memory;
pub mod reluctant;
pub mod rocks;
#[cfg(test)]
mod suite;

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

/// Ends the part of a key that tells its group: keys that agree up to the first of these belong together, and an engine may prepare to
/// find a group, or to find that there is none, sooner than any other key.
pub const GROUP_END: [u8; 2] = [0x00, 0x01];

/// First byte of the keys of versions. Such a key ends with [`SEQUENCE_BYTES`] that are the less the later it is written, and is written once; so an
/// engine may keep long values of theirs elsewhere, in the order in which they come. A cursor need not have them at hand: see [`Cursor::entry`].
pub const VERSIONS: u8 = b'k';

/// Bytes at the end of the key of a version that say when it was written.
pub const SEQUENCE_BYTES: usize = 8;

/// Bytes of a version's value that a cursor has at hand, if it has so many.
pub const FRONT_BYTES: usize = 32;

/// How long somebody can wait for the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Not at all: what takes more than memory is not done, and an error says so ([`Error::is_impatience`]).
    AtOnce,
    /// As long as it takes.
    Patient,
}

/// Why an engine failed.
#[derive(Debug, thiserror::Error)]
#[error("the storage engine failed to {action}")]
pub struct Error {
    /// What was being done.
    pub action: &'static str,
    /// The cause.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl Error {
    /// An error with its cause.
    pub fn new(action: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { action, source: source.into() }
    }

    /// The error of something that was to be done at once and cannot be.
    pub fn would_wait() -> Self {
        Self::new("do it at once", WouldWait)
    }

    /// Whether it is that of something that was to be done at once: nothing was done, and it may be done with patience.
    pub fn is_impatience(&self) -> bool {
        self.source.is::<WouldWait>()
    }

    /// Whether the medium returned something else than was written, as opposed to failing.
    pub fn is_corruption(&self) -> bool {
        rocks::is_corruption(self.source.as_ref())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the medium would have to be waited for")]
struct WouldWait;

/// Writes that become visible, and later durable, together. The last write of a key counts.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    writes: Vec<(Bytes, Write)>,
}

/// What is done to a key.
#[derive(Clone, Debug)]
pub enum Write {
    /// It has this value.
    Put(Bytes),
    /// It is removed. Its value has no more bytes than this.
    Delete(usize),
}

impl Batch {
    /// Writes a key.
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.writes.push((key.into(), Write::Put(value.into())));
    }

    /// Removes a key; it need not exist.
    pub fn delete(&mut self, key: impl Into<Bytes>) {
        self.delete_short(key, usize::MAX);
    }

    /// Removes a key whose value, if it exists, has no more bytes than this: where that is little there is less to do.
    pub fn delete_short(&mut self, key: impl Into<Bytes>, value_bytes_max: usize) {
        self.writes.push((key.into(), Write::Delete(value_bytes_max)));
    }

    /// The writes in order.
    pub fn writes(&self) -> &[(Bytes, Write)] {
        &self.writes
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}

/// Ordered byte keys.
pub trait Engine: Send + Sync + 'static {
    /// The state as it is now. A later [`restore`](Engine::restore) does not disturb it.
    fn reader_at(&self, pace: Pace) -> Arc<dyn Reader>;

    /// The same for who can wait.
    fn reader(&self) -> Arc<dyn Reader> {
        self.reader_at(Pace::Patient)
    }

    /// Applies a batch atomically. Readers see it when this returns.
    fn write_at(&self, pace: Pace, batch: &Batch) -> Result<(), Error>;

    /// The same for who can wait.
    fn write(&self, batch: &Batch) -> Result<(), Error> {
        self.write_at(Pace::Patient, batch)
    }

    /// Makes everything written durable. `false` when there is no space for that now; nothing was changed then.
    fn flush(&self) -> Result<bool, Error>;

    /// The same when so many bytes were removed, whose space is to be given back soon.
    fn flush_removals(&self, _bytes: u64) -> Result<bool, Error> {
        self.flush()
    }

    /// Writes a consistent and durable image into `into`, which must not exist and is on the same file system.
    /// Returns the value that `key` has in the image, which tells which moment that is.
    fn checkpoint(&self, into: &Path, key: &[u8]) -> Result<Option<Bytes>, Error>;

    /// Replaces the content by the image in `from`, which is consumed. After a crash either the old or the new
    /// content is there.
    fn restore(&self, from: &Path) -> Result<(), Error>;

    /// Says that nobody waits for this engine any more than usual: what it put off may begin. It may have put off nothing.
    fn settle(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Bytes the content takes on the medium, roughly.
    fn size_bytes(&self) -> u64;
}

/// A way to read an engine. It is not a snapshot: each call sees what was written before it.
pub trait Reader: Send + Sync {
    /// The value of one key.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error>;

    /// A cursor over `lower <= key < upper`, not yet positioned. It sees the content as of this call, whatever is
    /// written while it lives.
    fn cursor<'a>(&'a self, lower: &[u8], upper: &[u8]) -> Box<dyn Cursor + 'a>;

    /// The same for looks at single groups (see [`GROUP_END`]), where most of all sought are expected to be missing or in few places: after a seek
    /// it finds what is in the group of the key that was sought, and need not find what is beyond.
    fn group_cursor<'a>(&'a self, lower: &[u8], upper: &[u8]) -> Box<dyn Cursor + 'a> {
        self.cursor(lower, upper)
    }

    /// The same for a look at much that is not soon looked at again: it does not push out of memory what is.
    fn passing<'a>(&'a self, lower: &[u8], upper: &[u8]) -> Box<dyn Cursor + 'a> {
        self.cursor(lower, upper)
    }

    /// Reads what cursors may pass without a look, some bytes of it, only to find out whether it is damaged. Begins at a place that an earlier call
    /// returned, the first time at an empty one; `None` when nothing is left.
    fn inspect(&self, _place: &[u8], _bytes: usize) -> Result<Option<Bytes>, Error> {
        Ok(None)
    }
}

/// A position in key order.
pub trait Cursor {
    /// Moves to the first entry whose key is at or after `key`.
    fn seek(&mut self, key: &[u8]) -> Result<(), Error>;

    /// Moves to the next entry. The cursor must stand on one.
    fn next(&mut self) -> Result<(), Error>;

    /// Key and value at the position; `None` past the end. Of the value of a [version](VERSIONS) only the front may be there: [`FRONT_BYTES`].
    fn entry(&self) -> Option<(&[u8], &[u8])>;

    /// How many bytes the value at the position has. The cursor must stand on an entry.
    fn value_len(&self) -> usize;

    /// The value at the position from a byte on, which is in its front. The cursor must stand on an entry.
    fn value_from(&self, start: usize) -> Result<Bytes, Error>;

    /// CRC-32C of the value at the position, as it was written: an engine that knows it need not look at the value again. The cursor must stand on an entry.
    fn value_sum(&self) -> Result<u32, Error>;
}

impl dyn Cursor + '_ {
    /// The whole value at the position. The cursor must stand on an entry.
    pub fn value(&self) -> Result<Cow<'_, [u8]>, Error> {
        match self.entry() {
            Some((_, front)) if front.len() == self.value_len() => Ok(Cow::Borrowed(front)),
            Some(_) | None => Ok(Cow::Owned(self.value_from(0)?.into())),
        }
    }
}
