//! Bodies in `application/vnd.kubernetes.protobuf`, which kubectl's typed commands send (`create token`,
//! `auth can-i`, `create namespace`), decoded by the schema table to the tree that JSON would have given.
//!
//! ```text
//! "k8s\0"  Unknown { 1: TypeMeta { 1: apiVersion, 2: kind }, 2: the object's message, ... }
//! ```
//!
//! Answers are never in protobuf: clients that prefer it accept JSON too.

use api::{
    GroupVersionKind,
    schema::{Field, Format, Shape, Table, TypeId},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

/// Media type of these bodies.
pub const MEDIA: &str = "application/vnd.kubernetes.protobuf";

/// Begins every body.
const MAGIC: &[u8] = b"k8s\0";

/// Messages inside each other; schemas of the built-in kinds need fewer.
const DEPTH_MAX: usize = 64;

/// Why a body cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not this encoding at all.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    Magic,
    /// The message ends early or is malformed.
    #[error("the message is malformed")]
    Malformed,
    /// Nothing is known about the kind.
    #[error("no kind {0} is registered")]
    Kind(String),
}

type Result<T> = std::result::Result<T, Error>;

/// Decodes a whole body.
pub fn decode(body: &[u8]) -> Result<Value> {
    let mut unknown = Fields(body.strip_prefix(MAGIC).ok_or(Error::Magic)?);
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    while let Some((number, wire)) = unknown.next()? {
        match number {
            1 => {
                let mut meta = Fields(wire.bytes()?);
                while let Some((number, wire)) = meta.next()? {
                    match number {
                        1 => api_version = text(wire)?,
                        2 => kind = text(wire)?,
                        _ => {}
                    }
                }
            }
            2 => raw = wire.bytes()?,
            _ => {}
        }
    }
    let table = Table::builtin();
    let gvk = GroupVersionKind::from_api_version(&api_version, &kind);
    let ty =
        table.kind(&gvk).or_else(|| meta_kind(table, &kind)).ok_or_else(|| Error::Kind(gvk.to_string()))?;
    let mut object = message(table, ty, raw, 0)?;
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind.into());
    Ok(Value::Object(object))
}

/// Kinds that belong to every group.
fn meta_kind(table: &Table, kind: &str) -> Option<TypeId> {
    table.by_name(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}"))
}

/// One value as it stands on the wire.
#[derive(Clone, Copy)]
enum Wire<'a> {
    Number(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
}

impl<'a> Wire<'a> {
    fn bytes(self) -> Result<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Number(_) | Self::Fixed(_) => Err(Error::Malformed),
        }
    }

    fn number(self) -> Result<u64> {
        match self {
            Self::Number(number) => Ok(number),
            Self::Fixed(_) | Self::Bytes(_) => Err(Error::Malformed),
        }
    }
}

/// The fields of a message, in their order on the wire.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<Option<(u32, Wire<'a>)>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).map_err(|_| Error::Malformed)?;
        let wire = match key & 7 {
            0 => Wire::Number(self.varint()?),
            1 => Wire::Fixed(u64::from_le_bytes(self.take(8)?.try_into().expect("eight bytes were taken"))),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Error::Malformed)?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Fixed(u64::from(u32::from_le_bytes(
                self.take(4)?.try_into().expect("four bytes were taken"),
            ))),
            _ => return Err(Error::Malformed),
        };
        Ok(Some((number, wire)))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Error::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Error::Malformed)
    }
}

fn text(wire: Wire<'_>) -> Result<String> {
    String::from_utf8(wire.bytes()?.to_vec()).map_err(|_| Error::Malformed)
}

fn message(table: &Table, ty: TypeId, bytes: &[u8], depth: usize) -> Result<Map<String, Value>> {
    let Shape::Object { fields, .. } = &table.get(ty).shape else { return Err(Error::Malformed) };
    let fields: Vec<(&[u32], &Field)> =
        fields.iter().filter(|f| !f.proto.is_empty()).map(|f| (f.proto.as_slice(), f)).collect();
    let mut out = Map::new();
    fill(table, &fields, bytes, depth, &mut out)?;
    Ok(out)
}

