//! The bytes of an image.
//!
//! | offset | bytes | header |
//! |---|---|---|
//! | 0 | 8 | `KNTKIMG` and a line feed |
//! | 8 | 4 | version of this format, 1 |
//! | 12 | 4 | version of the layout of the entries, [`facts::FORMAT`](crate::mvcc::facts::FORMAT) |
//! | 16 | 8 | cluster id |
//! | 24 | 8 | id of the member whose state it is |
//! | 32 | 8 | revision |
//! | 40 | 8 | compacted revision |
//! | 48 | 8 | when it was made, milliseconds since 1970 UTC |
//! | 56 | 8 | number of entries |
//! | 64 | 8 | number of keys that exist at the revision |
//! | 72 | 8 | bytes of the whole image |
//! | 80 | 4 | hash of the content at the revision, as HashKV answers it |
//! | 84 | 4 | CRC-32C of bytes 0 to 84 |
//!
//! | offset | bytes | each chunk, from byte 88 on |
//! |---|---|---|
//! | 0 | 4 | length of what follows the checksum; 0 ends the chunks |
//! | 4 | 4 | CRC-32C of the number of the chunk (u64) and of what follows |
//! | 8 | n | whole entries: key length u32, value length u32, key, value; in key order throughout the image |
//!
//! | bytes | trailer |
//! |---|---|
//! | 0 to 511 | zeros up to a multiple of 512 |
//! | 32 | SHA-256 of everything before |
//!
//! Numbers are little endian. The entries are those of all tables of [`mvcc`](crate::mvcc) but what Raft stored: its
//! position belongs to a log that the image does not have. That the length is 32 more than a multiple of 512 is how
//! etcdctl knows a snapshot with a checksum, so `etcdctl snapshot save` saves images too.

use std::io::Read;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use sha2::{Digest, Sha256};

use super::Error;
use crate::limits::{IMAGE_CHUNK_BYTES, IMAGE_CHUNK_BYTES_MAX};
use crate::mvcc::facts;

const MAGIC: &[u8; 8] = b"KNTKIMG\n";
const FORMAT: u32 = 1;

/// Bytes of the header.
pub const HEADER_BYTES: usize = 88;
const CHUNK_HEADER_BYTES: u64 = 8;
const ENTRY_HEADER_BYTES: usize = 8;
const ALIGNMENT: u64 = 512;
const DIGEST_BYTES: u64 = 32;

/// What an image says about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The cluster it comes from.
    pub cluster_id: u64,
    /// The member whose state it is.
    pub member_id: u64,
    /// The newest revision in it.
    pub revision: i64,
    /// The oldest revision it can be restored at.
    pub compacted: i64,
    /// When it was made, in milliseconds since 1970 UTC.
    pub made_unix_ms: u64,
    /// Number of entries.
    pub entries: u64,
    /// Keys that exist at the revision.
    pub keys: u64,
    /// Bytes of the whole image.
    pub bytes: u64,
    /// Hash of the content at the revision.
    pub hash: u32,
}

impl Header {
    /// The header's bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(HEADER_BYTES);
        out.put_slice(MAGIC);
        out.put_u32_le(FORMAT);
        out.put_u32_le(u32::from(facts::FORMAT));
        out.put_u64_le(self.cluster_id);
        out.put_u64_le(self.member_id);
        out.put_i64_le(self.revision);
        out.put_i64_le(self.compacted);
        out.put_u64_le(self.made_unix_ms);
        out.put_u64_le(self.entries);
        out.put_u64_le(self.keys);
        out.put_u64_le(self.bytes);
        out.put_u32_le(self.hash);
        let crc = crc32c::crc32c(&out);
        out.put_u32_le(crc);
        out.freeze()
    }

    fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, Error> {
        let damaged = |offset, detail: String| Err(Error::Damaged { offset, detail });
        let mut fields = &bytes[..];
        if !bytes.starts_with(MAGIC) {
            return damaged(0, "it is not an image of a kontiki store".to_owned());
        }
        fields.advance(MAGIC.len());
        let (format, layout) = (fields.get_u32_le(), fields.get_u32_le());
        let header = Self {
            cluster_id: fields.get_u64_le(),
            member_id: fields.get_u64_le(),
            revision: fields.get_i64_le(),
            compacted: fields.get_i64_le(),
            made_unix_ms: fields.get_u64_le(),
            entries: fields.get_u64_le(),
            keys: fields.get_u64_le(),
            bytes: fields.get_u64_le(),
            hash: fields.get_u32_le(),
        };
        if fields.get_u32_le() != crc32c::crc32c(&bytes[..HEADER_BYTES - 4]) {
            return damaged(0, "the header does not match its checksum".to_owned());
        }
        if format != FORMAT || layout != u32::from(facts::FORMAT) {
            return Err(Error::Refused(format!(
                "the image has format {format} and layout {layout}; this version reads {FORMAT} and {}",
                facts::FORMAT
            )));
        }
        if header.revision < header.compacted || header.compacted < 0 {
            return damaged(32, format!("revision {} before {}", header.revision, header.compacted));
        }
        Ok(header)
    }
}

