//! Bounds of decoding. Nesting is bounded by the JSON parser itself, at 128 levels.

/// Unknown or duplicate fields that are reported by path; further ones are dropped from the report. Keeps an
/// answer to a hostile body small.
pub const REPORTED_FIELDS_MAX: usize = 64;

/// Types of one custom resource's schema. Upstream bounds the size of the definition (1.5 MiB) instead; a
/// large real one (Prometheus operator) has about 5,000.
pub const CUSTOM_TYPES_MAX: usize = 50_000;

/// Nesting of a custom resource's schema: what the JSON parser lets through.
pub const CUSTOM_DEPTH_MAX: usize = 128;

/// Bytes of one compiled pattern of a custom resource's schema: ten times what the longest common one
/// (an RFC 3339 time) needs.
pub const PATTERN_BYTES_MAX: usize = 1 << 20;