/// Reads a message into `out`. Fields whose path has more than one number are inside an embedded message.
fn fill(
    table: &Table,
    fields: &[(&[u32], &Field)],
    bytes: &[u8],
    depth: usize,
    out: &mut Map<String, Value>,
) -> Result<()> {
    if depth > DEPTH_MAX {
        return Err(Error::Malformed);
    }
    let mut wires = Fields(bytes);
    while let Some((number, wire)) = wires.next()? {
        let here = fields.iter().find(|(path, _)| **path == [number]);
        if let Some((_, field)) = here {
            put(table, field, wire, depth, out)?;
            continue;
        }
        let inner: Vec<(&[u32], &Field)> = fields
            .iter()
            .filter(|(path, _)| path.first() == Some(&number))
            .map(|(path, field)| (&path[1..], *field))
            .collect();
        if !inner.is_empty() {
            fill(table, &inner, wire.bytes()?, depth + 1, out)?;
        }
    }
    Ok(())
}

fn put(
    table: &Table,
    field: &Field,
    wire: Wire<'_>,
    depth: usize,
    out: &mut Map<String, Value>,
) -> Result<()> {
    match &table.get(field.ty).shape {
        Shape::List { item, .. } => {
            let items = out.entry(&field.name).or_insert_with(|| Value::Array(Vec::new()));
            let items = items.as_array_mut().ok_or(Error::Malformed)?;
            list_item(table, *item, wire, depth, items)
        }
        Shape::Map { value, .. } => {
            let entries = out.entry(&field.name).or_insert_with(|| Value::Object(Map::new()));
            let (key, value) = map_entry(table, *value, wire, depth)?;
            entries.as_object_mut().ok_or(Error::Malformed)?.insert(key, value);
            Ok(())
        }
        _ => {
            let value = single(table, field.ty, wire, depth)?;
            let dropped = value.is_null() || !field.go.pointer && field.go.omit_empty && is_zero(&value);
            if !dropped {
                out.insert(field.name.clone(), value);
            }
            Ok(())
        }
    }
}

/// What the reference implementation leaves out of JSON when it may.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(_) => false,
    }
}

/// One item, or several integers packed into one run of bytes.
fn list_item(table: &Table, item: TypeId, wire: Wire<'_>, depth: usize, out: &mut Vec<Value>) -> Result<()> {
    let is_packed = matches!(table.get(item).shape, Shape::Integer { .. } | Shape::Boolean);
    if let (true, Wire::Bytes(bytes)) = (is_packed, wire) {
        let mut run = Fields(bytes);
        while !run.0.is_empty() {
            let number = run.varint()?;
            out.push(single(table, item, Wire::Number(number), depth)?);
        }
        return Ok(());
    }
    out.push(single(table, item, wire, depth)?);
    Ok(())
}

fn map_entry(table: &Table, value: TypeId, wire: Wire<'_>, depth: usize) -> Result<(String, Value)> {
    let mut entry = Fields(wire.bytes()?);
    let (mut key, mut found) = (String::new(), None);
    while let Some((number, wire)) = entry.next()? {
        match number {
            1 => key = text(wire)?,
            2 => found = Some(single(table, value, wire, depth + 1)?),
            _ => {}
        }
    }
    let found = match found {
        Some(found) => found,
        None => absent(&table.get(value).shape),
    };
    Ok((key, found))
}

/// The value of an entry that carries none.
fn absent(shape: &Shape) -> Value {
    match shape {
        Shape::String { .. } | Shape::Bytes => "".into(),
        Shape::Quantity => "0".into(),
        Shape::Integer { .. } | Shape::Number | Shape::IntOrString => 0.into(),
        Shape::Boolean => false.into(),
        Shape::List { .. } => Value::Array(Vec::new()),
        Shape::Object { .. } | Shape::Map { .. } => Value::Object(Map::new()),
        Shape::Any => Value::Null,
    }
}

