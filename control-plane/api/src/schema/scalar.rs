//! Scalars: what is accepted, how it is written, and what Go's decoder says otherwise.

use serde_json::Value;

use super::shape::Format;
use crate::quantity::Quantity;

/// A kind of JSON value, as Go's decoder names it.
pub(super) fn json_kind(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "bool".into(),
        Value::Number(_) => "number".into(),
        Value::String(_) => "string".into(),
        Value::Array(_) => "array".into(),
        Value::Object(_) => "object".into(),
    }
}

/// Checks an integer; numbers that do not fit are named with their text.
pub(super) fn integer(value: &Value, bits: u8) -> Result<(), String> {
    let Value::Number(number) = value else { return Err(json_kind(value)) };
    let fits = number.as_i64().is_some_and(|n| bits == 64 || i32::try_from(n).is_ok());
    if fits { Ok(()) } else { Err(format!("number {number}")) }
}

/// Puts a quantity into its canonical form; the error is the whole message.
pub(super) fn quantity(value: &mut Value) -> Result<(), String> {
    let text = match &*value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        other => other.to_string(),
    };
    let parsed: Quantity = text.trim().parse().map_err(|_invalid| {
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
            .to_owned()
    })?;
    *value = Value::String(parsed.to_string());
    Ok(())
}

/// Checks an integer or string; the error is the whole message.
pub(super) fn int_or_string(value: &Value) -> Result<(), String> {
    if value.is_string() {
        return Ok(());
    }
    integer(value, 32).map_err(|found| format!("json: cannot unmarshal {found} into Go value of type int32"))
}

/// Checks base64 text; the error is the whole message.
pub(super) fn base64(text: &str) -> Result<(), String> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).map(drop).map_err(|error| {
        let at = match error {
            base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
            base64::DecodeError::InvalidLength(at) => at,
            base64::DecodeError::InvalidPadding => text.len(),
        };
        format!("illegal base64 data at input byte {at}")
    })
}

/// Puts a time into its canonical form, in UTC; the error is the whole message.
pub(super) fn time(text: &mut String, format: &Format) -> Result<(), String> {
    let (layout, written) = match format {
        Format::Time => ("2006-01-02T15:04:05Z07:00", "%Y-%m-%dT%H:%M:%SZ"),
        Format::MicroTime => ("2006-01-02T15:04:05.000000Z07:00", "%Y-%m-%dT%H:%M:%S.%6fZ"),
        Format::Other(_) => return Ok(()),
    };
    let parsed = if looks_like_rfc3339(text) { text.parse::<jiff::Timestamp>().ok() } else { None };
    match parsed {
        Some(at) => {
            *text = at.strftime(written).to_string();
            Ok(())
        }
        None => Err(format!("parsing time {text:?} as {layout:?}: cannot parse {text:?} as \"2006\"")),
    }
}

/// The parser accepts more of ISO 8601 than Go does.
fn looks_like_rfc3339(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 20
        && bytes[..19].iter().zip(b"0000-00-00T00:00:00").all(|(byte, pattern)| match pattern {
            b'0' => byte.is_ascii_digit(),
            other => byte == other,
        })
}
