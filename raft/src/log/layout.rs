//! Where things stand on disk, and how records and entries are sealed against damage.
//!
//! | file | holds |
//! |---|---|
//! | `lock` | nothing; locked while the log is open |
//! | `mark` | how long the log is at least, and whose it is: see [`mark`](super::mark) |
//! | 16 hexadecimal digits, `.log` | the segment of that number; numbers begin with 1 and have no gaps |
//! | `spare-` and a number | a former segment, or space set aside; what it holds means nothing |
//!
//! A segment is a sequence of records from its first byte on, then anything: zeros, or what the file held when it was
//! another segment. All numbers are little-endian. A record:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | crc32c of the segment's number (8 bytes) and of everything after this field but the padding |
//! | 4 | 4 | n, the length of the body |
//! | 8 | 8 | sequence: one more than that of the record before, across segments; begins with 1 |
//! | 16 | 8 | durable: all records below this sequence were synced before this one was written |
//! | 24 | 4 | life: grows each time the log is opened |
//! | 28 | 4 | kind |
//! | 32 | n | body |
//! | 32 + n | 0..7 | zeros up to a multiple of 8 |
//!
//! | kind | body |
//! |---|---|
//! | 1 head | [`Head`], the first record of each segment: all there is to know of the segments before it |
//! | 2 entry | a sealed entry; no longer written |
//! | 3 vote | [`Vote`](crate::record::Vote) |
//! | 4 truncation | [`Truncation`]: entries after this one are void |
//! | 5 purge | [`LogId`](crate::record::LogId): entries up to this one are void |
//! | 6 committed | [`LogId`](crate::record::LogId) known to be committed, at least |
//! | 7 entries | sealed entries, one after the other; before each its length (4 bytes) |
//!
//! A sealed entry:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | crc32c of index (8 bytes big-endian) and record |
//! | 4 | 4 | chain: crc32c of the previous entry's chain and this entry's crc |
//! | 8 | n | the record, in the crate's codec |
//!
//! The number of the segment in the crc keeps what a recycled file held from looking valid; so does the life, when a
//! member starts again after a crash and writes over what the crash left. `durable` tells a torn tail, which was never
//! acknowledged, from damage before the end: if anything written later says that a record was durable, it is missed.
//! The crc of an entry finds a misplaced one, the chain one of another history.

use bytes::Bytes;

use crate::codec::{self, Decode, Encode};
use crate::entry::Entry;
use crate::record::{LogId, Vote};

/// Bytes before the body of a record.
pub(super) const HEADER_BYTES: usize = 32;

/// Records begin at multiples of this.
pub(super) const ALIGNMENT: u64 = 8;

const SEAL_BYTES: usize = 8;

/// Before each entry in a record of entries.
const LENGTH_BYTES: usize = 4;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Kind {
    Head = 1,
    Entry = 2,
    Vote = 3,
    Truncation = 4,
    Purge = 5,
    Committed = 6,
    Entries = 7,
}

impl Kind {
    pub(super) fn from_number(number: u32) -> Option<Self> {
        let all = [
            Self::Head,
            Self::Entry,
            Self::Vote,
            Self::Truncation,
            Self::Purge,
            Self::Committed,
            Self::Entries,
        ];
        all.into_iter().find(|kind| *kind as u32 == number)
    }
}

/// Where the log stands at the beginning of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct Head {
    pub(super) vote: Option<Vote>,
    pub(super) purged: Option<LogId>,
    pub(super) committed: Option<LogId>,
    /// The last entry, and its chain.
    pub(super) last: Option<LogId>,
    pub(super) chain: u32,
}

/// The log ends with `last`, whose chain is `chain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Truncation {
    pub(super) last: Option<LogId>,
    pub(super) chain: u32,
}

/// What stands before the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    crc: u32,
    pub(super) length: u32,
    pub(super) sequence: u64,
    pub(super) durable: u64,
    pub(super) life: u32,
    pub(super) kind: Kind,
}

impl Header {
    /// Reads a header, if this may be one.
    pub(super) fn parse(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let header = Self {
            crc: word(0),
            length: word(4),
            sequence: long(8),
            durable: long(16),
            life: word(24),
            kind: Kind::from_number(word(28))?,
        };
        let sane =
            header.length as usize <= crate::limits::RECORD_BYTES_MAX && header.durable <= header.sequence;
        (sane && header.sequence > 0).then_some(header)
    }

    /// Bytes of the whole record.
    pub(super) fn record_bytes(&self) -> u64 {
        record_bytes(self.length as usize)
    }