/// Adds up how long an image will be.
#[derive(Debug, Default)]
pub struct Measure {
    filled: usize,
    bytes: u64,
}

impl Measure {
    /// Counts an entry.
    pub fn entry(&mut self, key: &[u8], value: &[u8]) {
        let length = entry_bytes(key, value);
        if is_full(self.filled, length) {
            self.close();
        }
        self.filled += length;
    }

    fn close(&mut self) {
        if self.filled > 0 {
            self.bytes += CHUNK_HEADER_BYTES + self.filled as u64;
            self.filled = 0;
        }
    }

    /// The bytes of the whole image.
    pub fn finish(mut self) -> u64 {
        self.close();
        let end = HEADER_BYTES as u64 + self.bytes + CHUNK_HEADER_BYTES;
        end.next_multiple_of(ALIGNMENT) + DIGEST_BYTES
    }
}

/// Turns entries into the bytes of an image.
#[derive(Debug, Default)]
pub struct Encoder {
    payload: BytesMut,
    chunks: u64,
    offset: u64,
    digest: Sha256,
}

impl Encoder {
    /// The first bytes.
    pub fn header(&mut self, header: &Header) -> Bytes {
        self.seen(header.encode())
    }

    /// Takes an entry; gives back the chunk before it when that is full.
    pub fn entry(&mut self, key: &[u8], value: &[u8]) -> Option<Bytes> {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("keys and values are below 4 GiB");
        let full = is_full(self.payload.len(), entry_bytes(key, value)).then(|| self.chunk());
        self.payload.put_u32_le(length(key));
        self.payload.put_u32_le(length(value));
        self.payload.put_slice(key);
        self.payload.put_slice(value);
        full
    }

    /// The last bytes.
    pub fn finish(mut self) -> Bytes {
        let mut out = BytesMut::new();
        if !self.payload.is_empty() {
            out.put_slice(&self.chunk());
        }
        out.put_slice(&self.chunk());
        let zeros = self.offset.next_multiple_of(ALIGNMENT) - self.offset;
        let zeros = self.seen(Bytes::from(vec![0; usize::try_from(zeros).expect("below the alignment")]));
        out.put_slice(&zeros);
        out.put_slice(&self.digest.finalize());
        out.freeze()
    }

    fn chunk(&mut self) -> Bytes {
        let payload = self.payload.split();
        let mut out = BytesMut::with_capacity(payload.len() + 8);
        out.put_u32_le(u32::try_from(payload.len()).expect("a chunk is below 4 GiB"));
        out.put_u32_le(chunk_crc(self.chunks, &payload));
        out.put_slice(&payload);
        self.chunks += 1;
        self.seen(out.freeze())
    }

    fn seen(&mut self, bytes: Bytes) -> Bytes {
        self.offset += bytes.len() as u64;
        self.digest.update(&bytes);
        bytes
    }
}

fn entry_bytes(key: &[u8], value: &[u8]) -> usize {
    ENTRY_HEADER_BYTES + key.len() + value.len()
}

fn is_full(filled: usize, more: usize) -> bool {
    filled > 0 && filled + more > IMAGE_CHUNK_BYTES
}

fn chunk_crc(number: u64, payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), payload)
}

/// Reads an image from its first byte to its last. Nothing in it is believed before its checksum was compared; that
/// the image is whole is known once [`Decoder::chunk`] has returned `None`.
pub struct Decoder<R> {
    input: R,
    header: Header,
    offset: u64,
    chunks: u64,
    digest: Sha256,
}

impl<R: Read> Decoder<R> {
    /// Reads the header.
    pub fn new(input: R) -> Result<Self, Error> {
        let mut decoder =
            Self { input, header: Header::default(), offset: 0, chunks: 0, digest: Sha256::new() };
        let mut bytes = [0; HEADER_BYTES];
        decoder.fill(&mut bytes)?;
        decoder.header = Header::decode(&bytes)?;
        Ok(decoder)
    }

    /// What the image says about itself.
    pub fn header(&self) -> Header {
        self.header
    }

