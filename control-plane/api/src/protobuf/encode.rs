//! JSON to protobuf.

use base64::Engine as _;
use serde_json::{Map, Value};

use super::special::{JSON_SCHEMA, Union, write_int_or_string, write_time};
use super::wire::Writer;
use super::{DEPTH_MAX, MAGIC};
use crate::GroupVersionKind;
use crate::schema::{Field, Format, Shape, Table, TypeId};

/// Why an object has no protobuf form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Custom resources and unknown kinds have no field numbers.
    #[error("{0} has no protobuf form")]
    NoForm(GroupVersionKind),
    /// Nested beyond the bound.
    #[error("nested too deeply")]
    TooDeep,
}

/// Encodes an object as a whole body. It must have passed [`check`](crate::schema::check): values of the wrong
/// type are written as zero.
pub fn encode(table: &Table, gvk: &GroupVersionKind, object: &Value) -> Result<Vec<u8>, EncodeError> {
    let ty =
        table.kind(gvk).filter(|_| !table.is_custom()).ok_or_else(|| EncodeError::NoForm(gvk.clone()))?;
    let mut encoder = Encoder { table, depth: 0 };
    let mut raw = Writer::default();
    encoder.object(&mut raw, ty, object.as_object())?;
    Ok(envelope(&gvk.api_version(), &gvk.kind, &raw.finish()))
}

/// One event of a watch, framed: its length in four bytes, then `WatchEvent` (1 type, 2 the body of the object).
pub fn watch_event(kind: &str, body: &[u8]) -> Vec<u8> {
    let mut event = Writer::default();
    event.bytes(1, kind.as_bytes());
    event.message(2, |raw| raw.bytes(1, body));
    let event = envelope("v1", "WatchEvent", &event.finish());
    // Objects are bounded to a few MiB, so the length fits.
    let length = u32::try_from(event.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &event].concat()
}

fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut out = Writer::default();
    out.message(1, |meta| {
        meta.bytes(1, api_version.as_bytes());
        meta.bytes(2, kind.as_bytes());
    });
    out.bytes(2, raw);
    out.bytes(3, b"");
    out.bytes(4, b"");
    [MAGIC, &out.finish()].concat()
}

struct Encoder<'t> {
    table: &'t Table,
    depth: usize,
}

