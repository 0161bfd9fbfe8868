//! The schema table: what every kind looks like, as data.
//!
//! One [`Table`] describes all built-in kinds, and a small one describes each custom resource, so decoding,
//! defaulting, patching, server-side apply and OpenAPI are written once and interpret it. This module knows
//! shapes; it must not know verbs, storage or what a kind means.
//!
//! ```text
//! bytes --parse_json--> Value --check--> Value without nulls --apply_defaults--> Value --validate--> causes
//!                         duplicates        unknown fields, type errors             (custom resources)
//! ```

mod check;
mod defaults;
mod limits;
mod parse;
mod shape;
mod table;
mod validate;

pub use check::{TypeError, Unknown, check};
pub use defaults::apply_defaults;
pub use parse::{Decoded, ParseError, parse_json};
pub use shape::{Field, Format, GoField, ListKind, PatchStrategy, Proto, ProtoKind, Rules, Shape, Type};
pub use table::{Doc, Table, TypeId};
pub use validate::validate;
