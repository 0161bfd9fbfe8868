//! OpenAPI 2.0 (swagger): one document for everything.

use serde_json::{Map, Value, json};

use super::ResourceDoc;
use super::paths::{ALL, Answer, Body, Operation, Parameter, operations};
use super::schema::{Dialect, Schemas, gvk_value};
use super::v3::{kind_schema, list_schema};

const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";

/// The document of all resources.
pub fn document(resources: &[ResourceDoc<'_>]) -> Value {
    let mut schemas = Schemas::new(Dialect::V2);
    let mut paths: Map<String, Value> = Map::new();
    for native in [STATUS, DELETE_OPTIONS, PATCH] {
        schemas.add_native(native);
    }
    for resource in resources {
        for operation in operations(resource) {
            let written = write(&operation, resource, &mut schemas);
            let item = paths.entry(operation.path.clone()).or_insert_with(|| json!({}));
            item[operation.method] = written;
        }
    }
    let parameters: Map<String, Value> = ALL.iter().map(|p| (p.name.to_owned(), parameter(p))).collect();
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": crate::openapi::LEVEL},
        "paths": paths,
        "definitions": schemas.finish(),
        "parameters": parameters,
    })
}

fn write(operation: &Operation, resource: &ResourceDoc<'_>, schemas: &mut Schemas) -> Value {
    let mut parameters: Vec<Value> =
        operation.parameters.iter().map(|p| json!({"$ref": format!("#/parameters/{}", p.name)})).collect();
    let body = match operation.body {
        Body::None => None,
        Body::Object => kind_schema(operation, resource, schemas),
        Body::Patch { .. } => Some(PATCH.to_owned()),
        Body::DeleteOptions => Some(DELETE_OPTIONS.to_owned()),
    };
    if let Some(name) = body {
        let required = operation.body != Body::DeleteOptions;
        let schema = json!({"$ref": Dialect::V2.reference(&name)});
        parameters.push(json!({"name": "body", "in": "body", "required": required, "schema": schema}));
    }
    json!({
        "tags": [operation.tag],
        "description": operation.description,
        "operationId": operation.id,
        "consumes": consumes(operation.body),
        "produces": ["application/json", "application/yaml"],
        "parameters": parameters,
        "responses": responses(operation, resource, schemas),
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": gvk_value(&operation.gvk),
    })
}

fn consumes(body: Body) -> &'static [&'static str] {
    match body {
        Body::Patch { strategic: true } => &[
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/strategic-merge-patch+json",
            "application/apply-patch+yaml",
        ],
        Body::Patch { strategic: false } => {
            &["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"]
        }
        Body::None | Body::Object | Body::DeleteOptions => &["*/*"],
    }
}

fn responses(operation: &Operation, resource: &ResourceDoc<'_>, schemas: &mut Schemas) -> Value {
    let name = match operation.answer {
        Answer::Text => None,
        Answer::Status => Some(STATUS.to_owned()),
        Answer::Object => kind_schema(operation, resource, schemas),
        Answer::List => list_schema(operation, resource, schemas),
    };
    let schema = match name {
        Some(name) => json!({"$ref": Dialect::V2.reference(&name)}),
        None => json!({"type": "string"}),
    };
    json!({"200": {"description": "OK", "schema": schema}, "401": {"description": "Unauthorized"}})
}

fn parameter(parameter: &Parameter) -> Value {
    let mut out = json!({
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "type": parameter.kind,
        "uniqueItems": true,
    });
    if parameter.place == "path" {
        out["required"] = true.into();
    }
    out
}
