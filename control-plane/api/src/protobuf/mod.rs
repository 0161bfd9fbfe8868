//! Protobuf bodies (`application/vnd.kubernetes.protobuf`), transcoded by the schema table.
//!
//! client-go and controller-runtime send built-in kinds so by default. Nothing is generated: the table knows every
//! field's number, and the rules below are those of the reference implementation's encoder, so that the bytes
//! are the same.
//!
//! | what | bytes |
//! |---|---|
//! | a body | `k8s\0`, then `Unknown`: 1 type (1 apiVersion, 2 kind), 2 the object, 3 and 4 empty |
//! | a plain scalar or struct | always written, zero or not |
//! | a pointer | written when set |
//! | a list | one entry per item, never packed |
//! | a map | one entry per key in order: 1 key, 2 value |
//! | an embedded struct | a message of its own, although JSON shows its fields in place |
//! | time | 1 seconds, 2 nanoseconds; empty when zero |
//! | quantity | 1 text |
//! | int-or-string | 1 type (0 integer, 1 string), 2 integer, 3 string |
//! | raw JSON | 1 bytes of JSON |
//!
//! Decoding gives what JSON would have given before canonicalization: hand the result to
//! [`schema::check`](crate::schema::check) like any other body.

mod decode;
mod encode;
mod special;
#[cfg(test)]
mod tests;
pub mod wire;

pub use decode::{DecodeError, decode};
pub use encode::{EncodeError, encode, watch_event};

/// Media type of bodies.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// Media type of watches: each event is preceded by its length in four bytes, big-endian.
pub const WATCH_MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf;stream=watch";

/// How every body begins.
const MAGIC: &[u8] = b"k8s\0";

/// Nesting of messages: the same bound as for JSON.
const DEPTH_MAX: usize = 128;