    /// Whether `bytes`, header and body, are what was written to the segment of this number.
    pub(super) fn matches(&self, number: u64, bytes: &[u8]) -> bool {
        self.crc == checksum_of_record(number, bytes)
    }
}

/// Bytes of a record whose body has so many.
pub(super) fn record_bytes(body: usize) -> u64 {
    ((HEADER_BYTES + body) as u64).next_multiple_of(ALIGNMENT)
}

fn checksum_of_record(number: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), &bytes[4..])
}

/// What goes into the header of a record.
#[derive(Clone, Copy)]
pub(super) struct Stamp {
    pub(super) number: u64,
    pub(super) sequence: u64,
    pub(super) durable: u64,
    pub(super) life: u32,
}

/// Appends a record to `out`; `body` writes the body.
pub(super) fn write_record(out: &mut Vec<u8>, stamp: Stamp, kind: Kind, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; HEADER_BYTES]);
    body(out);
    let length = out.len() - start - HEADER_BYTES;
    let length = u32::try_from(length).expect("records are smaller than the largest message");
    let record = &mut out[start..];
    record[4..8].copy_from_slice(&length.to_le_bytes());
    record[8..16].copy_from_slice(&stamp.sequence.to_le_bytes());
    record[16..24].copy_from_slice(&stamp.durable.to_le_bytes());
    record[24..28].copy_from_slice(&stamp.life.to_le_bytes());
    record[28..32].copy_from_slice(&(kind as u32).to_le_bytes());
    let crc = checksum_of_record(stamp.number, record);
    record[..4].copy_from_slice(&crc.to_le_bytes());
    let padded = start + record_bytes(length as usize) as usize;
    out.resize(padded, 0);
}

/// Name of the segment of this number.
pub(super) fn segment_name(number: u64) -> String {
    format!("{number:016x}.log")
}

/// Number of the segment of this name.
pub(super) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log").filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
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

/// Appends the sealed entry to `out` and returns its chain.
pub(super) fn seal(entry: &Entry, previous_chain: u32, out: &mut Vec<u8>) -> u32 {
    let start = out.len();
    out.extend([0; SEAL_BYTES]);
    codec::encode_into(&entry.as_record(), out);
    let sealed = &mut out[start..];
    let crc = checksum(entry.id.index, &sealed[SEAL_BYTES..]);
    let chain = link(previous_chain, crc);
    sealed[..4].copy_from_slice(&crc.to_le_bytes());
    sealed[4..8].copy_from_slice(&chain.to_le_bytes());
    chain
}

/// Appends the sealed entry to the body of a record of entries and returns its chain.
pub(super) fn seal_beside(entry: &Entry, previous_chain: u32, body: &mut Vec<u8>) -> u32 {
    let start = body.len();
    body.extend([0; LENGTH_BYTES]);
    let chain = seal(entry, previous_chain, body);
    let length = body.len() - start - LENGTH_BYTES;
    let length = u32::try_from(length).expect("entries are smaller than the largest message");
    body[start..start + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    chain
}

/// A sealed entry whose crc holds.
#[derive(Debug)]
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

/// The entries of a record, opened one after the other; none if it is a record of something else.
pub(super) fn entries(kind: Kind, body: Bytes) -> impl Iterator<Item = Result<Sealed, String>> {
    let mut rest = match kind {
        Kind::Entry | Kind::Entries => body,
        Kind::Head | Kind::Vote | Kind::Truncation | Kind::Purge | Kind::Committed => Bytes::new(),
    };
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let next = if kind == Kind::Entry { Ok(std::mem::take(&mut rest)) } else { split_first(&mut rest) };
        Some(next.and_then(|sealed| open(&sealed)))
    })
}

/// Takes the first of some sealed entries with their lengths.
fn split_first(rest: &mut Bytes) -> Result<Bytes, String> {
    let length = rest.first_chunk().map(|bytes| LENGTH_BYTES + u32::from_le_bytes(*bytes) as usize);
    match length.filter(|length| *length <= rest.len()) {
        Some(length) => Ok(rest.split_to(length).split_off(LENGTH_BYTES)),
        None => Err(format!("{} bytes are no whole entry", std::mem::take(rest).len())),
    }
}

