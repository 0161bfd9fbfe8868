//! The protobuf wire format: varints, lengths, 64-bit numbers.

/// Writes one message. Empty texts and false are left out, as proto3 does; [`Writer::bytes`] always writes.
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
}

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH: u32 = 2;

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