fn single(table: &Table, ty: TypeId, wire: Wire<'_>, depth: usize) -> Result<Value> {
    Ok(match &table.get(ty).shape {
        Shape::Object { .. } => Value::Object(message(table, ty, wire.bytes()?, depth + 1)?),
        Shape::String { format: Some(Format::Time | Format::MicroTime), .. } => time(table, ty, wire)?,
        Shape::String { .. } => text(wire)?.into(),
        Shape::Integer { bits } => {
            let number = wire.number()? as i64;
            if *bits == 32 { Value::from(number as i32) } else { Value::from(number) }
        }
        Shape::Number => match wire {
            Wire::Fixed(bits) => Value::from(f64::from_bits(bits)),
            Wire::Number(_) | Wire::Bytes(_) => return Err(Error::Malformed),
        },
        Shape::Boolean => Value::Bool(wire.number()? != 0),
        Shape::IntOrString => int_or_string(wire)?,
        Shape::Quantity => first_text(wire)?.into(),
        Shape::Bytes => STANDARD.encode(wire.bytes()?).into(),
        Shape::Any => any(wire)?,
        // A list or map where one value stands is wrapped in a message of its own, field 1.
        Shape::List { item, .. } => {
            let (mut items, mut wrapper) = (Vec::new(), Fields(wire.bytes()?));
            while let Some((_, wire)) = wrapper.next()? {
                list_item(table, *item, wire, depth + 1, &mut items)?;
            }
            Value::Array(items)
        }
        Shape::Map { value, .. } => {
            let (mut entries, mut wrapper) = (Map::new(), Fields(wire.bytes()?));
            while let Some((_, wire)) = wrapper.next()? {
                entries.extend([map_entry(table, *value, wire, depth + 1)?]);
            }
            Value::Object(entries)
        }
    })
}

