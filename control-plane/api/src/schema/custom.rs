//! Compiles a custom resource's OpenAPI schema into a table of its own.

use serde_json::{Map, Value};

use super::builder::{Builder, object};
use super::limits::{CUSTOM_DEPTH_MAX, CUSTOM_TYPES_MAX};
use super::shape::{Field, Format, GoField, ListKind, PatchStrategy, Rules, Shape};
use super::table::{Doc, Docs, Table, TypeId};
use crate::GroupVersionKind;

/// Why a schema does not compile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {what}")]
pub struct SchemaError {
    /// Where in the schema, such as `properties[spec]`.
    pub path: String,
    /// What is wrong there.
    pub what: String,
}

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

impl Table {
    /// The table of one custom resource: `schema` is the `openAPIV3Schema` of a version of its definition.
    /// `apiVersion`, `kind` and `metadata` are those of every object.
    pub fn custom(gvk: &GroupVersionKind, schema: &Value) -> Result<Self, SchemaError> {
        let mut compiler = Compiler { builder: Builder::default(), docs: vec![String::new()] };
        let root = compiler.compile(schema, &mut Vec::new())?;
        let doc = compiler.doc(schema);
        let domain: Vec<&str> = gvk.group.rsplit('.').collect();
        let name = format!("{}.{}.{}", domain.join("."), gvk.version, gvk.kind);
        let preserve = preserves_unknown(schema);
        let mut fields = compiler.builder.take_fields(root);
        fields.retain(|f| !matches!(f.name.as_str(), "apiVersion" | "kind" | "metadata"));
        fields.append(&mut compiler.common_fields());
        let id = compiler.builder.declare(&name, doc, object(preserve, false));
        compiler.builder.set_fields(id, fields);
        compiler.builder.kind(gvk.clone(), id);
        Ok(compiler.builder.finish(Docs::Plain(compiler.docs), true))
    }
}

struct Compiler {
    builder: Builder,
    docs: Vec<String>,
}

impl Compiler {
    fn common_fields(&mut self) -> Vec<Field> {
        let builtin = Table::builtin();
        let meta = builtin.by_name(OBJECT_META).expect("the built-in table has ObjectMeta");
        let meta = self.builder.import(builtin, meta);
        let text = self.builder.anonymous(super::builder::string(), None);
        vec![plain_field("apiVersion", text), plain_field("kind", text), plain_field("metadata", meta)]
    }

    fn compile(&mut self, schema: &Value, path: &mut Vec<String>) -> Result<TypeId, SchemaError> {
        if self.builder.len() >= CUSTOM_TYPES_MAX || path.len() >= CUSTOM_DEPTH_MAX {
            return Err(error(path, "the schema is too large"));
        }
        let rules = self.rules(schema, path)?;
        let shape = self.shape(schema, path)?;
        Ok(self.builder.anonymous(shape, rules))
    }

    fn shape(&mut self, schema: &Value, path: &mut Vec<String>) -> Result<Shape, SchemaError> {
        if schema["x-kubernetes-int-or-string"] == true {
            return Ok(Shape::IntOrString);
        }
        if schema["x-kubernetes-embedded-resource"] == true {
            return Ok(Shape::Any);
        }
        Ok(match schema["type"].as_str() {
            Some("object") => self.object(schema, path)?,
            Some("array") => {
                path.push("items".into());
                let item = self.compile(&schema["items"], path)?;
                path.pop();
                Shape::List { item, kind: list_kind(schema) }
            }
            Some("string") if schema["format"] == "byte" => Shape::Bytes,
            Some("string") => Shape::String {
                format: schema["format"].as_str().map(|f| Format::Other(f.to_owned())),
                enum_values: texts(&schema["enum"]),
            },
            Some("integer") => Shape::Integer { bits: if schema["format"] == "int32" { 32 } else { 64 } },
            Some("number") => Shape::Number,
            Some("boolean") => Shape::Boolean,
            Some(other) => return Err(error(path, &format!("unknown type {other:?}"))),
            None if preserves_unknown(schema) => Shape::Any,
            None => return Err(error(path, "type is required")),
        })
    }

