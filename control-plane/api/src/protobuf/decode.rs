//! Protobuf to JSON.

use base64::Engine as _;
use serde_json::{Map, Value, json};

use super::special::{JSON_SCHEMA, Union, read_first_bytes, read_int_or_string, read_time};
use super::wire::{Malformed, Reader, Wire};
use super::{DEPTH_MAX, MAGIC};
use crate::GroupVersionKind;
use crate::schema::{Field, Format, Shape, Table, TypeId, vanishes};

/// Why a body does not decode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not a protobuf body of Kubernetes.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    NoMagic,
    /// Not protobuf, or cut short.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A kind without field numbers.
    #[error("no kind {:?} is registered for version {:?}", .0.kind, .0.api_version())]
    UnknownKind(GroupVersionKind),
    /// Nested beyond the bound.
    #[error("nested too deeply")]
    TooDeep,
}

/// Decodes a whole body. A body that does not say its kind is taken as `expected`.
pub fn decode(table: &Table, expected: &GroupVersionKind, body: &[u8]) -> Result<Value, DecodeError> {
    let unknown = body.strip_prefix(MAGIC).ok_or(DecodeError::NoMagic)?;
    let (mut api_version, mut kind, mut raw) = (expected.api_version(), expected.kind.clone(), &[][..]);
    let mut reader = Reader::new(unknown);
    while let Some((number, wire)) = reader.next_field()? {
        match (number, wire) {
            (1, Wire::Bytes(meta)) => {
                let mut meta = Reader::new(meta);
                while let Some((number, wire)) = meta.next_field()? {
                    match (number, wire) {
                        (1, Wire::Bytes(bytes)) if !bytes.is_empty() => api_version = text(bytes)?,
                        (2, Wire::Bytes(bytes)) if !bytes.is_empty() => kind = text(bytes)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let gvk = GroupVersionKind::from_api_version(&api_version, &kind);
    let ty = table.kind(&gvk).filter(|_| !table.is_custom()).ok_or(DecodeError::UnknownKind(gvk))?;
    let mut decoder = Decoder { table, depth: 0 };
    let mut object = decoder.object(ty, raw)?;
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind.into());
    Ok(Value::Object(object))
}

fn text(bytes: &[u8]) -> Result<String, Malformed> {
    String::from_utf8(bytes.to_vec()).map_err(|_not_text| Malformed)
}

struct Decoder<'t> {
    table: &'t Table,
    depth: usize,
}

impl Decoder<'_> {
    fn object(&mut self, ty: TypeId, message: &[u8]) -> Result<Map<String, Value>, DecodeError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(DecodeError::TooDeep);
        }
        let mut map = Map::new();
        if let Shape::Object { fields, .. } = &self.table.get(ty).shape {
            self.level(fields, &mut Vec::new(), message, &mut map)?;
            for field in fields {
                if map.get(&field.name).is_some_and(|value| vanishes(self.table, field, value)) {
                    map.remove(&field.name);
                }
            }
        }
        self.depth -= 1;
        Ok(map)
    }

    /// Fields at one depth of embedding; embedded messages go into the same object.
    fn level(
        &mut self,
        fields: &[Field],
        above: &mut Vec<u32>,
        message: &[u8],
        map: &mut Map<String, Value>,
    ) -> Result<(), DecodeError> {
        let mut reader = Reader::new(message);
        while let Some((number, wire)) = reader.next_field()? {
            above.push(number);
            match (fields.iter().find(|field| field.proto.starts_with(above)), wire) {
                (Some(field), wire) if field.proto.len() == above.len() => self.field(field, wire, map)?,
                (Some(_), Wire::Bytes(inner)) => self.level(fields, above, inner, map)?,
                // A number of a newer version: protobuf has no name to report it by.
                (_, _) => {}
            }
            above.pop();
        }
        Ok(())
    }

    fn field(
        &mut self,
        field: &Field,
        wire: Wire<'_>,
        map: &mut Map<String, Value>,
    ) -> Result<(), DecodeError> {
        let table = self.table;
        match &table.get(field.ty).shape {
            Shape::List { item, .. } if field.go.named != "v1.Verbs" => {
                let list = map.entry(field.name.clone()).or_insert_with(|| json!([]));
                let Value::Array(list) = list else { return Ok(()) };
                match (&table.get(*item).shape, wire) {
                    (Shape::Integer { .. } | Shape::Boolean, Wire::Bytes(packed)) => {
                        let mut reader = Reader::new(packed);
                        while !reader.is_empty() {
                            let value = Wire::Varint(reader.varint()?);
                            list.extend(self.one(*item, value)?);
                        }
                    }
                    (_, wire) => list.push(self.one(*item, wire)?.unwrap_or_default()),
                }
            }
            Shape::Map { value: of, .. } => {
                let Wire::Bytes(entry) = wire else { return Err(Malformed.into()) };
                let (key, value) = self.entry(*of, entry)?;
                let all = map.entry(field.name.clone()).or_insert_with(|| json!({}));
                all[key] = value;
            }
            _ => {
                if let Some(value) = self.one(field.ty, wire)? {
                    map.insert(field.name.clone(), value);
                }
            }
        }
        Ok(())
    }

    fn entry(&mut self, of: TypeId, message: &[u8]) -> Result<(String, Value), DecodeError> {
        let (mut key, mut value) = (String::new(), Value::Null);
        let mut reader = Reader::new(message);
        while let Some((number, wire)) = reader.next_field()? {
            match (number, wire) {
                (1, Wire::Bytes(bytes)) => key = text(bytes)?,
                (2, wire) => value = self.one(of, wire)?.unwrap_or_default(),
                _ => {}
            }
        }
        Ok((key, value))
    }

    /// One value; `None` when it stands for nothing (the zero time, empty raw JSON).
    fn one(&mut self, ty: TypeId, wire: Wire<'_>) -> Result<Option<Value>, DecodeError> {
        let definition = self.table.get(ty);
        Ok(Some(match (&definition.shape, wire) {
            (Shape::String { format: Some(Format::Time), .. }, Wire::Bytes(bytes)) => {
                return Ok(read_time(bytes, false)?);
            }
            (Shape::String { format: Some(Format::MicroTime), .. }, Wire::Bytes(bytes)) => {
                return Ok(read_time(bytes, true)?);
            }
            (Shape::String { .. }, Wire::Bytes(bytes)) => text(bytes)?.into(),
            (Shape::Integer { bits: 32 }, Wire::Varint(value)) => (value as i32).into(),
            (Shape::Integer { .. }, Wire::Varint(value)) => (value as i64).into(),
            (Shape::Boolean, Wire::Varint(value)) => (value != 0).into(),
            (Shape::Number, Wire::Fixed64(bytes)) => f64::from_le_bytes(bytes).into(),
            (Shape::Bytes, Wire::Bytes(bytes)) => {
                base64::engine::general_purpose::STANDARD.encode(bytes).into()
            }
            (Shape::IntOrString, Wire::Bytes(bytes)) => read_int_or_string(bytes)?,
            (Shape::Quantity, Wire::Bytes(bytes)) => match read_first_bytes(bytes)? {
                Some(bytes) => text(bytes)?.into(),
                None => "0".into(),
            },
            (Shape::Any, Wire::Bytes(bytes)) => return self.any(&definition.name, bytes),
            (Shape::Object { .. }, Wire::Bytes(bytes)) => Value::Object(self.object(ty, bytes)?),
            (Shape::List { item, .. }, Wire::Bytes(bytes)) => self.items(*item, bytes)?,
            _ => return Err(Malformed.into()),
        }))
    }

    /// A list that is a message of its own: 1 items.
    fn items(&mut self, item: TypeId, message: &[u8]) -> Result<Value, DecodeError> {
        let mut list = Vec::new();
        let mut reader = Reader::new(message);
        while let Some((number, wire)) = reader.next_field()? {
            if number == 1 {
                list.push(self.one(item, wire)?.unwrap_or_default());
            }
        }
        Ok(Value::Array(list))
    }

    fn any(&mut self, name: &str, message: &[u8]) -> Result<Option<Value>, DecodeError> {
        if let Some(union) = Union::of(name) {
            return self.union(union, message).map(Some);
        }
        match read_first_bytes(message)? {
            Some(raw) if !raw.is_empty() => {
                Ok(Some(crate::schema::parse_json(raw).map_err(|_not_json| Malformed)?.value))
            }
            _ => Ok(None),
        }
    }

    fn union(&mut self, union: Union, message: &[u8]) -> Result<Value, DecodeError> {
        let schema = self.table.by_name(JSON_SCHEMA).ok_or(Malformed)?;
        let (mut single, mut many, mut allows) = (None, Vec::new(), false);
        let mut reader = Reader::new(message);
        while let Some((number, wire)) = reader.next_field()? {
            match (union, number, wire) {
                (Union::Bool, 1, Wire::Varint(value)) => allows = value != 0,
                (Union::Bool, 2, wire) | (Union::Array | Union::StringArray, 1, wire) => {
                    single = self.one(schema, wire)?;
                }
                (Union::Array, 2, wire) => many.extend(self.one(schema, wire)?),
                (Union::StringArray, 2, Wire::Bytes(bytes)) => many.push(text(bytes)?.into()),
                _ => {}
            }
        }
        Ok(match (single, union) {
            (Some(schema), _) => schema,
            (None, Union::Bool) => Value::Bool(allows),
            (None, _) => Value::Array(many),
        })
    }
}