/// `{1: seconds, 2: nanoseconds}`; an empty message is no time at all.
fn time(table: &Table, ty: TypeId, wire: Wire<'_>) -> Result<Value> {
    let mut fields = Fields(wire.bytes()?);
    if fields.0.is_empty() {
        return Ok(Value::Null);
    }
    let (mut seconds, mut nanos) = (0, 0);
    while let Some((number, wire)) = fields.next()? {
        match number {
            1 => seconds = wire.number()? as i64,
            2 => nanos = wire.number()? as i32,
            _ => {}
        }
    }
    let moment = jiff::Timestamp::new(seconds, nanos).map_err(|_| Error::Malformed)?;
    let micro = matches!(table.get(ty).shape, Shape::String { format: Some(Format::MicroTime), .. });
    let format = if micro { "%Y-%m-%dT%H:%M:%S.%6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
    Ok(moment.strftime(format).to_string().into())
}

/// `{1: kind, 2: number, 3: text}`.
fn int_or_string(wire: Wire<'_>) -> Result<Value> {
    let mut fields = Fields(wire.bytes()?);
    let (mut is_text, mut number_value, mut text_value) = (false, 0, String::new());
    while let Some((number, wire)) = fields.next()? {
        match number {
            1 => is_text = wire.number()? == 1,
            2 => number_value = wire.number()? as i32,
            3 => text_value = text(wire)?,
            _ => {}
        }
    }
    Ok(if is_text { text_value.into() } else { number_value.into() })
}

/// `{1: text}`.
fn first_text(wire: Wire<'_>) -> Result<String> {
    let mut fields = Fields(wire.bytes()?);
    while let Some((number, wire)) = fields.next()? {
        if number == 1 {
            return text(wire);
        }
    }
    Ok("0".into())
}

/// `{1: JSON as bytes}`.
fn any(wire: Wire<'_>) -> Result<Value> {
    let mut fields = Fields(wire.bytes()?);
    while let Some((number, wire)) = fields.next()? {
        if number == 1 {
            return serde_json::from_slice(wire.bytes()?).map_err(|_| Error::Malformed);
        }
    }
    Ok(Value::Null)
}

#[cfg(test)]
mod tests {
    use api::protobuf::wire::Writer;
    use serde_json::json;

    use super::*;

    fn body(api_version: &str, kind: &str, write: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut unknown = Writer::default();
        unknown.message(1, |meta| {
            meta.text(1, api_version);
            meta.text(2, kind);
        });
        unknown.message(2, write);
        [MAGIC, &unknown.finish()].concat()
    }

    #[test]
    fn a_service_reads_as_its_json() {
        let bytes = body("v1", "Service", |service| {
            service.message(1, |meta| {
                meta.text(1, "web");
                meta.bytes(2, b"");
                meta.message(8, |created| {
                    created.integer(1, 1_700_000_000);
                    created.integer(2, 0);
                });
                meta.message(11, |label| {
                    label.text(1, "app");
                    label.text(2, "web");
                });
            });
            service.message(2, |spec| {
                spec.message(1, |port| {
                    port.bytes(1, b"");
                    port.text(2, "TCP");
                    port.integer(3, 80);
                    port.message(4, |target| {
                        target.integer(1, 1);
                        target.integer(2, 0);
                        target.text(3, "http");
                    });
                    port.integer(5, 0);
                });
            });
        });
        assert_eq!(
            decode(&bytes).unwrap(),
            json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"name": "web", "creationTimestamp": "2023-11-14T22:13:20Z", "labels": {"app": "web"}},
                "spec": {"ports": [{"protocol": "TCP", "port": 80, "targetPort": "http"}]},
            })
        );
    }

    #[test]
    fn embedded_messages_quantities_and_bytes_are_unfolded() {
        let pod = body("v1", "Pod", |pod| {
            pod.message(2, |spec| {
                spec.message(1, |volume| {
                    volume.text(1, "v");
                    volume.message(2, |source| source.message(2, |empty| empty.text(1, "Memory")));
                });
                spec.message(2, |container| {
                    container.text(1, "c");
                    container.message(8, |resources| {
                        resources.message(1, |limit| {
                            limit.text(1, "cpu");
                            limit.message(2, |quantity| quantity.text(1, "100m"));
                        });
                    });
                });
            });
        });
        let pod = decode(&pod).unwrap();
        assert_eq!(pod["spec"]["volumes"], json!([{"name": "v", "emptyDir": {"medium": "Memory"}}]));
        assert_eq!(pod["spec"]["containers"][0]["resources"]["limits"], json!({"cpu": "100m"}));
        let secret = body("v1", "Secret", |secret| {
            secret.message(2, |entry| {
                entry.text(1, "k");
                entry.bytes(2, b"\xff\x00");
            });
        });
        assert_eq!(decode(&secret).unwrap()["data"], json!({"k": "/wA="}));
    }

    #[test]
    fn options_of_every_group_are_known() {
        let bytes = body("apps/v1", "DeleteOptions", |options| options.integer(1, 0));
        assert_eq!(decode(&bytes).unwrap()["gracePeriodSeconds"], 0);
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(decode(b"{}"), Err(Error::Magic));
        assert_eq!(decode(b"k8s\0\x0a\xff"), Err(Error::Malformed));
        assert!(matches!(decode(&body("x/v1", "Nothing", |_| {})), Err(Error::Kind(_))));
        assert_eq!(decode(&body("v1", "Pod", |pod| pod.integer(1, 7))), Err(Error::Malformed));
        for length in 0..64 {
            let noise: Vec<u8> = (0..length).map(|i| (i * 37 + length * 11) as u8).collect();
            let _ = decode(&[MAGIC, &noise].concat());
        }
    }
}