impl Encoder<'_> {
    fn object(
        &mut self,
        out: &mut Writer,
        ty: TypeId,
        map: Option<&Map<String, Value>>,
    ) -> Result<(), EncodeError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(EncodeError::TooDeep);
        }
        let Shape::Object { fields, .. } = &self.table.get(ty).shape else { return Ok(()) };
        let mut fields: Vec<&Field> = fields.iter().filter(|f| !f.proto.is_empty()).collect();
        fields.sort_by(|a, b| a.proto.cmp(&b.proto));
        self.level(out, &fields, 0, map)?;
        self.depth -= 1;
        Ok(())
    }

    /// Fields whose numbers are at this depth of embedding; deeper ones are grouped into messages.
    fn level(
        &mut self,
        out: &mut Writer,
        fields: &[&Field],
        depth: usize,
        map: Option<&Map<String, Value>>,
    ) -> Result<(), EncodeError> {
        for group in fields.chunk_by(|a, b| a.proto[depth] == b.proto[depth]) {
            let number = group[0].proto[depth];
            if group[0].proto.len() > depth + 1 {
                let mut inner = Writer::default();
                self.level(&mut inner, group, depth + 1, map)?;
                out.bytes(number, &inner.finish());
                continue;
            }
            for field in group {
                let value = map.and_then(|map| map.get(&field.name)).filter(|v| !v.is_null());
                self.field(out, number, field, value)?;
            }
        }
        Ok(())
    }

    fn field(
        &mut self,
        out: &mut Writer,
        number: u32,
        field: &Field,
        value: Option<&Value>,
    ) -> Result<(), EncodeError> {
        let table = self.table;
        match &table.get(field.ty).shape {
            // A named list may be a message of its own.
            Shape::List { .. } if field.go.named == "v1.Verbs" => {
                if value.is_some() {
                    self.one(out, number, field.ty, value)?;
                }
            }
            Shape::List { item, .. } => {
                for item_value in value.and_then(Value::as_array).into_iter().flatten() {
                    self.one(out, number, *item, Some(item_value))?;
                }
            }
            Shape::Map { value: of, .. } => {
                for (key, entry) in value.and_then(Value::as_object).into_iter().flatten() {
                    let mut inner = Writer::default();
                    inner.bytes(1, key.as_bytes());
                    self.one(&mut inner, 2, *of, Some(entry))?;
                    out.bytes(number, &inner.finish());
                }
            }
            Shape::Bytes if value.is_none() => {}
            _ if value.is_none() && field.go.pointer => {}
            _ => self.one(out, number, field.ty, value)?,
        }
        Ok(())
    }

    /// One value; absent ones are zero.
    fn one(
        &mut self,
        out: &mut Writer,
        number: u32,
        ty: TypeId,
        value: Option<&Value>,
    ) -> Result<(), EncodeError> {
        let definition = self.table.get(ty);
        match &definition.shape {
            Shape::String { format: Some(Format::Time | Format::MicroTime), .. } => {
                out.message(number, |out| write_time(out, value));
            }
            Shape::String { .. } => out.bytes(number, value.and_then(Value::as_str).unwrap_or("").as_bytes()),
            Shape::Integer { .. } => out.integer(number, value.and_then(Value::as_i64).unwrap_or(0) as u64),
            Shape::Boolean => out.integer(number, u64::from(value.and_then(Value::as_bool).unwrap_or(false))),
            Shape::Number => out.double(number, value.and_then(Value::as_f64).unwrap_or(0.0)),
            Shape::Bytes => {
                let text = value.and_then(Value::as_str).unwrap_or("");
                let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default();
                out.bytes(number, &bytes);
            }
            Shape::IntOrString => out.message(number, |out| write_int_or_string(out, value)),
            Shape::Quantity => {
                let text = value.and_then(Value::as_str).unwrap_or("0");
                out.message(number, |out| out.bytes(1, text.as_bytes()));
            }
            Shape::Any => self.any(out, number, &definition.name, value)?,
            Shape::Object { .. } => {
                let mut inner = Writer::default();
                self.object(&mut inner, ty, value.and_then(Value::as_object))?;
                out.bytes(number, &inner.finish());
            }
            // A list where one value belongs is a message of its own: 1 items.
            Shape::List { item, .. } => {
                let mut inner = Writer::default();
                for item_value in value.and_then(Value::as_array).into_iter().flatten() {
                    self.one(&mut inner, 1, *item, Some(item_value))?;
                }
                out.bytes(number, &inner.finish());
            }
            Shape::Map { .. } => {}
        }
        Ok(())
    }

    fn any(
        &mut self,
        out: &mut Writer,
        number: u32,
        name: &str,
        value: Option<&Value>,
    ) -> Result<(), EncodeError> {
        let mut inner = Writer::default();
        match (Union::of(name), value) {
            (_, None) => {}
            (None, Some(value)) => inner.bytes(1, value.to_string().as_bytes()),
            (Some(union), Some(value)) => self.union(&mut inner, union, value)?,
        }
        out.bytes(number, &inner.finish());
        Ok(())
    }

    fn union(&mut self, out: &mut Writer, union: Union, value: &Value) -> Result<(), EncodeError> {
        let Some(schema) = self.table.by_name(JSON_SCHEMA) else { return Ok(()) };
        let schema_number = if union == Union::Bool { 2 } else { 1 };
        if union == Union::Bool {
            out.integer(1, u64::from(*value != Value::Bool(false)));
        }
        match value {
            Value::Object(_) => self.one(out, schema_number, schema, Some(value))?,
            Value::Array(items) => {
                for item in items {
                    match item {
                        Value::String(text) => out.bytes(2, text.as_bytes()),
                        _ => self.one(out, 2, schema, Some(item))?,
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
