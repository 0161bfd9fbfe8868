//! Types whose encoding is not that of a struct.

use serde_json::{Value, json};

use super::wire::{Malformed, Reader, Wire, Writer};

/// Types of JSON that upstream holds as unions; their alternatives are whole schemas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Union {
    /// `JSONSchemaPropsOrArray`: 1 schema, 2 schemas.
    Array,
    /// `JSONSchemaPropsOrBool`: 1 allows, 2 schema.
    Bool,
    /// `JSONSchemaPropsOrStringArray`: 1 schema, 2 names.
    StringArray,
}

impl Union {
    /// The union of this name.
    pub(super) fn of(name: &str) -> Option<Self> {
        match name.rsplit('.').next()? {
            "JSONSchemaPropsOrArray" => Some(Self::Array),
            "JSONSchemaPropsOrBool" => Some(Self::Bool),
            "JSONSchemaPropsOrStringArray" => Some(Self::StringArray),
            _ => None,
        }
    }
}

/// The name of the schema type that unions hold.
pub(super) const JSON_SCHEMA: &str =
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

/// `Timestamp`: 1 seconds, 2 nanoseconds; nothing for the zero time.
pub(super) fn write_time(out: &mut Writer, value: Option<&Value>) {
    let Some(at) = value.and_then(Value::as_str).and_then(|text| text.parse::<jiff::Timestamp>().ok()) else {
        return;
    };
    let (mut seconds, mut nanos) = (at.as_second(), at.subsec_nanosecond());
    if nanos < 0 {
        seconds -= 1;
        nanos += 1_000_000_000;
    }
    out.integer(1, seconds as u64);
    out.integer(2, nanos as u64);
}

/// The text of a `Timestamp`; `None` for the zero time.
pub(super) fn read_time(message: &[u8], micro: bool) -> Result<Option<Value>, Malformed> {
    let (mut seconds, mut nanos, mut any) = (0, 0, false);
    let mut reader = Reader::new(message);
    while let Some((number, wire)) = reader.next_field()? {
        match (number, wire) {
            (1, Wire::Varint(value)) => (seconds, any) = (value as i64, true),
            (2, Wire::Varint(value)) => (nanos, any) = (value as i32, true),
            _ => {}
        }
    }
    if !any {
        return Ok(None);
    }
    let at = jiff::Timestamp::new(seconds, nanos).map_err(|_out_of_range| Malformed)?;
    let layout = if micro { "%Y-%m-%dT%H:%M:%S.%6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
    Ok(Some(at.strftime(layout).to_string().into()))
}

/// `IntOrString`: 1 type, 2 integer, 3 string.
pub(super) fn write_int_or_string(out: &mut Writer, value: Option<&Value>) {
    let text = value.and_then(Value::as_str);
    out.integer(1, u64::from(text.is_some()));
    out.integer(2, value.and_then(Value::as_i64).unwrap_or(0) as u64);
    out.bytes(3, text.unwrap_or("").as_bytes());
}

/// An integer or a string.
pub(super) fn read_int_or_string(message: &[u8]) -> Result<Value, Malformed> {
    let (mut is_text, mut number_value, mut text) = (false, 0, "");
    let mut reader = Reader::new(message);
    while let Some((number, wire)) = reader.next_field()? {
        match (number, wire) {
            (1, Wire::Varint(kind)) => is_text = kind == 1,
            (2, Wire::Varint(value)) => number_value = value as i32,
            (3, Wire::Bytes(bytes)) => text = std::str::from_utf8(bytes).map_err(|_not_text| Malformed)?,
            _ => {}
        }
    }
    Ok(if is_text { json!(text) } else { json!(number_value) })
}

/// The bytes in field 1: quantities and raw JSON.
pub(super) fn read_first_bytes(message: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let mut found = None;
    let mut reader = Reader::new(message);
    while let Some((number, wire)) = reader.next_field()? {
        if let (1, Wire::Bytes(bytes)) = (number, wire) {
            found = Some(bytes);
        }
    }
    Ok(found)
}
