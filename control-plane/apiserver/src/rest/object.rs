//! Single objects as answers, in the representation the client wants.

use api::Status;
use bytes::Bytes;
use registry::Resource;
use serde_json::{Value, json};

use super::negotiate::{self, Encoding, Shape, Wanted};
use crate::{
    gateway::Context,
    reply::{self, Response},
    tables::{self, IncludeObject},
};

/// What the client wants of objects.
pub fn wanted(context: &Context) -> Result<Wanted, Status> {
    negotiate::negotiate(&context.headers, context.query.flag("pretty"), true)
}

/// Answers an object as stored; only representations other than compact JSON decode it.
pub fn answer(
    context: &Context,
    row: &Resource,
    wanted: Wanted,
    code: u16,
    object: Bytes,
) -> Result<Response, Status> {
    if wanted.shape == Shape::Object && wanted.encoding == Encoding::Json {
        return Ok(reply::bytes(code, reply::JSON, object));
    }
    let value: Value = serde_json::from_slice(&object).map_err(Status::internal)?;
    let is_status = value.get("kind").is_some_and(|kind| kind == "Status");
    let value = match wanted.shape {
        _ if is_status => value,
        Shape::Object => value,
        Shape::PartialMetadata => partial_metadata(&value, wanted.meta_version),
        Shape::Table => {
            let printer = tables::printer(&context.gateway.registry, row, &context.what.subresource);
            let include = IncludeObject::parse(context.query.get("includeObject").unwrap_or_default())?;
            let rows = vec![printer.row(&value, include, wanted.meta_version, jiff::Timestamp::now())];
            let version = value.pointer("/metadata/resourceVersion").cloned().unwrap_or_default();
            printer.table(rows, json!({"resourceVersion": version}), wanted.meta_version, true)
        }
    };
    encode(code, wanted.encoding, &value)
}

/// Writes a tree down.
pub fn encode(code: u16, encoding: Encoding, value: &Value) -> Result<Response, Status> {
    Ok(match encoding {
        Encoding::Json => reply::json(code, value),
        Encoding::PrettyJson => {
            let mut text = serde_json::to_vec_pretty(value).map_err(Status::internal)?;
            text.push(b'\n');
            reply::bytes(code, reply::JSON, text)
        }
        Encoding::Yaml => {
            let text = serde_saphyr::to_string(value).map_err(Status::internal)?;
            reply::bytes(code, reply::YAML, text)
        }
    })
}

/// The `PartialObjectMetadata` of an object.
pub fn partial_metadata(object: &Value, meta_version: &str) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": format!("meta.k8s.io/{meta_version}"),
        "metadata": object.get("metadata").cloned().unwrap_or_else(|| json!({})),
    })
}
