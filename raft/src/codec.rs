//! How records become bytes: one leading version byte, then bincode in its standard layout (little-endian integers and
//! lengths that take as many bytes as they need). Nothing else in this crate names bincode: the derives for records are
//! re-exported here.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | format version, 2; 1 was the same with integers of fixed width, and is still read |
//! | 1 | n | the record |

use bincode::config::{Config, Configuration, Fixint, Limit, LittleEndian, Varint};
use bincode::enc::EncoderImpl;
use bincode::enc::write::SizeWriter;
pub(crate) use bincode::{BorrowDecode, Decode, Encode};

use crate::limits::RECORD_BYTES_MAX;

/// The layout this version writes. A reader of a later version must still read it.
const FORMAT: u8 = 2;

/// The layout before that.
const FORMAT_OF_FIXED_WIDTH: u8 = 1;

/// Bytes that are no record of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    /// No bytes at all.
    #[error("empty record")]
    Empty,
    /// Written by a version we do not know.
    #[error("unknown record format {0}")]
    Format(u8),
    /// Not a record of the expected kind.
    #[error("malformed record: {0}")]
    Malformed(String),
    /// More bytes than the record has.
    #[error("{0} bytes after the record")]
    Trailing(usize),
}

type Layout<Width> = Configuration<LittleEndian, Width, Limit<RECORD_BYTES_MAX>>;

fn layout() -> Layout<Varint> {
    bincode::config::standard().with_limit::<RECORD_BYTES_MAX>()
}

fn layout_of_fixed_width() -> Layout<Fixint> {
    bincode::config::legacy().with_limit::<RECORD_BYTES_MAX>()
}

/// The bytes of `record`.
pub(crate) fn encode<T: Encode>(record: &T) -> Vec<u8> {
    // Counting first costs less than growing: a message to a peer may have thousands of entries.
    let mut counter = EncoderImpl::new(SizeWriter::default(), layout());
    record.encode(&mut counter).expect("every record can be counted");
    let mut bytes = Vec::with_capacity(1 + counter.into_writer().bytes_written);
    encode_into(record, &mut bytes);
    bytes
}

/// Appends the bytes of `record` to `bytes`.
pub(crate) fn encode_into<T: Encode>(record: &T, bytes: &mut Vec<u8>) {
    bytes.push(FORMAT);
    bincode::encode_into_std_write(record, bytes, layout()).expect("memory takes every record");
}

/// Reads a record; slices in it borrow from `bytes`.
pub(crate) fn decode<'a, T: BorrowDecode<'a, ()>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    fn read<'a, T: BorrowDecode<'a, ()>>(body: &'a [u8], layout: impl Config) -> Result<T, DecodeError> {
        whole(body, bincode::borrow_decode_from_slice(body, layout))
    }
    match format(bytes)? {
        (FORMAT_OF_FIXED_WIDTH, body) => read(body, layout_of_fixed_width()),
        (_, body) => read(body, layout()),
    }
}

/// Reads a record that owns all it holds.
pub(crate) fn decode_owned<T: Decode<()>>(bytes: &[u8]) -> Result<T, DecodeError> {
    match format(bytes)? {
        (FORMAT_OF_FIXED_WIDTH, body) => {
            whole(body, bincode::decode_from_slice(body, layout_of_fixed_width()))
        }
        (_, body) => whole(body, bincode::decode_from_slice(body, layout())),
    }
}

/// One of the formats that are read, and what comes after it.
fn format(bytes: &[u8]) -> Result<(u8, &[u8]), DecodeError> {
    match bytes.split_first() {
        None => Err(DecodeError::Empty),
        Some((&format @ (FORMAT_OF_FIXED_WIDTH | FORMAT), body)) => Ok((format, body)),
        Some((&format, _)) => Err(DecodeError::Format(format)),
    }
}

/// A record that took the whole of its bytes.
fn whole<T>(body: &[u8], read: Result<(T, usize), bincode::error::DecodeError>) -> Result<T, DecodeError> {
    let (record, used) = read.map_err(|error| DecodeError::Malformed(error.to_string()))?;
    match body.len() - used {
        0 => Ok(record),
        trailing => Err(DecodeError::Trailing(trailing)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Entry, LogId, Payload};

    #[test]
    fn the_layout_never_changes_and_the_one_before_is_read() {
        let entry = Entry { id: LogId { term: 2, index: 300 }, payload: Payload::Command(b"ab") };
        let golden = [2, 2, 251, 44, 1, 1, 2, b'a', b'b'];
        assert_eq!(encode(&entry), golden);
        assert_eq!(decode::<Entry<'_>>(&golden).unwrap(), entry);

        let mut former = vec![1];
        former.extend([2, 0, 0, 0, 0, 0, 0, 0, 44, 1, 0, 0, 0, 0, 0, 0]);
        former.extend([1, 0, 0, 0]);
        former.extend([2, 0, 0, 0, 0, 0, 0, 0, b'a', b'b']);
        assert_eq!(decode::<Entry<'_>>(&former).unwrap(), entry);
        assert_eq!(decode_owned::<LogId>(&former[..17]).unwrap(), entry.id);
    }

    #[test]
    fn foreign_bytes_are_refused_and_never_panic() {
        assert_eq!(decode::<LogId>(&[]), Err(DecodeError::Empty));
        assert_eq!(decode::<LogId>(&[9, 0]), Err(DecodeError::Format(9)));
        assert!(matches!(decode::<LogId>(&[1, 0]), Err(DecodeError::Malformed(_))));
        let mut long = encode(&LogId { term: 1, index: 1 });
        long.push(0);
        assert_eq!(decode::<LogId>(&long), Err(DecodeError::Trailing(1)));
        let mut huge = encode(&Entry { id: LogId { term: 1, index: 1 }, payload: Payload::Command(b"") });
        huge.pop();
        huge.push(253);
        huge.extend(u64::MAX.to_le_bytes());
        assert!(matches!(decode::<Entry<'_>>(&huge), Err(DecodeError::Malformed(_))));
    }
}
