//! An engine in memory, for tests and simulation.
//!
//! What was not flushed can be forgotten on purpose ([`MemoryEngine::crash`], [`MemoryEngine::crash_after`]): that is what a
//! power failure does to an engine without a log. Images are files, so that they can travel as any other image does.
//!
//! | image file `content` | |
//! |---|---|
//! | repeated: | key length u32 LE, value length u32 LE, key, value |

use std::collections::VecDeque;
use std::fs;
use std::io::Write as _;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;
use parking_lot::Mutex;

use super::{Batch, Cursor, Engine, Error, FRONT_BYTES, Pace, Reader, VERSIONS, Write};

type Content = OrdMap<Bytes, Bytes>;

/// Writes that are remembered one by one until they are flushed. Beyond it the oldest count as flushed, as an engine on disk
/// flushes by itself at some time.
const UNFLUSHED_MAX: usize = 4096;

const IMAGE_FILE: &str = "content";

/// An [`Engine`] whose content lives in an ordered persistent map. Clones share the content.
#[derive(Clone, Debug, Default)]
pub struct MemoryEngine {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    written: Content,
    durable: Content,
    /// What the content was after each write since, the newest last.
    unflushed: VecDeque<Content>,
}

impl Shared {
    fn settle(&mut self) {
        self.durable = self.written.clone();
        self.unflushed.clear();
    }
}

impl MemoryEngine {
    /// An empty engine.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets what was not flushed, as a crash would.
    pub fn crash(&self) {
        self.crash_after(|_| 0);
    }

    /// Forgets what a crash loses: `keep` is told how many writes were not flushed, and says how many of them, in order, were
    /// on the medium nevertheless. Returns how many were.
    pub fn crash_after(&self, keep: impl FnOnce(usize) -> usize) -> usize {
        let mut shared = self.shared.lock();
        let kept = keep(shared.unflushed.len()).min(shared.unflushed.len());
        shared.written = match kept.checked_sub(1) {
            Some(last) => shared.unflushed[last].clone(),
            None => shared.durable.clone(),
        };
        shared.settle();
        kept
    }
}

impl Engine for MemoryEngine {
    fn reader_at(&self, _pace: Pace) -> Arc<dyn Reader> {
        Arc::new(self.clone())
    }

    fn write_at(&self, _pace: Pace, batch: &Batch) -> Result<(), Error> {
        let mut shared = self.shared.lock();
        for (key, value) in batch.writes() {
            match value {
                Write::Put(value) => shared.written.insert(key.clone(), value.clone()),
                Write::Delete(_) => shared.written.remove(key),
            };
        }
        let after = shared.written.clone();
        shared.unflushed.push_back(after);
        if shared.unflushed.len() > UNFLUSHED_MAX
            && let Some(oldest) = shared.unflushed.pop_front()
        {
            shared.durable = oldest;
        }
        Ok(())
    }

    fn flush(&self) -> Result<bool, Error> {
        self.shared.lock().settle();
        Ok(true)
    }

    fn checkpoint(&self, into: &Path, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let content = self.shared.lock().written.clone();
        write_image(&content, into).map_err(|source| Error::new("write an image", source))?;
        Ok(content.get(key).cloned())
    }

    fn restore(&self, from: &Path) -> Result<(), Error> {
        let failed = |source| Error::new("read an image", source);
        let image = fs::read(from.join(IMAGE_FILE)).map_err(failed)?;
        let content = read_image(&image.into())
            .ok_or_else(|| Error::new("read an image", "the image ends in the middle of an entry"))?;
        let mut shared = self.shared.lock();
        shared.written = content;
        shared.settle();
        fs::remove_dir_all(from).map_err(failed)
    }

    fn size_bytes(&self) -> u64 {
        let content = self.shared.lock().written.clone();
        content.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }
}

impl Reader for MemoryEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        Ok(self.shared.lock().written.get(key).cloned())
    }

    fn cursor<'a>(&'a self, lower: &[u8], upper: &[u8]) -> Box<dyn Cursor + 'a> {
        let content = self.shared.lock().written.clone();
        let bounds = (Bytes::copy_from_slice(lower), Bytes::copy_from_slice(upper));
        Box::new(MemoryCursor { content, bounds, entry: None })
    }
}