    fn object(&mut self, schema: &Value, path: &mut Vec<String>) -> Result<Shape, SchemaError> {
        let atomic = schema["x-kubernetes-map-type"] == "atomic";
        if let Some(value @ Value::Object(_)) = schema.get("additionalProperties") {
            path.push("additionalProperties".into());
            let value = self.compile(value, path)?;
            path.pop();
            return Ok(Shape::Map { value, atomic });
        }
        let open = preserves_unknown(schema) || schema["additionalProperties"] == true;
        let required = texts(&schema["required"]);
        let mut fields = Vec::new();
        for (name, property) in schema["properties"].as_object().unwrap_or(&Map::new()) {
            path.push(format!("properties[{name}]"));
            let ty = self.compile(property, path)?;
            path.pop();
            fields.push(Field {
                doc: self.doc(property),
                required: required.contains(name),
                nullable: property["nullable"] == true,
                default: property.get("default").cloned(),
                ..plain_field(name, ty)
            });
        }
        Ok(Shape::Object { fields, preserve_unknown: open, atomic })
    }

    fn rules(&self, schema: &Value, path: &[String]) -> Result<Option<Box<Rules>>, SchemaError> {
        let pattern = match schema["pattern"].as_str() {
            Some(pattern) => Some(
                regex::RegexBuilder::new(pattern)
                    .size_limit(super::limits::PATTERN_BYTES_MAX)
                    .build()
                    .map_err(|_invalid| {
                        error(path, &format!("pattern {pattern:?} is not a regular expression"))
                    })?,
            ),
            None => None,
        };
        let number = |key: &str| schema[key].as_f64();
        let count = |key: &str| schema[key].as_u64();
        let strings_only = schema["type"] == "string";
        let rules = Rules {
            minimum: number("minimum"),
            maximum: number("maximum"),
            exclusive_minimum: schema["exclusiveMinimum"] == true,
            exclusive_maximum: schema["exclusiveMaximum"] == true,
            multiple_of: number("multipleOf"),
            min_length: count("minLength"),
            max_length: count("maxLength"),
            pattern,
            min_items: count("minItems"),
            max_items: count("maxItems"),
            unique_items: schema["uniqueItems"] == true,
            min_properties: count("minProperties"),
            max_properties: count("maxProperties"),
            enum_values: match schema["enum"].as_array() {
                Some(values) if !strings_only => values.clone(),
                _ => Vec::new(),
            },
        };
        Ok(Some(rules).filter(|rules| !rules.is_empty()).map(Box::new))
    }

    fn doc(&mut self, schema: &Value) -> Doc {
        let Some(text) = schema["description"].as_str() else { return Doc::default() };
        self.docs.push(text.to_owned());
        Doc(u32::try_from(self.docs.len() - 1).expect("there are fewer texts than types, which are bounded"))
    }
}

fn error(path: &[String], what: &str) -> SchemaError {
    SchemaError { path: path.join("."), what: what.to_owned() }
}

fn plain_field(name: &str, ty: TypeId) -> Field {
    Field {
        name: name.to_owned(),
        ty,
        doc: Doc::default(),
        required: false,
        nullable: false,
        default: None,
        rules: Vec::new(),
        patch: PatchStrategy::default(),
        go: GoField { pointer: true, omit_empty: true, ..GoField::default() },
        proto: Vec::new(),
    }
}

fn preserves_unknown(schema: &Value) -> bool {
    schema["x-kubernetes-preserve-unknown-fields"] == true
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

fn list_kind(schema: &Value) -> ListKind {
    match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => ListKind::Set,
        Some("map") => ListKind::Map { keys: texts(&schema["x-kubernetes-list-map-keys"]) },
        _ => ListKind::Atomic,
    }
}
