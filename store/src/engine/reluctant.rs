//! An engine that often says it would have to wait, wherever it may: every third time, so that the same calls get the same answers.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::{Batch, Cursor, Engine, Error, Pace, Reader};

/// An [`Engine`] that refuses every third time something is wanted at once, and does what is wanted with patience.
pub struct Reluctant<E> {
    inner: E,
    turns: Turns,
}

impl<E> Reluctant<E> {
    /// One that has not refused yet.
    pub fn new(inner: E) -> Self {
        Self { inner, turns: Turns::default() }
    }
}

#[derive(Clone, Default)]
struct Turns(Arc<AtomicU64>);

impl Turns {
    fn next(&self) -> Result<(), Error> {
        match self.0.fetch_add(1, Ordering::Relaxed) % 3 {
            2 => Err(Error::would_wait()),
            _ => Ok(()),
        }
    }
}

impl<E: Engine> Engine for Reluctant<E> {
    fn reader_at(&self, pace: Pace) -> Arc<dyn Reader> {
        let inner = self.inner.reader_at(pace);
        match pace {
            Pace::AtOnce => Arc::new(AtOnce { inner, turns: self.turns.clone() }),
            Pace::Patient => inner,
        }
    }

    fn write_at(&self, pace: Pace, batch: &Batch) -> Result<(), Error> {
        if pace == Pace::AtOnce {
            self.turns.next()?;
        }
        self.inner.write_at(pace, batch)
    }

    fn flush(&self) -> Result<bool, Error> {
        self.inner.flush()
    }

    fn flush_removals(&self, bytes: u64) -> Result<bool, Error> {
        self.inner.flush_removals(bytes)
    }

    fn checkpoint(&self, into: &Path, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.inner.checkpoint(into, key)
    }

    fn restore(&self, from: &Path) -> Result<(), Error> {
        self.inner.restore(from)
    }

    fn settle(&self) -> Result<(), Error> {
        self.inner.settle()
    }

    fn size_bytes(&self) -> u64 {
        self.inner.size_bytes()
    }
}

struct AtOnce<T> {
    inner: T,
    turns: Turns,
}

impl Reader for AtOnce<Arc<dyn Reader>> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.turns.next()?;
        self.inner.get(key)
    }

    fn cursor<'a>(&'a self, lower: &[u8], upper: &[u8]) -> Box<dyn Cursor + 'a> {
        Box::new(AtOnce { inner: self.inner.cursor(lower, upper), turns: self.turns.clone() })
    }

    fn group_cursor<'a>(&'a self, lower: &[u8], upper: &[u8]) -> Box<dyn Cursor + 'a> {
        Box::new(AtOnce { inner: self.inner.group_cursor(lower, upper), turns: self.turns.clone() })
    }
}

impl<'a> Cursor for AtOnce<Box<dyn Cursor + 'a>> {
    fn seek(&mut self, key: &[u8]) -> Result<(), Error> {
        self.turns.next()?;
        self.inner.seek(key)
    }

    fn next(&mut self) -> Result<(), Error> {
        self.turns.next()?;
        self.inner.next()
    }

    fn entry(&self) -> Option<(&[u8], &[u8])> {
        self.inner.entry()
    }

    fn value_len(&self) -> usize {
        self.inner.value_len()
    }

    fn value_from(&self, start: usize) -> Result<Bytes, Error> {
        self.turns.next()?;
        self.inner.value_from(start)
    }

    fn value_sum(&self) -> Result<u32, Error> {
        self.turns.next()?;
        self.inner.value_sum()
    }
}
