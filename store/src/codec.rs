//! How commands and responses become bytes: the only place that names bincode.
//!
//! | offset | |
//! |---|---|
//! | 0 | u8, version of the record format: 2 |
//! | 1.. | bincode, standard layout: little endian; integers, lengths and variant numbers take as many bytes as they need |
//!
//! Version 1 had integers of fixed width (bincode's legacy layout). It is still read.
//!
//! Byte strings are borrowed when reading, never copied element by element; callers turn them into slices of the
//! buffer they came in. A record inside a record of its own kind is a [`Nested`] one: reading is recursive, and what comes
//! from a peer must not choose how deep.

use bincode::de::BorrowDecoder;
use bincode::enc::{Encoder, EncoderImpl, write::SizeWriter};
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Encode, config};
use bytes::Bytes;
use store_client::limits::TXN_DEPTH_MAX;

use crate::limits::RECORD_BYTES_MAX;

/// Version of the record format this code writes.
const FORMAT: u8 = 2;

/// The version before that, which it reads too.
const FORMAT_OF_FIXED_WIDTH: u8 = 1;

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

/// How many records may still be inside of each other where a decoder stands.
pub struct Nesting(usize);

/// A record inside a record of its own kind.
pub struct Nested<T>(pub T);

impl<T: Encode> Encode for Nested<T> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.0.encode(encoder)
    }
}

impl<'a, T: BorrowDecode<'a, Nesting>> BorrowDecode<'a, Nesting> for Nested<T> {
    fn borrow_decode<D: BorrowDecoder<'a, Context = Nesting>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let Nesting(left) = decoder.context();
        *left = left.checked_sub(1).ok_or(DecodeError::Other("records too deep inside of each other"))?;
        let inner = T::borrow_decode(decoder)?;
        decoder.context().0 += 1;
        Ok(Self(inner))
    }
}

/// Writes a record.
pub fn encode(record: &impl Encode) -> Result<Bytes, Error> {
    let settings = config::standard().with_limit::<RECORD_BYTES_MAX>();
    let malformed = |error: EncodeError| Error::Malformed(error.to_string());
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
pub fn decode<'a, T: BorrowDecode<'a, Nesting>>(bytes: &'a [u8]) -> Result<T, Error> {
    let read = match bytes.split_first() {
        Some((&FORMAT, record)) => read(record, config::standard().with_limit::<RECORD_BYTES_MAX>()),
        Some((&FORMAT_OF_FIXED_WIDTH, record)) => {
            read(record, config::legacy().with_limit::<RECORD_BYTES_MAX>())
        }
        _ => return Err(Error::Malformed(format!("it begins with {:?}", bytes.first()))),
    };
    let (record, length) = read.map_err(|error| Error::Malformed(error.to_string()))?;
    if length + 1 != bytes.len() {
        return Err(Error::Malformed(format!("{} bytes too many", bytes.len() - length - 1)));
    }
    Ok(record)
}

fn read<'a, T: BorrowDecode<'a, Nesting>>(
    record: &'a [u8],
    settings: impl config::Config,
) -> Result<(T, usize), DecodeError> {
    bincode::borrow_decode_from_slice_with_context(record, settings, Nesting(TXN_DEPTH_MAX))
}
