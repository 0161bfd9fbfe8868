//! OpenAPI 3.0: one document per group and version, and their index.

use std::hash::{DefaultHasher, Hasher as _};

use serde_json::{Map, Value, json};

use super::ResourceDoc;
use super::paths::{Answer, Body, Operation, Parameter, operations};
use super::schema::{Dialect, Schemas, gvk_value};
use crate::GroupVersionKind;
use crate::schema::Table;

const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";

/// The document of one group and version; `resources` are all of it.
pub fn group_document(resources: &[ResourceDoc<'_>]) -> Value {
    let mut schemas = Schemas::new(Dialect::V3);
    let mut paths: Map<String, Value> = Map::new();
    schemas.add_native(STATUS);
    schemas.add_native(DELETE_OPTIONS);
    for resource in resources {
        for operation in operations(resource) {
            let written = write(&operation, resource, &mut schemas);
            let item = paths.entry(operation.path.clone()).or_insert_with(|| json!({}));
            item[operation.method] = written;
        }
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": crate::openapi::LEVEL},
        "paths": paths,
        "components": {"schemas": schemas.finish()},
    })
}

/// The path of a group and version below `/openapi/v3`: `api/v1` or `apis/apps/v1`.
pub fn path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// A short name of a document's bytes, for the index: clients cache by it.
pub fn hash(document: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(document);
    format!("{:016X}", hasher.finish())
}

/// What `/openapi/v3` answers: for each [`path`], where its document with this [`hash`] is.
pub fn index<'a>(documents: impl IntoIterator<Item = (&'a str, &'a str)>) -> Value {
    let paths: Map<String, Value> = documents
        .into_iter()
        .map(|(path, hash)| {
            (path.to_owned(), json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}")}))
        })
        .collect();
    json!({ "paths": paths })
}

fn write(operation: &Operation, resource: &ResourceDoc<'_>, schemas: &mut Schemas) -> Value {
    let mut out = json!({
        "tags": [operation.tag],
        "description": operation.description,
        "operationId": operation.id,
        "parameters": operation.parameters.iter().map(|p| parameter(p)).collect::<Vec<_>>(),
        "responses": responses(operation, resource, schemas),
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": gvk_value(&operation.gvk),
    });
    if let Some(body) = request_body(operation, resource, schemas) {
        out["requestBody"] = body;
    }
    out
}

fn parameter(parameter: &Parameter) -> Value {
    let mut out = json!({
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "schema": {"type": parameter.kind, "uniqueItems": true},
    });
    if parameter.place == "path" {
        out["required"] = true.into();
    }
    out
}

fn request_body(operation: &Operation, resource: &ResourceDoc<'_>, schemas: &mut Schemas) -> Option<Value> {
    let patch = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
    let (content_types, name): (&[&str], String) = match operation.body {
        Body::None => return None,
        Body::Object => (&["*/*"], kind_schema(operation, resource, schemas)?),
        Body::DeleteOptions => (&["*/*"], DELETE_OPTIONS.to_owned()),
        Body::Patch { strategic } => {
            schemas.add_native(patch);
            let all: &[&str] = &[
                "application/apply-patch+yaml",
                "application/json-patch+json",
                "application/merge-patch+json",
                "application/strategic-merge-patch+json",
            ];
            (if strategic { all } else { &all[..3] }, patch.to_owned())
        }
    };
    let required = operation.body != Body::DeleteOptions;
    Some(json!({"content": content(content_types, &name), "required": required}))
}

fn responses(operation: &Operation, resource: &ResourceDoc<'_>, schemas: &mut Schemas) -> Value {
    let name = match operation.answer {
        Answer::Text => None,
        Answer::Status => Some(STATUS.to_owned()),
        Answer::Object => kind_schema(operation, resource, schemas),
        Answer::List => list_schema(operation, resource, schemas),
    };
    let ok = match name {
        Some(name) => {
            json!({"description": "OK", "content": content(&["application/json", "application/yaml"], &name)})
        }
        None => json!({"description": "OK", "content": {"*/*": {"schema": {"type": "string"}}}}),
    };
    let mut out = json!({"200": ok, "401": {"description": "Unauthorized"}});
    if operation.action == "post" {
        let mut created = out["200"].clone();
        created["description"] = "Created".into();
        out["201"] = created;
    }
    out
}

fn content(types: &[&str], name: &str) -> Value {
    let reference = json!({"schema": {"$ref": Dialect::V3.reference(name)}});
    Value::Object(types.iter().map(|of| ((*of).to_owned(), reference.clone())).collect())
}

/// The schema of the operation's kind. That of a subresource may be built in where the resource's is not.
pub(super) fn kind_schema(
    operation: &Operation,
    resource: &ResourceDoc<'_>,
    schemas: &mut Schemas,
) -> Option<String> {
    schemas
        .add_kind(resource.table, &operation.gvk)
        .or_else(|| schemas.add_kind(Table::builtin(), &operation.gvk))
}

/// The schema of a list of the operation's kind.
pub(super) fn list_schema(
    operation: &Operation,
    resource: &ResourceDoc<'_>,
    schemas: &mut Schemas,
) -> Option<String> {
    let gvk = &operation.gvk;
    if resource.table.is_custom() {
        let item = schemas.add_kind(resource.table, gvk)?;
        return Some(schemas.add_custom_list(gvk, &item));
    }
    let list = GroupVersionKind::new(&gvk.group, &gvk.version, &format!("{}List", gvk.kind));
    schemas.add_kind(resource.table, &list)
}
