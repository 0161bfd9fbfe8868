//! Types of a decoded object: errors, unknown fields, nulls and zero values.
//!
//! The outcome is what a round trip through the reference implementation's structs would give, so that an object
//! compares equal whoever stored it: nulls go, zero values go where `omitempty` says so, quantities and times
//! are written canonically. Messages are its decoder's, because people and tools know them.

use serde_json::{Map, Value};

use super::limits::REPORTED_FIELDS_MAX;
use super::path::Path;
use super::scalar::{base64, int_or_string, integer, json_kind, quantity, time};
use super::shape::{Field, Shape};
use super::table::{Table, TypeId};
use crate::{GroupVersionKind, Status};

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
    /// What follows `cannot be handled as a <Kind>: `.
    pub message: String,
}

/// 400 with the sentence around a decoding error: `Pod in version "v1" cannot be handled as a Pod: <why>`.
pub fn cannot_be_handled(gvk: &GroupVersionKind, why: &str) -> Status {
    let GroupVersionKind { version, kind, .. } = gvk;
    Status::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {why}"))
}

/// What strict field validation says about unknown and duplicate fields; `None` when there are none.
pub fn strict_error(unknown: &[Unknown], duplicates: &[String]) -> Option<String> {
    let duplicates = duplicates.iter().map(|path| format!("duplicate field {path:?}"));
    let all: Vec<String> = duplicates.chain(unknown.iter().map(Unknown::to_string)).collect();
    if all.is_empty() { None } else { Some(format!("strict decoding error: {}", all.join(", "))) }
}

/// Checks the types of `value` against `ty` and brings it to its canonical form. Unknown fields are returned
/// (the first [`REPORTED_FIELDS_MAX`]), and with `prune` also removed.
///
/// For custom resources only metadata is checked and changed; the rest is left to [`validate`](super::validate).
pub fn check(table: &Table, ty: TypeId, value: &mut Value, prune: bool) -> Result<Vec<Unknown>, TypeError> {
    let mut walk = Walk { table, prune, unknown: Vec::new() };
    let place = Place { path: Path::Root, object: "", field: None, native: !table.is_custom() };
    walk.value(ty, value, &place)?;
    Ok(walk.unknown)
}

struct Walk<'t> {
    table: &'t Table,
    prune: bool,
    unknown: Vec<Unknown>,
}

/// Where a value is: its path, and the field of the struct that Go's messages name.
#[derive(Clone, Copy)]
struct Place<'a> {
    path: Path<'a>,
    object: &'a str,
    field: Option<&'a Field>,
    /// Within a type of the reference implementation, where its rules hold.
    native: bool,
}

