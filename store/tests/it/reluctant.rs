//! An engine that often says it would have to wait, wherever it may.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use store::engine::{Batch, Cursor, Engine, Error, Reader};

/// Engines and readers with this refuse every third time something is wanted at once; what is wanted with patience is done.
pub struct Reluctant<T> {
    inner: T,
    turns: Arc<AtomicU64>,
}

impl<T> Reluctant<T> {
    pub fn new(inner: T) -> Self {
        Self { inner, turns: Arc::default() }
    }

    fn turn(&self) -> Result<(), Error> {
        match self.turns.fetch_add(1, Ordering::Relaxed) % 3 {
            2 => Err(Error::would_wait()),
            _ => Ok(()),
        }
    }
}

impl<E: Engine> Engine for Reluctant<E> {
    fn reader(&self) -> Arc<dyn Reader> {
        self.inner.reader()
    }

    fn reader_at_once(&self) -> Arc<dyn Reader> {
        Arc::new(Reluctant { inner: self.inner.reader_at_once(), turns: self.turns.clone() })
    }

    fn write(&self, batch: &Batch) -> Result<(), Error> {
        self.inner.write(batch)
    }

    fn write_at_once(&self, batch: &Batch) -> Result<(), Error> {
        self.turn().and_then(|()| self.inner.write_at_once(batch))
    }

    fn flush(&self) -> Result<bool, Error> {
        self.inner.flush()
    }

    fn checkpoint(&self, into: &Path, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.inner.checkpoint(into, key)
    }

    fn restore(&self, from: &Path) -> Result<(), Error> {
        self.inner.restore(from)
    }

    fn size_bytes(&self) -> u64 {
        self.inner.size_bytes()
    }
}

impl Reader for Reluctant<Arc<dyn Reader>> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.turn().and_then(|()| self.inner.get(key))
    }

    fn cursor<'a>(&'a self, lower: &[u8], upper: &[u8]) -> Box<dyn Cursor + 'a> {
        Box::new(ReluctantCursor { inner: self.inner.cursor(lower, upper), reader: self })
    }

    fn group_cursor<'a>(&'a self, lower: &[u8], upper: &[u8]) -> Box<dyn Cursor + 'a> {
        Box::new(ReluctantCursor { inner: self.inner.group_cursor(lower, upper), reader: self })
    }
}

struct ReluctantCursor<'a> {
    inner: Box<dyn Cursor + 'a>,
    reader: &'a Reluctant<Arc<dyn Reader>>,
}

impl Cursor for ReluctantCursor<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<(), Error> {
        self.reader.turn().and_then(|()| self.inner.seek(key))
    }

    fn next(&mut self) -> Result<(), Error> {
        self.reader.turn().and_then(|()| self.inner.next())
    }

    fn entry(&self) -> Option<(&[u8], &[u8])> {
        self.inner.entry()
    }
}
