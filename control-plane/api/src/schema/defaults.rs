//! Static defaults.

use serde_json::Value;

use super::table::{Table, TypeId};

/// Sets every static default that is missing, recursively.
pub fn apply_defaults(_table: &Table, _ty: TypeId, _value: &mut Value) {}
