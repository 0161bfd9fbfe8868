//! Reads the committed table.
//!
//! `data/table.txt` is UTF-8 text. The first line names the format. Then, columns separated by tabs and trailing
//! empty columns left out:
//!
//! | line | columns |
//! |---|---|
//! | type | name, shape, documentation, kinds (`group/version/Kind`, separated by spaces) |
//! | field, begins with a tab | name, type, flags, documentation, protobuf numbers (dotted), merge key, Go type, default rules (JSON) |
//!
//! Shapes are `object`, `quantity`, `intorstring`, `time`, `microtime` and `any`, with `!` when atomic. Types are
//! `@name`, `[kind]type` (kind: nothing, `set`, or map keys), `{}type`, `{!}type` when atomic, `string(A|B)` for
//! enums, `bytes`, `int32`, `int64`, `number` and `boolean`. Flags are `p` pointer, `e` omitempty, `z` omitzero,
//! `r` required, and of strategic merge `m` merge, `R` replace, `k` retain keys.
//!
//! `data/docs.zz` is a zlib stream of texts separated by NUL; documentation columns are indices into it.

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::OnceLock;

use serde_json::Value;

use super::builder::{Builder, list_kind, object, string};
use super::shape::{DefaultRule, Field, Format, GoField, PatchStrategy, Shape};
use super::table::{Doc, Docs, Table, TypeId};
use crate::GroupVersionKind;

const TABLE: &str = include_str!("data/table.txt");
const DOCS: &[u8] = include_bytes!("data/docs.zz");
const FORMAT: &str = "kontiki-schema 1";

/// The built-in table. The data is compiled in and a test loads it, so it is well formed.
pub(super) fn builtin() -> Table {
    let lines = TABLE.strip_prefix(FORMAT).expect("the committed table has the format of this reader");
    let mut loader = Loader::default();
    for line in lines.lines().filter(|l| !l.is_empty() && !l.starts_with('\t')) {
        loader.declare(line);
    }
    let mut current: Option<(TypeId, Vec<Field>)> = None;
    for line in lines.lines().filter(|l| !l.is_empty()) {
        match (line.strip_prefix('\t'), &mut current) {
            (Some(field), Some((_, fields))) => fields.push(loader.field(field)),
            _ => {
                let name = line.split('\t').next().unwrap_or("");
                let id = loader.builder.named(name).expect("all types were declared in the first pass");
                if let Some((done, fields)) = current.replace((id, Vec::new())) {
                    loader.builder.set_fields(done, fields);
                }
            }
        }
    }
    if let Some((done, fields)) = current {
        loader.builder.set_fields(done, fields);
    }
    loader.builder.finish(Docs::Packed(DOCS, OnceLock::new()), false)
}

/// The texts of the packed documentation.
pub(super) fn unpack(bytes: &[u8]) -> Vec<String> {
    let mut text = String::new();
    let read = flate2::read::ZlibDecoder::new(bytes).read_to_string(&mut text);
    read.expect("the committed documentation is compiled in and a test unpacks it");
    text.split('\0').map(str::to_owned).collect()
}

#[derive(Default)]
struct Loader {
    builder: Builder,
    expressions: HashMap<&'static str, TypeId>,
}

impl Loader {
    fn declare(&mut self, line: &'static str) {
        let mut columns = line.split('\t');
        let mut next = || columns.next().unwrap_or("");
        let (name, shape, doc, kinds) = (next(), next(), next(), next());
        let shape = match shape {
            "object!" => object(false, true),
            "quantity" => Shape::Quantity,
            "intorstring" => Shape::IntOrString,
            "time" => Shape::String { format: Some(Format::Time), enum_values: Vec::new() },
            "microtime" => Shape::String { format: Some(Format::MicroTime), enum_values: Vec::new() },
            "any" => Shape::Any,
            _ => object(false, false),
        };
        let id = self.builder.declare(name, parse_doc(doc), shape);
        for kind in kinds.split(' ').filter(|k| !k.is_empty()) {
            let mut parts = kind.splitn(3, '/');
            let mut next = || parts.next().unwrap_or("");
            self.builder.kind(GroupVersionKind::new(next(), next(), next()), id);
        }
    }

    fn field(&mut self, line: &'static str) -> Field {
        let mut columns = line.splitn(8, '\t');
        let mut next = || columns.next().unwrap_or("");
        let (name, ty, flags, doc) = (next(), next(), next(), next());
        let (proto, merge_key, named, rules) = (next(), next(), next(), next());
        let has = |flag: char| flags.contains(flag);
        let (rules, default) = self.rules(rules);
        Field {
            name: name.to_owned(),
            ty: self.expression(ty),
            doc: parse_doc(doc),
            required: has('r'),
            nullable: false,
            default,
            rules,
            patch: PatchStrategy {
                merge: has('m'),
                replace: has('R'),
                retain_keys: has('k'),
                merge_key: Some(merge_key).filter(|k| !k.is_empty()).map(str::to_owned),
            },
            go: GoField {
                pointer: has('p'),
                omit_empty: has('e'),
                omit_zero: has('z'),
                named: named.to_owned(),
            },
            proto: proto.split('.').filter_map(|n| n.parse().ok()).collect(),
        }
    }

    fn expression(&mut self, text: &'static str) -> TypeId {
        if let Some(name) = text.strip_prefix('@') {
            return self.builder.named(name).expect("the committed table refers to types it has");
        }
        if let Some(id) = self.expressions.get(text) {
            return *id;
        }
        let shape = self.shape(text);
        let id = self.builder.anonymous(shape, None);
        self.expressions.insert(text, id);
        id
    }

    fn shape(&mut self, text: &'static str) -> Shape {
        if let Some((kind, item)) = text.strip_prefix('[').and_then(|t| t.split_once(']')) {
            return Shape::List { item: self.expression(item), kind: list_kind(kind) };
        }
        if let Some((kind, value)) = text.strip_prefix('{').and_then(|t| t.split_once('}')) {
            return Shape::Map { value: self.expression(value), atomic: kind == "!" };
        }
        if let Some(values) = text.strip_prefix("string(").and_then(|t| t.strip_suffix(')')) {
            return Shape::String {
                format: None,
                enum_values: values.split('|').map(str::to_owned).collect(),
            };
        }
        match text {
            "int32" => Shape::Integer { bits: 32 },
            "int64" => Shape::Integer { bits: 64 },
            "number" => Shape::Number,
            "boolean" => Shape::Boolean,
            "bytes" => Shape::Bytes,
            _ => string(),
        }
    }

    /// Rules with conditions, and the value of the one without.
    fn rules(&self, text: &str) -> (Vec<DefaultRule>, Option<Value>) {
        if text.is_empty() {
            return (Vec::new(), None);
        }
        let rules: Vec<Value> =
            serde_json::from_str(text).expect("the committed table has well-formed defaults");
        let mut conditional = Vec::new();
        let mut default = None;
        for rule in rules {
            let within = rule["within"].as_str().and_then(|name| self.builder.named(name));
            let when = rule["when"].as_object().and_then(|when| {
                let (field, values) = when.iter().next()?;
                let values =
                    values.as_array()?.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect();
                Some((field.clone(), values))
            });
            let value = rule["value"].clone();
            if within.is_none() && when.is_none() {
                default = Some(value);
            } else {
                conditional.push(DefaultRule { value, when, within });
            }
        }
        (conditional, default)
    }
}

fn parse_doc(text: &str) -> Doc {
    Doc(text.parse().unwrap_or(0))
}
