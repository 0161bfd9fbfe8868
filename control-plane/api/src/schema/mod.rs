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

mod builder;
mod check;
mod custom;
mod defaults;
mod limits;
mod load;
mod parse;
mod path;
mod scalar;
mod shape;
mod table;
mod validate;

pub(crate) use check::vanishes;
pub use check::{TypeError, Unknown, cannot_be_handled, check, strict_error};
pub use custom::SchemaError;
pub use defaults::apply_defaults;
pub use parse::{Decoded, ParseError, parse_json};
pub use shape::{DefaultRule, Field, Format, GoField, ListKind, PatchStrategy, Rules, Shape, Type};
pub use table::{Doc, Table, TypeId};
pub use validate::validate;

#[cfg(test)]
mod tests;
