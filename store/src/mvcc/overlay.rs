//! Writes that are not in the engine yet, and a cursor that sees them together with what is.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::ops::Bound;

use bytes::Bytes;

use crate::engine::{Batch, Cursor, Error};

/// Pending writes in key order, with the way back to the last [`mark`](Overlay::mark).
#[derive(Debug, Default)]
pub struct Overlay {
    writes: BTreeMap<Bytes, Option<Bytes>>,
    /// What each write since the mark replaced; the outer `None` means nothing was pending.
    undo: Vec<(Bytes, Option<Option<Bytes>>)>,
}

impl Overlay {
    /// Writes a key.
    pub fn put(&mut self, key: Bytes, value: Bytes) {
        self.write(key, Some(value));
    }

    /// Removes a key.
    pub fn delete(&mut self, key: Bytes) {
        self.write(key, None);
    }

    fn write(&mut self, key: Bytes, value: Option<Bytes>) {
        let before = self.writes.insert(key.clone(), value);
        self.undo.push((key, before));
    }

    /// The pending write of a key: `Some(None)` when it is removed.
    pub fn get(&self, key: &[u8]) -> Option<&Option<Bytes>> {
        self.writes.get(key)
    }

    /// The first pending write in `start <= key < end`.
    pub fn first(&self, start: &[u8], end: &[u8]) -> Option<(&Bytes, &Option<Bytes>)> {
        self.range(start, end).next()
    }

    fn range(&self, start: &[u8], end: &[u8]) -> btree_map::Range<'_, Bytes, Option<Bytes>> {
        if start >= end {
            return self.writes.range::<[u8], _>((Bound::Included(&b""[..]), Bound::Excluded(&b""[..])));
        }
        self.writes.range::<[u8], _>((Bound::Included(start), Bound::Excluded(end)))
    }

    /// Whether nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Everything so far stays.
    pub fn mark(&mut self) {
        self.undo.clear();
    }

    /// Takes back every write since the mark.
    pub fn rollback(&mut self) {
        while let Some((key, before)) = self.undo.pop() {
            match before {
                Some(value) => self.writes.insert(key, value),
                None => self.writes.remove(&key),
            };
        }
    }

    /// Moves the writes into a batch.
    pub fn into_batch(self, batch: &mut Batch) {
        for (key, value) in self.writes {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            }
        }
    }

    /// A cursor over the engine's entries below `upper` as they will be.
    pub fn over<'a>(&'a self, below: Box<dyn Cursor + 'a>, upper: &[u8]) -> Box<dyn Cursor + 'a> {
        if self.is_empty() {
            return below;
        }
        let pending = self.range(upper, upper).peekable();
        Box::new(Merged { overlay: self, upper: Bytes::copy_from_slice(upper), below, pending })
    }
}

struct Merged<'a> {
    overlay: &'a Overlay,
    upper: Bytes,
    below: Box<dyn Cursor + 'a>,
    pending: std::iter::Peekable<btree_map::Range<'a, Bytes, Option<Bytes>>>,
}

/// Which side holds the smaller key.
enum Side {
    Below,
    Pending,
    Both,
    Neither,
}

impl Merged<'_> {
    fn side(&mut self) -> Side {
        match (self.below.entry(), self.pending.peek()) {
            (None, None) => Side::Neither,
            (Some(_), None) => Side::Below,
            (None, Some(_)) => Side::Pending,
            (Some((below, _)), Some((pending, _))) => match below.cmp(pending.as_ref()) {
                std::cmp::Ordering::Less => Side::Below,
                std::cmp::Ordering::Greater => Side::Pending,
                std::cmp::Ordering::Equal => Side::Both,
            },
        }
    }

    /// Leaves the entry at the position.
    fn step(&mut self) -> Result<(), Error> {
        match self.side() {
            Side::Neither => {}
            Side::Below => self.below.next()?,
            Side::Pending => {
                self.pending.next();
            }
            Side::Both => {
                self.below.next()?;
                self.pending.next();
            }
        }
        Ok(())
    }

    /// The entry at the position, if it is a pending one.
    fn pending_entry(&self) -> Option<(&Bytes, &Bytes)> {
        let (key, value) = self.pending.clone().next()?;
        let value = value.as_ref()?;
        match self.below.entry() {
            Some((below, _)) if below < key.as_ref() => None,
            Some(_) | None => Some((key, value)),
        }
    }

    /// Goes on to an entry that is not removed.
    fn settle(&mut self) -> Result<(), Error> {
        while let Side::Pending | Side::Both = self.side()
            && matches!(self.pending.peek(), Some((_, None)))
        {
            self.step()?;
        }
        // From here on `entry` may look without moving: a pending entry wins over the engine's of the same key.
        if matches!(self.side(), Side::Both) {
            self.below.next()?;
        }
        Ok(())
    }
}

impl Cursor for Merged<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<(), Error> {
        self.below.seek(key)?;
        self.pending = self.overlay.range(key, &self.upper).peekable();
        self.settle()
    }

    fn next(&mut self) -> Result<(), Error> {
        self.step()?;
        self.settle()
    }

    fn entry(&self) -> Option<(&[u8], &[u8])> {
        match self.pending_entry() {
            Some((key, value)) => Some((key, value)),
            None => self.below.entry(),
        }
    }

    fn value_len(&self) -> usize {
        self.pending_entry().map_or_else(|| self.below.value_len(), |(_, value)| value.len())
    }

    fn value_from(&self, start: usize) -> Result<Bytes, Error> {
        match self.pending_entry() {
            Some((_, value)) => Ok(value.slice(start..)),
            None => self.below.value_from(start),
        }
    }

    fn value_sum(&self) -> Result<u32, Error> {
        match self.pending_entry() {
            Some((_, value)) => Ok(crc32c::crc32c(value)),
            None => self.below.value_sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Engine, memory::MemoryEngine};

    fn bytes(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    fn scan(engine: &MemoryEngine, overlay: &Overlay) -> Vec<String> {
        let reader = engine.reader();
        let mut cursor = overlay.over(reader.cursor(b"a", b"z"), b"z");
        cursor.seek(b"a").unwrap();
        let mut found = Vec::new();
        while let Some((key, value)) = cursor.entry() {
            found.push(format!("{}={}", String::from_utf8_lossy(key), String::from_utf8_lossy(value)));
            cursor.next().unwrap();
        }
        found
    }

    #[test]
    fn pending_writes_are_seen_and_can_be_taken_back() {
        let engine = MemoryEngine::new();
        let mut batch = Batch::default();
        for key in ["b", "d", "f"] {
            batch.put(key, "old");
        }
        engine.write(&batch).unwrap();
        let mut overlay = Overlay::default();
        overlay.put(bytes("a"), bytes("new"));
        overlay.delete(bytes("b"));
        overlay.put(bytes("d"), bytes("new"));
        assert_eq!(scan(&engine, &overlay), ["a=new", "d=new", "f=old"]);
        overlay.mark();
        overlay.put(bytes("b"), bytes("again"));
        overlay.delete(bytes("a"));
        overlay.delete(bytes("f"));
        overlay.put(bytes("zz"), bytes("out of bounds"));
        assert_eq!(scan(&engine, &overlay), ["b=again", "d=new"]);
        overlay.rollback();
        assert_eq!(scan(&engine, &overlay), ["a=new", "d=new", "f=old"]);
    }
}
