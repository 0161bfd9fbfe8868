//! Where things stand in the log database, and how an entry is sealed against damage.
//!
//! | key | value |
//! |---|---|
//! | `l` + index, 8 bytes big-endian | sealed entry |
//! | `m/owner` | [`Owner`](crate::record::Owner) |
//! | `m/vote` | [`Vote`](crate::record::Vote) |
//! | `m/purged` | [`LogId`](crate::record::LogId) of the last entry purged |
//! | `m/committed` | [`LogId`](crate::record::LogId) known to be committed, at least |
//!
//! A sealed entry:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | crc32c of index (8 bytes big-endian) and record, little-endian |
//! | 4 | 4 | chain: crc32c of the previous entry's chain and this entry's crc, little-endian |
//! | 8 | n | the record, in the crate's codec |
//!
//! The crc finds a damaged or misplaced entry, the chain an entry of another history.

use bytes::Bytes;

use crate::codec;
use crate::entry::Entry;

pub(super) const OWNER: &[u8] = b"m/owner";
pub(super) const VOTE: &[u8] = b"m/vote";
pub(super) const PURGED: &[u8] = b"m/purged";
pub(super) const COMMITTED: &[u8] = b"m/committed";

/// The first key after all entries.
pub(super) const ENTRIES_END: &[u8] = b"m";

const SEAL_BYTES: usize = 8;

/// Key of the entry at `index`.
pub(super) fn key(index: u64) -> [u8; 9] {
    let mut key = [b'l'; 9];
    key[1..].copy_from_slice(&index.to_be_bytes());
    key
}

/// Index of the entry under `key`.
pub(super) fn index_of(key: &[u8]) -> Option<u64> {
    let index = key.strip_prefix(b"l")?;
    Some(u64::from_be_bytes(index.try_into().ok()?))
}

fn link(previous: u32, crc: u32) -> u32 {
    let mut both = [0; 8];
    both[..4].copy_from_slice(&previous.to_le_bytes());
    both[4..].copy_from_slice(&crc.to_le_bytes());
    crc32c::crc32c(&both)
}

fn checksum(index: u64, record: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&index.to_be_bytes()), record)
}

/// Writes the sealed entry into `value` and returns its chain.
pub(super) fn seal(entry: &Entry, previous_chain: u32, value: &mut Vec<u8>) -> u32 {
    value.clear();
    value.extend([0; SEAL_BYTES]);
    codec::encode_into(&entry.as_record(), value);
    let crc = checksum(entry.id.index, &value[SEAL_BYTES..]);
    let chain = link(previous_chain, crc);
    value[..4].copy_from_slice(&crc.to_le_bytes());
    value[4..8].copy_from_slice(&chain.to_le_bytes());
    chain
}

/// A sealed entry whose crc holds.
pub(super) struct Sealed {
    pub(super) entry: Entry,
    crc: u32,
    pub(super) chain: u32,
}

impl Sealed {
    /// Whether it was written after an entry with this chain.
    pub(super) fn follows(&self, previous_chain: u32) -> bool {
        self.chain == link(previous_chain, self.crc)
    }
}

/// Opens a sealed entry found at `index`, or says what is wrong with it.
pub(super) fn open(index: u64, value: Bytes) -> Result<Sealed, String> {
    if value.len() <= SEAL_BYTES {
        return Err(format!("entry {index} has {} bytes only", value.len()));
    }
    let word = |at: usize| u32::from_le_bytes(value[at..at + 4].try_into().expect("four bytes"));
    let (crc, chain) = (word(0), word(4));
    let record = value.slice(SEAL_BYTES..);
    if checksum(index, &record) != crc {
        return Err(format!("entry {index} does not match its checksum"));
    }
    let entry = Entry::decode(&record).map_err(|error| format!("entry {index}: {error}"))?;
    if entry.id.index != index {
        return Err(format!("entry {index} calls itself {}", entry.id.index));
    }
    Ok(Sealed { entry, crc, chain })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Payload;
    use crate::record::LogId;

    fn entry(index: u64) -> Entry {
        let payload = Payload::Command(Bytes::from(format!("command {index}")));
        Entry { id: LogId { term: 1, index }, payload }
    }

    #[test]
    fn a_sealed_entry_opens_and_continues_its_chain() {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        let chain = seal(&entry(7), 0, &mut first);
        seal(&entry(8), chain, &mut second);
        let first = open(7, first.into()).unwrap();
        let second = open(8, second.into()).unwrap();
        assert_eq!(first.entry, entry(7));
        assert!(first.follows(0));
        assert!(second.follows(first.chain));
        assert!(!second.follows(0));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut value = Vec::new();
        seal(&entry(7), 99, &mut value);
        for bit in 0..value.len() * 8 {
            let mut damaged = value.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let noticed = match open(7, damaged.into()) {
                Ok(sealed) => !sealed.follows(99),
                Err(_) => true,
            };
            assert!(noticed, "bit {bit}");
        }
    }

    #[test]
    fn a_misplaced_entry_is_noticed() {
        let mut value = Vec::new();
        seal(&entry(7), 0, &mut value);
        assert!(open(8, value.into()).is_err());
    }
}
