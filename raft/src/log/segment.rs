//! Reading a segment: one record after the other, until there is none.
//!
//! It knows records and their order. It must not know what they mean.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::layout::{ALIGNMENT, HEADER_BYTES, Header, Kind};
use crate::disk::File;

/// Bytes read from disk at a time, unless one record is larger.
const CHUNK_BYTES: usize = 128 << 10;

/// A record that is what was written.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) kind: Kind,
    pub(super) sequence: u64,
    pub(super) life: u32,
    pub(super) body: Bytes,
    /// Where it begins.
    pub(super) offset: u64,
}

/// Reads the records of one segment in order.
pub(super) struct Reader {
    file: Arc<dyn File>,
    number: u64,
    offset: u64,
    buffer: Bytes,
    buffer_at: u64,
}

impl Reader {
    pub(super) fn new(file: Arc<dyn File>, number: u64, offset: u64) -> Self {
        Self { file, number, offset, buffer: Bytes::new(), buffer_at: offset }
    }

    /// Where the next record would begin.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next record; `None` where there is no valid one.
    pub(super) fn next(&mut self) -> io::Result<Option<Record>> {
        let Some((header, bytes)) = self.record_at(self.offset)? else { return Ok(None) };
        let offset = self.offset;
        self.offset += header.record_bytes();
        let body = bytes.slice(HEADER_BYTES..);
        Ok(Some(Record { kind: header.kind, sequence: header.sequence, life: header.life, body, offset }))
    }

    /// Whether anything from here on was written after everything up to `sequence` was durable.
    pub(super) fn betrays_later_than(mut self, sequence: u64) -> io::Result<bool> {
        let size = self.file.size()?;
        let mut at = self.offset;
        while at + HEADER_BYTES as u64 <= size {
            let chunk = self.bytes(at, (size - at).min(CHUNK_BYTES as u64) as usize)?.unwrap_or_default();
            let last = chunk.len().saturating_sub(HEADER_BYTES);
            for start in (0..=last).step_by(ALIGNMENT as usize) {
                // Most of it is zeros, or of another segment: look at the body only if the header may be ours.
                let header = chunk[start..].first_chunk().and_then(Header::parse);
                if header.is_some_and(|header| header.durable > sequence)
                    && self.record_at(at + start as u64)?.is_some()
                {
                    return Ok(true);
                }
            }
            at += (last as u64 + 1).next_multiple_of(ALIGNMENT);
        }
        Ok(false)
    }

    fn header_at(&mut self, at: u64) -> io::Result<Option<Header>> {
        let bytes = self.bytes(at, HEADER_BYTES)?;
        Ok(bytes.and_then(|bytes| bytes.first_chunk().and_then(Header::parse)))
    }

    fn record_at(&mut self, at: u64) -> io::Result<Option<(Header, Bytes)>> {
        let Some(header) = self.header_at(at)? else { return Ok(None) };
        let bytes = self.bytes(at, HEADER_BYTES + header.length as usize)?;
        Ok(bytes.filter(|bytes| header.matches(self.number, bytes)).map(|bytes| (header, bytes)))
    }

    /// So many bytes from an offset, if the file has them.
    fn bytes(&mut self, at: u64, length: usize) -> io::Result<Option<Bytes>> {
        let buffered = self.buffer_at..=self.buffer_at + self.buffer.len() as u64;
        if !buffered.contains(&at) || !buffered.contains(&(at + length as u64)) {
            if at.saturating_add(length as u64) > self.file.size()? {
                return Ok(None);
            }
            let mut chunk = BytesMut::zeroed(length.max(CHUNK_BYTES));
            let read = self.file.read_at(at, &mut chunk)?;
            chunk.truncate(read);
            (self.buffer, self.buffer_at) = (chunk.freeze(), at);
        }
        let start = (at - self.buffer_at) as usize;
        Ok((start + length <= self.buffer.len()).then(|| self.buffer.slice(start..start + length)))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::{Disk, SimDisk};
    use crate::log::layout::{Stamp, write_record};

    fn file(bytes: &[u8]) -> Arc<dyn File> {
        let disk = SimDisk::default();
        disk.create_dir(Path::new("/d")).unwrap();
        let file = disk.create(Path::new("/d/f")).unwrap();
        file.write_at(0, bytes).unwrap();
        file
    }

    fn records(count: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        for sequence in 1..=count {
            let stamp = Stamp { number: 5, sequence, durable: sequence, life: 1 };
            write_record(&mut bytes, stamp, Kind::Vote, |body| body.extend(vec![7; sequence as usize * 100]));
        }
        bytes
    }

    fn count(bytes: &[u8]) -> u64 {
        let mut reader = Reader::new(file(bytes), 5, 0);
        let mut count = 0;
        while let Some(record) = reader.next().unwrap() {
            count += 1;
            assert_eq!((record.sequence, record.body.len() as u64), (count, count * 100));
        }
        count
    }

    #[test]
    fn records_are_read_until_the_first_that_is_not_whole() {
        let bytes = records(100);
        assert_eq!(count(&bytes), 100);
        assert_eq!(count(&bytes[..bytes.len() - 8]), 99);
        assert_eq!(count(&[]), 0);
        let mut damaged = bytes.clone();
        damaged[bytes.len() / 2] ^= 1;
        assert!(count(&damaged) < 100);
    }

    #[test]
    fn what_was_written_after_a_sync_betrays_what_is_missing_before_it() {
        let mut bytes = records(10);
        assert!(!Reader::new(file(&bytes), 5, 0).betrays_later_than(10).unwrap());
        bytes[40] ^= 1;
        assert_eq!(count(&bytes), 0);
        assert!(Reader::new(file(&bytes), 5, 0).betrays_later_than(1).unwrap());
        assert!(!Reader::new(file(&bytes), 6, 0).betrays_later_than(1).unwrap(), "of another segment");
    }

    /// Bytes as they may come from a damaged disk: random ones, and records with some of them changed.
    #[test]
    fn no_bytes_make_the_reader_panic_or_believe_them() {
        let mut seed = 1_u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize
        };
        for round in 0..300 {
            let mut bytes = if round % 2 == 0 { records(6) } else { vec![0; random() % 4000] };
            let whole = bytes.clone();
            for _ in 0..random() % 20 + 1 {
                if !bytes.is_empty() {
                    let at = random() % bytes.len();
                    bytes[at] = random() as u8;
                }
            }
            bytes.truncate(bytes.len() - random() % (bytes.len() + 1) / 4);
            let mut reader = Reader::new(file(&bytes), 5, 0);
            while let Some(record) = reader.next().unwrap() {
                let (start, end) =
                    (record.offset as usize, record.offset as usize + HEADER_BYTES + record.body.len());
                assert_eq!(bytes[start..end], whole[start..end], "round {round}");
                for kind in [Kind::Entry, Kind::Entries] {
                    crate::log::layout::entries(kind, record.body.clone()).for_each(drop);
                }
            }
            Reader::new(file(&bytes), 5, 0).betrays_later_than(0).unwrap();
        }
    }
}
