//! How commands and responses become bytes: the only place that names bincode.
//!
//! | offset | |
//! |---|---|
//! | 0 | u8, version of the record format |
//! | 1.. | bincode, legacy layout: little endian, fixed-width integers, u64 lengths, u32 variant numbers |
//!
//! Byte strings are borrowed when reading, never copied element by element; callers turn them into slices of the
//! buffer they came in.

use bincode::enc::{EncoderImpl, write::SizeWriter};
use bincode::{BorrowDecode, Encode, config};
use bytes::Bytes;

use crate::limits::RECORD_BYTES_MAX;

/// Version of the record format this code writes and reads.
const FORMAT: u8 = 1;

/// Why a record could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The record exceeds the limit.
    #[error("a record exceeds {RECORD_BYTES_MAX} bytes")]
    TooLarge,
    /// The bytes are not a record of this format.
    #[error("not a record of format {FORMAT}: {0}")]
    Malformed(String),
}

/// Writes a record.
pub fn encode(record: &impl Encode) -> Result<Bytes, Error> {
    let settings = config::legacy().with_limit::<RECORD_BYTES_MAX>();
    let malformed = |error: bincode::error::EncodeError| Error::Malformed(error.to_string());
    // Counting first costs less than growing: the buffer fits, so it becomes shared bytes without a copy.
    let mut counter = EncoderImpl::new(SizeWriter::default(), settings);
    record.encode(&mut counter).map_err(malformed)?;
    let length = 1 + counter.into_writer().bytes_written;
    if length > RECORD_BYTES_MAX {
        return Err(Error::TooLarge);
    }
    let mut out = Vec::with_capacity(length);
    out.push(FORMAT);
    bincode::encode_into_std_write(record, &mut out, settings).map_err(malformed)?;
    Ok(out.into())
}

/// Reads a record that borrows from its bytes.
pub fn decode<'a, T: BorrowDecode<'a, ()>>(bytes: &'a [u8]) -> Result<T, Error> {
    let Some((&FORMAT, record)) = bytes.split_first() else {
        return Err(Error::Malformed(format!("it begins with {:?}", bytes.first())));
    };
    let settings = config::legacy().with_limit::<RECORD_BYTES_MAX>();
    let (record, length) = bincode::borrow_decode_from_slice(record, settings)
        .map_err(|error| Error::Malformed(error.to_string()))?;
    if length + 1 != bytes.len() {
        return Err(Error::Malformed(format!("{} bytes too many", bytes.len() - length - 1)));
    }
    Ok(record)
}
