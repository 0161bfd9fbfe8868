//! Types of a decoded object: errors, unknown fields, nulls.

use serde_json::Value;

use super::table::{Table, TypeId};

/// A field that the schema does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// Such as `spec.containers[0].foo`.
    pub path: String,
}

impl std::fmt::Display for Unknown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "unknown field {:?}", self.path)
    }
}

/// A value of the wrong type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TypeError {
    /// Upstream's words after `cannot be handled as a <Kind>: `.
    pub message: String,
}

/// Checks the types of `value` against `ty`, drops nulls, and, with `prune`, drops unknown fields.
pub fn check(_table: &Table, _ty: TypeId, _value: &mut Value, _prune: bool) -> Result<Vec<Unknown>, TypeError> {
    Ok(Vec::new())
}