struct MemoryCursor {
    content: Content,
    bounds: (Bytes, Bytes),
    entry: Option<(Bytes, Bytes)>,
}

impl MemoryCursor {
    fn take(&mut self, found: Option<(Bytes, Bytes)>) {
        self.entry = found.filter(|(key, _)| *key < self.bounds.1);
    }
}

impl Cursor for MemoryCursor {
    fn seek(&mut self, key: &[u8]) -> Result<(), Error> {
        let from = key.max(self.bounds.0.as_ref());
        let found = self.content.range::<_, [u8]>((Bound::Included(from), Bound::Unbounded)).next();
        let found = found.map(|(key, value)| (key.clone(), value.clone()));
        self.take(found);
        Ok(())
    }

    fn next(&mut self) -> Result<(), Error> {
        let (at, _) = self.entry.as_ref().expect("a cursor moves on only from an entry");
        let after = (Bound::Excluded(at.as_ref()), Bound::Unbounded);
        let found = self.content.range::<_, [u8]>(after).next().map(|(k, v)| (k.clone(), v.clone()));
        self.take(found);
        Ok(())
    }

    /// Has no more at hand than an engine must: who relies on more is found.
    fn entry(&self) -> Option<(&[u8], &[u8])> {
        let (key, value) = self.entry.as_ref()?;
        let at_hand = if key.first() == Some(&VERSIONS) { FRONT_BYTES.min(value.len()) } else { value.len() };
        Some((key, &value[..at_hand]))
    }

    fn value_len(&self) -> usize {
        self.entry.as_ref().map_or(0, |(_, value)| value.len())
    }

    fn value_from(&self, start: usize) -> Result<Bytes, Error> {
        let (_, value) = self.entry.as_ref().expect("a cursor has a value on an entry only");
        Ok(value.slice(start..))
    }

    fn value_sum(&self) -> Result<u32, Error> {
        Ok(crc32c::crc32c(&self.value_from(0)?))
    }
}

fn write_image(content: &Content, into: &Path) -> std::io::Result<()> {
    fs::create_dir(into)?;
    let mut file = std::io::BufWriter::new(fs::File::create_new(into.join(IMAGE_FILE))?);
    for (key, value) in content {
        let length = |bytes: &Bytes| u32::try_from(bytes.len()).expect("keys and values are below 4 GiB");
        file.write_all(&length(key).to_le_bytes())?;
        file.write_all(&length(value).to_le_bytes())?;
        file.write_all(key)?;
        file.write_all(value)?;
    }
    file.into_inner()?.sync_all()
}

fn read_image(image: &Bytes) -> Option<Content> {
    let mut content = Content::new();
    let mut at = 0;
    let length = |at: usize| {
        let field = image.get(at..at + 4)?;
        Some(u32::from_le_bytes(field.try_into().expect("four bytes were taken")) as usize)
    };
    while at < image.len() {
        let (key_length, value_length) = (length(at)?, length(at + 4)?);
        let key_end = at + 8 + key_length;
        let end = key_end + value_length;
        if end > image.len() {
            return None;
        }
        content.insert(image.slice(at + 8..key_end), image.slice(key_end..end));
        at = end;
    }
    Some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_keeps_what_was_flushed_and_a_prefix_of_the_rest() {
        let engine = MemoryEngine::new();
        let write = |key: &'static str| {
            let mut batch = Batch::default();
            batch.put(key, "x");
            engine.write(&batch).unwrap();
        };
        write("a");
        assert!(engine.flush().unwrap());
        ["b", "c", "d"].into_iter().for_each(write);
        assert_eq!(engine.crash_after(|unflushed| unflushed - 1), 2);
        let held = |key: &str| engine.get(key.as_bytes()).unwrap().is_some();
        assert!(held("a") && held("b") && held("c") && !held("d"));
        write("e");
        engine.crash();
        assert!(held("c") && !held("e"));
    }
}
