//! From a caller's tree to an object in its stored version: kind, types, unknown fields, defaults.

use api::{GroupVersionKind, Status, schema};
use serde_json::Value;

use crate::{
    Resource,
    catalog::{Schema, conversion},
    contract::FieldValidation,
};

/// Checks that a body is what `kind` says, and cleans it. Answers warnings.
pub(super) fn check(
    kind: &GroupVersionKind,
    schema: Option<&Schema>,
    body: &mut Value,
    validation: FieldValidation,
) -> Result<Vec<String>, Status> {
    identify(kind, body)?;
    let Some(schema) = schema else { return Ok(Vec::new()) };
    let context =
        || format!("{} in version {:?} cannot be handled as a {}", kind.kind, kind.version, kind.kind);
    let unknown = schema::check(schema.table(), schema.ty, body, true)
        .map_err(|why| Status::bad_request(format!("{}: {why}", context())))?;
    if unknown.is_empty() {
        return Ok(Vec::new());
    }
    let said: Vec<String> = unknown.iter().map(ToString::to_string).collect();
    match validation {
        FieldValidation::Strict => {
            Err(Status::bad_request(format!("{}: strict decoding error: {}", context(), said.join(", "))))
        }
        FieldValidation::Warn => Ok(said),
        FieldValidation::Ignore => Ok(Vec::new()),
    }
}

fn identify(kind: &GroupVersionKind, body: &mut Value) -> Result<(), Status> {
    let fields = body.as_object_mut().ok_or_else(|| {
        Status::bad_request("the object provided is unrecognized: a JSON object is expected")
    })?;
    let expected = kind.api_version();
    let said = |fields: &serde_json::Map<String, Value>, key: &str| {
        fields.get(key).and_then(Value::as_str).filter(|s| !s.is_empty()).map(str::to_owned)
    };
    if let Some(version) = said(fields, "apiVersion").filter(|v| *v != expected) {
        return Err(Status::bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({expected})"
        )));
    }
    if let Some(other) = said(fields, "kind").filter(|k| *k != kind.kind) {
        return Err(Status::bad_request(format!(
            "{other} in version {:?} cannot be handled as a {}: the object provided is of another kind",
            kind.version, kind.kind
        )));
    }
    fields.insert("apiVersion".into(), expected.into());
    fields.insert("kind".into(), kind.kind.clone().into());
    Ok(())
}

/// Makes a checked object of `row` what is stored, defaults included.
pub(super) fn to_stored(row: &Resource, object: &mut Value) {
    if let Some(schema) = &row.schema {
        schema::apply_defaults(schema.table(), schema.ty, object);
    }
    conversion::to_stored(row, object);
    row.strategy.defaults(object);
}
