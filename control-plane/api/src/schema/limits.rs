//! Bounds of decoding.

/// Levels of nesting of a JSON document. Deeper input is refused before it can exhaust the stack; upstream's
/// decoder allows 10,000, its YAML path far less, and no kind nests beyond about 20 (schemas of custom
/// resources: about 60).
pub const DEPTH_MAX: usize = 120;

/// Unknown or duplicate fields that are reported by path; further ones are only counted. Keeps an answer to a
/// hostile body small.
pub const REPORTED_FIELDS_MAX: usize = 64;
