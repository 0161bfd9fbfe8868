//! The protobuf encoding of a v2 document (`application/com.github.proto-openapi.spec.v2.v1.0+protobuf`).
//!
//! Field numbers are those of gnostic's `openapiv2/OpenAPIv2.proto`. Only what [`v2`](super::v2) writes is encoded:
//!
//! | message | fields |
//! |---|---|
//! | Document | 1 swagger, 2 info, 8 paths, 9 definitions, 10 parameters |
//! | Info | 1 title, 2 version |
//! | PathItem | 2 get, 3 put, 4 post, 5 delete, 8 patch |
//! | Operation | 1 tags, 3 description, 5 operationId, 6 produces, 7 consumes, 8 parameters, 9 responses, 13 extensions |
//! | Schema | 1 $ref, 2 format, 4 description, 5 default, 6-18 bounds, 19 required, 20 enum, 21 additionalProperties, 22 type, 23 items, 25 properties, 31 extensions |
//! | Named… | 1 name, 2 value |
//! | Any | 2 yaml |

use serde_json::{Map, Value};

use crate::protobuf::wire::Writer;

/// Media type of the encoding. Clients up to 1.32 ask for it by its old name, [`MEDIA_TYPE_OLD`]; it is answered with
/// this one.
pub const MEDIA_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// The name that older clients ask for; `@` is not allowed in media types, hence the new one.
pub const MEDIA_TYPE_OLD: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// Encodes a document of [`v2::document`](super::v2::document).
pub fn encode(document: &Value) -> Vec<u8> {
    let mut out = Writer::default();
    out.text(1, text(document, "swagger"));
    out.message(2, |info| {
        info.text(1, text(&document["info"], "title"));
        info.text(2, text(&document["info"], "version"));
    });
    out.message(8, |paths| {
        for (path, item) in entries(&document["paths"]) {
            paths.message(2, |named| {
                named.text(1, path);
                named.message(2, |out| path_item(out, item));
            });
        }
    });
    out.message(9, |definitions| named_schemas(definitions, &document["definitions"]));
    out.message(10, |parameters| {
        for (name, value) in entries(&document["parameters"]) {
            parameters.message(1, |named| {
                named.text(1, name);
                named.message(2, |out| parameter(out, value));
            });
        }
    });
    out.finish()
}

fn path_item(out: &mut Writer, item: &Value) {
    for (number, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if let Some(value) = item.get(method) {
            out.message(number, |out| operation(out, value));
        }
    }
}

fn operation(out: &mut Writer, value: &Value) {
    texts(out, 1, &value["tags"]);
    out.text(3, text(value, "description"));
    out.text(5, text(value, "operationId"));
    texts(out, 6, &value["produces"]);
    texts(out, 7, &value["consumes"]);
    for item in value["parameters"].as_array().into_iter().flatten() {
        out.message(8, |out| match item["$ref"].as_str() {
            Some(reference) => out.message(2, |out| out.text(1, reference)),
            None => out.message(1, |out| parameter(out, item)),
        });
    }
    out.message(9, |out| {
        for (code, response) in entries(&value["responses"]) {
            out.message(1, |named| {
                named.text(1, code);
                named.message(2, |out| out.message(1, |out| self::response(out, response)));
            });
        }
    });
    extensions(out, 13, value);
}

fn response(out: &mut Writer, value: &Value) {
    out.text(1, text(value, "description"));
    if let Some(of) = value.get("schema") {
        out.message(2, |item| item.message(1, |out| schema(out, of)));
    }
}

/// `Parameter`: 1 body, 2 other; of the others 3 query, 4 path.
fn parameter(out: &mut Writer, value: &Value) {
    match text(value, "in") {
        "body" => out.message(1, |out| {
            out.text(2, text(value, "name"));
            out.text(3, "body");
            out.boolean(4, value["required"] == true);
            out.message(5, |out| schema(out, &value["schema"]));
        }),
        place => {
            let (number, kind, unique) = if place == "path" { (4, 5, 19) } else { (3, 6, 20) };
            out.message(2, |other| {
                other.message(number, |out| {
                    out.boolean(1, value["required"] == true);
                    out.text(2, place);
                    out.text(3, text(value, "description"));
                    out.text(4, text(value, "name"));
                    out.text(kind, text(value, "type"));
                    out.boolean(unique, value["uniqueItems"] == true);
                });
            });
        }
    }
}

fn named_schemas(out: &mut Writer, schemas: &Value) {
    for (name, value) in entries(schemas) {
        out.message(1, |named| {
            named.text(1, name);
            named.message(2, |out| schema(out, value));
        });
    }
}

fn schema(out: &mut Writer, value: &Value) {
    out.text(1, text(value, "$ref"));
    out.text(2, text(value, "format"));
    out.text(4, text(value, "description"));
    if let Some(default) = value.get("default") {
        out.message(5, |out| any(out, default));
    }
    bounds(out, value);
    texts(out, 19, &value["required"]);
    for item in value["enum"].as_array().into_iter().flatten() {
        out.message(20, |out| any(out, item));
    }
    if let Some(of) = value.get("additionalProperties").filter(|v| v.is_object()) {
        out.message(21, |item| item.message(1, |out| schema(out, of)));
    }
    if let Some(kind) = value["type"].as_str() {
        out.message(22, |out| out.text(1, kind));
    }
    if let Some(of) = value.get("items") {
        out.message(23, |items| items.message(1, |out| schema(out, of)));
    }
    if let Some(properties) = value.get("properties") {
        out.message(25, |out| named_schemas(out, properties));
    }
    extensions(out, 31, value);
}

fn bounds(out: &mut Writer, value: &Value) {
    for (number, key) in [(6, "multipleOf"), (7, "maximum"), (9, "minimum")] {
        if let Some(bound) = value[key].as_f64() {
            out.double(number, bound);
        }
    }
    for (number, key) in [(8, "exclusiveMaximum"), (10, "exclusiveMinimum"), (16, "uniqueItems")] {
        out.boolean(number, value[key] == true);
    }
    let counts = [
        (11, "maxLength"),
        (12, "minLength"),
        (14, "maxItems"),
        (15, "minItems"),
        (17, "maxProperties"),
        (18, "minProperties"),
    ];
    for (number, key) in counts {
        if let Some(count) = value[key].as_u64() {
            out.integer(number, count);
        }
    }
    out.text(13, text(value, "pattern"));
}

fn extensions(out: &mut Writer, number: u32, value: &Value) {
    for (name, extension) in entries(value).filter(|(name, _)| name.starts_with("x-")) {
        out.message(number, |named| {
            named.text(1, name);
            named.message(2, |out| any(out, extension));
        });
    }
}

/// Any value travels as YAML text; JSON is YAML.
fn any(out: &mut Writer, value: &Value) {
    out.text(2, &value.to_string());
}

fn texts(out: &mut Writer, number: u32, list: &Value) {
    for item in list.as_array().into_iter().flatten().filter_map(Value::as_str) {
        out.text(number, item);
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("")
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}