/// Opens a sealed entry, or says what is wrong with it.
fn open(value: &Bytes) -> Result<Sealed, String> {
    if value.len() <= SEAL_BYTES {
        return Err(format!("an entry has {} bytes only", value.len()));
    }
    let word = |at: usize| u32::from_le_bytes(value[at..at + 4].try_into().expect("four bytes"));
    let (crc, chain) = (word(0), word(4));
    let record = value.slice(SEAL_BYTES..);
    let entry = Entry::decode(&record).map_err(|error| format!("an entry makes no sense: {error}"))?;
    if checksum(entry.id.index, &record) != crc {
        return Err(format!("entry {} does not match its checksum", entry.id.index));
    }
    Ok(Sealed { entry, crc, chain })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Payload;

    fn entry(index: u64) -> Entry {
        let payload = Payload::Command(Bytes::from(format!("command {index}")));
        Entry { id: LogId { term: 1, index }, payload }
    }

    const STAMP: Stamp = Stamp { number: 3, sequence: 9, durable: 8, life: 2 };

    fn read(number: u64, bytes: &[u8]) -> Option<Header> {
        let header = Header::parse(bytes[..HEADER_BYTES].try_into().unwrap())?;
        let whole = bytes.get(..HEADER_BYTES + header.length as usize)?;
        header.matches(number, whole).then_some(header)
    }

    #[test]
    fn the_layout_of_a_record_never_changes() {
        let mut bytes = Vec::new();
        write_record(&mut bytes, STAMP, Kind::Vote, |body| body.extend(b"abc"));
        let mut golden =
            vec![3, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0];
        golden.extend(b"abc");
        let mut seeded = vec![3, 0, 0, 0, 0, 0, 0, 0];
        seeded.extend(&golden);
        golden.splice(0..0, crc32c::crc32c(&seeded).to_le_bytes());
        golden.extend([0; 5]);
        assert_eq!(bytes, golden);
        assert_eq!(read(3, &bytes).unwrap().record_bytes(), 40);
    }

    #[test]
    fn a_record_is_valid_in_its_own_segment_and_unchanged() {
        let mut bytes = Vec::new();
        write_record(&mut bytes, STAMP, Kind::Entry, |body| {
            seal(&entry(7), 99, body);
        });
        let header = read(3, &bytes).unwrap();
        assert_eq!((header.sequence, header.durable, header.life, header.kind), (9, 8, 2, Kind::Entry));
        assert!(read(4, &bytes).is_none(), "as if recycled");
        for bit in 0..(HEADER_BYTES + header.length as usize) * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(read(3, &damaged).is_none(), "bit {bit}");
        }
    }

    #[test]
    fn a_sealed_entry_opens_and_continues_its_chain() {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        let chain = seal(&entry(7), 0, &mut first);
        seal(&entry(8), chain, &mut second);
        let first = open(&first.into()).unwrap();
        let second = open(&second.into()).unwrap();
        assert_eq!(first.entry, entry(7));
        assert!(first.follows(0));
        assert!(second.follows(first.chain));
        assert!(!second.follows(0));
    }

    #[test]
    fn entries_in_one_record_are_read_one_after_the_other() {
        let mut body = Vec::new();
        let chain = seal_beside(&entry(7), 99, &mut body);
        let first = body.len();
        assert_eq!(body[..LENGTH_BYTES], u32::try_from(first - LENGTH_BYTES).unwrap().to_le_bytes());
        seal_beside(&entry(8), chain, &mut body);
        let read = |kind, bytes: &[u8]| entries(kind, Bytes::copy_from_slice(bytes)).collect::<Vec<_>>();
        let found: Vec<_> = read(Kind::Entries, &body).into_iter().map(Result::unwrap).collect();
        assert!(found[0].follows(99) && found[1].follows(chain));
        assert_eq!(found.into_iter().map(|sealed| sealed.entry).collect::<Vec<_>>(), [entry(7), entry(8)]);

        let former = read(Kind::Entry, &body[LENGTH_BYTES..first]);
        assert_eq!(former.into_iter().next().unwrap().unwrap().entry, entry(7));
        assert!(read(Kind::Vote, &body).is_empty());
        for end in first + 1..body.len() {
            let cut = read(Kind::Entries, &body[..end]);
            assert!(cut.len() == 2 && cut[0].is_ok() && cut[1].is_err(), "{end}");
        }
    }

    #[test]
    fn every_flipped_bit_of_an_entry_is_noticed() {
        let mut value = Vec::new();
        seal(&entry(7), 99, &mut value);
        for bit in 0..value.len() * 8 {
            let mut damaged = value.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let noticed = match open(&damaged.into()) {
                Ok(sealed) => !sealed.follows(99),
                Err(_) => true,
            };
            assert!(noticed, "bit {bit}");
        }
    }

    #[test]
    fn only_names_of_segments_have_a_number() {
        assert_eq!(segment_number(&segment_name(0xabc)), Some(0xabc));
        for name in ["mark", "lock", "spare-1", "1.log", "00000000000000zz.log"] {
            assert_eq!(segment_number(name), None, "{name}");
        }
    }
}
