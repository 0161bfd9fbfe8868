//! The protobuf wire format: varints, lengths, 64-bit numbers.

/// Writes one message. Empty texts and false are left out, as proto3 does, by [`Writer::text`] and
/// [`Writer::boolean`]; the rest always write.
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
}

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH: u32 = 2;
const FIXED32: u32 = 5;

impl Writer {
    /// The message.
    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    /// A text, unless it is empty.
    pub fn text(&mut self, number: u32, text: &str) {
        if !text.is_empty() {
            self.bytes(number, text.as_bytes());
        }
    }

    /// Bytes, also when empty.
    pub fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.key(number, LENGTH);
        self.varint(bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    /// True, or nothing.
    pub fn boolean(&mut self, number: u32, value: bool) {
        if value {
            self.integer(number, 1);
        }
    }

    /// An integer, also when zero; negative ones as their two's complement in 64 bits.
    pub fn integer(&mut self, number: u32, value: u64) {
        self.key(number, VARINT);
        self.varint(value);
    }

    /// A floating-point number, also when zero.
    pub fn double(&mut self, number: u32, value: f64) {
        self.key(number, FIXED64);
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// A message, also when empty.
    pub fn message(&mut self, number: u32, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        write(&mut inner);
        self.bytes(number, &inner.out);
    }

    fn key(&mut self, number: u32, kind: u32) {
        self.varint(u64::from(number << 3 | kind));
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }
}

/// The value of a field as it lies on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wire<'a> {
    /// Integers and booleans.
    Varint(u64),
    /// Floating-point numbers.
    Fixed64([u8; 8]),
    /// Not used by any kind.
    Fixed32([u8; 4]),
    /// Texts, bytes and messages.
    Bytes(&'a [u8]),
}

/// The bytes end early or are no fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed protobuf")]
pub struct Malformed;

/// Reads the fields of one message in order.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads this message.
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next field: its number and value.
    pub fn next_field(&mut self) -> Result<Option<(u32, Wire<'a>)>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).map_err(|_too_large| Malformed)?;
        let value = match (key & 7) as u32 {
            VARINT => Wire::Varint(self.varint()?),
            FIXED64 => Wire::Fixed64(self.array()?),
            FIXED32 => Wire::Fixed32(self.array()?),
            LENGTH => {
                let length = usize::try_from(self.varint()?).map_err(|_too_large| Malformed)?;
                let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
                self.rest = rest;
                Wire::Bytes(bytes)
            }
            _ => return Err(Malformed),
        };
        if number == 0 { Err(Malformed) } else { Ok(Some((number, value))) }
    }

    /// A number without a key, as packed lists have them.
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or(Malformed)?;
            self.rest = rest;
            // The tenth byte has one bit left; more would be lost, and a longer one is no varint.
            if shift == 63 && *byte > 1 {
                return Err(Malformed);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*bytes)
    }
}