    /// Where the next byte is.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The entries of the next chunk; `None` at the end, when the whole image was compared with its hash.
    pub fn chunk(&mut self) -> Result<Option<Vec<(Bytes, Bytes)>>, Error> {
        let start = self.offset;
        let damaged = |detail: String| Error::Damaged { offset: start, detail };
        let mut fields = [0; 8];
        self.fill(&mut fields)?;
        let mut fields = &fields[..];
        let (length, crc) = (fields.get_u32_le() as usize, fields.get_u32_le());
        if length > IMAGE_CHUNK_BYTES_MAX {
            return Err(damaged(format!("chunk {} claims {length} bytes", self.chunks)));
        }
        let mut payload = vec![0; length];
        self.fill(&mut payload)?;
        if crc != chunk_crc(self.chunks, &payload) {
            return Err(damaged(format!("chunk {} does not match its checksum", self.chunks)));
        }
        self.chunks += 1;
        if length == 0 {
            self.finish()?;
            return Ok(None);
        }
        let entries = entries(payload.into());
        entries.map(Some).ok_or_else(|| damaged("a chunk ends in the middle of an entry".to_owned()))
    }

    fn finish(&mut self) -> Result<(), Error> {
        let zeros = self.offset.next_multiple_of(ALIGNMENT) - self.offset;
        let mut padding = vec![0; usize::try_from(zeros).expect("below the alignment")];
        self.fill(&mut padding)?;
        let digest = self.digest.finalize_reset();
        let mut expected = [0; DIGEST_BYTES as usize];
        self.fill(&mut expected)?;
        let damaged = |detail: &str| Error::Damaged { offset: self.offset, detail: detail.to_owned() };
        if digest.as_slice() != expected {
            return Err(damaged("the whole does not match its SHA-256"));
        }
        if self.offset != self.header.bytes {
            return Err(damaged(&format!("it ends here and not at byte {}", self.header.bytes)));
        }
        match self.input.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(damaged("something follows the end")),
            Err(error) => Err(damaged(&format!("reading failed: {error}"))),
        }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        let mut filled = 0;
        while filled < buffer.len() {
            let offset = self.offset + filled as u64;
            match self.input.read(&mut buffer[filled..]) {
                Ok(0) => return Err(Error::Damaged { offset, detail: "it ends too early".to_owned() }),
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(Error::Damaged { offset, detail: format!("reading failed: {error}") });
                }
            }
        }
        self.offset += filled as u64;
        self.digest.update(&*buffer);
        Ok(())
    }
}

fn entries(mut payload: Bytes) -> Option<Vec<(Bytes, Bytes)>> {
    let mut entries = Vec::new();
    while !payload.is_empty() {
        if payload.len() < ENTRY_HEADER_BYTES {
            return None;
        }
        let (key, value) = (payload.get_u32_le() as usize, payload.get_u32_le() as usize);
        if payload.len() < key.checked_add(value)? {
            return None;
        }
        entries.push((payload.split_to(key), payload.split_to(value)));
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(count: usize) -> (Header, Vec<u8>) {
        let value = vec![7; 1000];
        let entries: Vec<_> = (0..count).map(|number| format!("{number:06}")).collect();
        let mut measure = Measure::default();
        entries.iter().for_each(|key| measure.entry(key.as_bytes(), &value));
        let header = Header {
            cluster_id: 1,
            member_id: 2,
            revision: 9,
            compacted: 3,
            made_unix_ms: 5,
            entries: count as u64,
            keys: 4,
            bytes: measure.finish(),
            hash: 6,
        };
        let mut encoder = Encoder::default();
        let mut out = encoder.header(&header).to_vec();
        for key in &entries {
            out.extend(encoder.entry(key.as_bytes(), &value).unwrap_or_default());
        }
        out.extend(encoder.finish());
        (header, out)
    }

    fn read(bytes: &[u8]) -> Result<(Header, usize), Error> {
        let mut decoder = Decoder::new(bytes)?;
        let mut count = 0;
        while let Some(entries) = decoder.chunk()? {
            count += entries.len();
        }
        Ok((decoder.header(), count))
    }

    #[test]
    fn an_image_is_as_long_as_it_says_and_reads_back() {
        for count in [0, 1, 2000] {
            let (header, bytes) = image(count);
            assert_eq!(bytes.len() as u64, header.bytes);
            assert_eq!(bytes.len() % 512, 32, "etcdctl expects a checksum behind whole sectors");
            assert_eq!(read(&bytes).unwrap(), (header, count));
        }
        let golden = b"KNTKIMG\n\x01\0\0\0\x02\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0";
        assert!(image(0).1.starts_with(golden));
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_found() {
        let (_, bytes) = image(3);
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            assert!(read(&flipped).is_err(), "a bit of byte {at} was flipped");
            assert!(read(&bytes[..at]).is_err(), "cut at {at}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert!(read(&longer).is_err());
    }
}
