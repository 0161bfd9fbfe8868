//! How records become bytes: one leading version byte, then bincode in its legacy layout (fixed-width little-endian
//! integers, 64-bit lengths). Nothing else in this crate names bincode:
//! the derives for records are re-exported here.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | format version, 1 |
//! | 1 | n | the record |

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
pub(crate) use bincode::{BorrowDecode, Decode, Encode};

use crate::limits::RECORD_BYTES_MAX;

/// The layout this version writes. A reader of a later version must still read it.
const FORMAT: u8 = 1;

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

fn layout() -> Configuration<LittleEndian, Fixint, Limit<RECORD_BYTES_MAX>> {
    bincode::config::legacy().with_limit::<RECORD_BYTES_MAX>()
}

/// The bytes of `record`.
pub(crate) fn encode<T: Encode>(record: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
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
    let (format, body) = bytes.split_first().ok_or(DecodeError::Empty)?;
    if *format != FORMAT {
        return Err(DecodeError::Format(*format));
    }
    let (record, used) = bincode::borrow_decode_from_slice(body, layout())
        .map_err(|error| DecodeError::Malformed(error.to_string()))?;
    match body.len() - used {
        0 => Ok(record),
        trailing => Err(DecodeError::Trailing(trailing)),
    }
}

/// Reads a record that owns all it holds.
pub(crate) fn decode_owned<T: Decode<()>>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (format, body) = bytes.split_first().ok_or(DecodeError::Empty)?;
    if *format != FORMAT {
        return Err(DecodeError::Format(*format));
    }
    let (record, used) = bincode::decode_from_slice(body, layout())
        .map_err(|error| DecodeError::Malformed(error.to_string()))?;
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
    fn the_layout_never_changes() {
        let entry = Entry { id: LogId { term: 2, index: 3 }, payload: Payload::Command(b"ab") };
        let mut golden = vec![1];
        golden.extend([2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
        golden.extend([1, 0, 0, 0]);
        golden.extend([2, 0, 0, 0, 0, 0, 0, 0, b'a', b'b']);
        assert_eq!(encode(&entry), golden);
        assert_eq!(decode::<Entry<'_>>(&golden).unwrap(), entry);
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
        let length_at = huge.len() - 8;
        huge[length_at..].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(decode::<Entry<'_>>(&huge), Err(DecodeError::Malformed(_))));
    }
}