impl Walk<'_> {
    fn value(&mut self, ty: TypeId, value: &mut Value, place: &Place<'_>) -> Result<(), TypeError> {
        let table = self.table;
        let definition = table.get(ty);
        let found = match (&definition.shape, &mut *value) {
            (Shape::Any, _) => Ok(()),
            (Shape::Object { preserve_unknown, .. }, Value::Object(map)) => {
                return self.object(ty, map, *preserve_unknown, place);
            }
            (Shape::Map { value: of, .. }, Value::Object(map)) => return self.map(*of, map, place),
            (Shape::List { item, .. }, Value::Array(list)) => return self.list(*item, list, place),
            (_, _) if !place.native => Ok(()),
            (Shape::Quantity, value) => return quantity(value).map_err(message),
            (Shape::IntOrString, value) => return int_or_string(value).map_err(message),
            (Shape::Bytes, Value::String(text)) => return base64(text).map_err(message),
            (Shape::String { format: Some(format), .. }, Value::String(text)) => {
                return time(text, format).map_err(message);
            }
            (Shape::String { .. }, Value::String(_)) | (Shape::Number, Value::Number(_)) => Ok(()),
            (Shape::Boolean, Value::Bool(_)) => Ok(()),
            (Shape::Integer { bits }, value) => integer(value, *bits),
            (_, value) => Err(json_kind(value)),
        };
        found.map_err(|found| self.mismatch(&found, ty, place))
    }

    fn object(
        &mut self,
        ty: TypeId,
        map: &mut Map<String, Value>,
        preserve_unknown: bool,
        place: &Place<'_>,
    ) -> Result<(), TypeError> {
        let table = self.table;
        let object = table.get(ty).short_name();
        let native = place.native || table.get(ty).is_native();
        let mut drop = Vec::new();
        for (name, value) in map.iter_mut() {
            let path = place.path.key(name);
            let Some(field) = table.field(ty, name) else {
                self.report(&path, preserve_unknown, &mut drop, name);
                continue;
            };
            if value.is_null() {
                if native || (field.default.is_some() && !field.nullable) {
                    drop.push(name.clone());
                }
                continue;
            }
            let inner =
                Place { path, object, field: Some(field), native: native || table.get(field.ty).is_native() };
            self.value(field.ty, value, &inner)?;
            if native && vanishes(table, field, value) {
                drop.push(name.clone());
            }
        }
        for name in drop {
            map.remove(&name);
        }
        Ok(())
    }

    fn report(&mut self, path: &Path<'_>, preserve_unknown: bool, drop: &mut Vec<String>, name: &str) {
        if preserve_unknown {
            return;
        }
        if self.unknown.len() < REPORTED_FIELDS_MAX {
            self.unknown.push(Unknown { path: path.to_string() });
        }
        if self.prune {
            drop.push(name.to_owned());
        }
    }

    fn map(&mut self, of: TypeId, map: &mut Map<String, Value>, place: &Place<'_>) -> Result<(), TypeError> {
        for (key, value) in map.iter_mut() {
            let inner = Place { path: place.path.entry(key), ..*place };
            self.element(of, value, &inner)?;
        }
        Ok(())
    }

    fn list(&mut self, of: TypeId, list: &mut [Value], place: &Place<'_>) -> Result<(), TypeError> {
        for (at, value) in list.iter_mut().enumerate() {
            let inner = Place { path: place.path.index(at), ..*place };
            self.element(of, value, &inner)?;
        }
        Ok(())
    }

    /// A null element is the zero value of its type.
    fn element(&mut self, of: TypeId, value: &mut Value, place: &Place<'_>) -> Result<(), TypeError> {
        if value.is_null() && place.native {
            *value = zero(&self.table.get(of).shape);
            return Ok(());
        }
        self.value(of, value, place)
    }

    fn mismatch(&self, found: &str, ty: TypeId, place: &Place<'_>) -> TypeError {
        let kind = go_type(self.table, ty, place);
        message(match place.field {
            Some(_) => {
                let path = place.path.fields();
                format!(
                    "json: cannot unmarshal {found} into Go struct field {}.{path} of type {kind}",
                    place.object
                )
            }
            None => format!("json: cannot unmarshal {found} into Go value of type {kind}"),
        })
    }
}

fn message(message: String) -> TypeError {
    TypeError { message }
}

/// Whether Go would leave the field out.
pub(crate) fn vanishes(table: &Table, field: &Field, value: &Value) -> bool {
    let go = &field.go;
    if go.pointer || !(go.omit_empty || go.omit_zero) {
        return false;
    }
    let is_object = matches!(table.get(field.ty).shape, Shape::Object { .. } | Shape::Any | Shape::Quantity);
    if is_object { go.omit_zero && is_zero(value) } else { is_zero(value) }
}

/// Whether this is the zero value of its type.
pub(super) fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

fn zero(shape: &Shape) -> Value {
    match shape {
        Shape::Object { .. } => Value::Object(Map::new()),
        Shape::String { format: None, .. } | Shape::Bytes => Value::String(String::new()),
        Shape::Quantity => Value::String("0".into()),
        Shape::Integer { .. } | Shape::IntOrString | Shape::Number => Value::from(0),
        Shape::Boolean => Value::Bool(false),
        Shape::String { .. } | Shape::Map { .. } | Shape::List { .. } | Shape::Any => Value::Null,
    }
}

/// The type of a value as Go writes it. Named scalars are recorded with their field; within a list or map the
/// element's name follows from the field's.
fn go_type(table: &Table, ty: TypeId, place: &Place<'_>) -> String {
    let named = match place.field {
        Some(field) if field.ty == ty => field.go.named.as_str(),
        Some(field) => {
            field.go.named.strip_prefix("[]").or(field.go.named.strip_prefix("map[string]")).unwrap_or("")
        }
        None => "",
    };
    if named.is_empty() { plain_go_type(table, ty) } else { named.to_owned() }
}

fn plain_go_type(table: &Table, ty: TypeId) -> String {
    let definition = table.get(ty);
    match &definition.shape {
        Shape::Object { .. } | Shape::Any | Shape::Quantity | Shape::IntOrString => {
            definition.go_name().to_owned()
        }
        Shape::String { format: Some(_), .. } => definition.go_name().to_owned(),
        Shape::String { .. } => "string".into(),
        Shape::Map { value, .. } => format!("map[string]{}", plain_go_type(table, *value)),
        Shape::List { item, .. } => format!("[]{}", plain_go_type(table, *item)),
        Shape::Integer { bits } => format!("int{bits}"),
        Shape::Number => "float64".into(),
        Shape::Boolean => "bool".into(),
        Shape::Bytes => "[]uint8".into(),
    }
}
