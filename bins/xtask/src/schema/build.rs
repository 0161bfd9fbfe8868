//! Definitions to lines. The format is documented where it is read: `control-plane/api/src/schema/load.rs`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Context;
use serde_json::{Map, Value};

use super::defaults::Defaults;
use super::facts::Facts;

/// The derived files.
pub struct Output {
    /// One line per type and field.
    pub table: String,
    /// Deflated texts, separated by NUL, in order of first use.
    pub docs: Vec<u8>,
}

/// Derives the files.
pub fn build(
    definitions: &Map<String, Value>,
    facts: &Facts<'_>,
    defaults: &Defaults,
) -> anyhow::Result<Output> {
    check_defaults(definitions, defaults)?;
    let mut docs = Docs::new();
    let mut table = String::from("kontiki-schema 1\n");
    let mut names: Vec<&String> = definitions.keys().collect();
    names.sort();
    for name in names {
        write_type(&mut table, name, &definitions[name], facts, defaults, &mut docs)
            .with_context(|| format!("type {name}"))?;
    }
    Ok(Output { table, docs: docs.deflate()? })
}

/// A default for a field that does not exist is a mistake in the data.
fn check_defaults(definitions: &Map<String, Value>, defaults: &Defaults) -> anyhow::Result<()> {
    for (name, field) in defaults.fields() {
        let there = definitions.get(name).and_then(|d| d.get("properties")).and_then(|p| p.get(field));
        anyhow::ensure!(there.is_some(), "default for unknown field {name} {field}");
    }
    Ok(())
}

fn write_type(
    out: &mut String,
    name: &str,
    definition: &Value,
    facts: &Facts<'_>,
    defaults: &Defaults,
    docs: &mut Docs,
) -> anyhow::Result<()> {
    let doc = docs.id(definition);
    let shape = special(name).map_or_else(|| "object".to_owned(), str::to_owned);
    let atomic = definition["x-kubernetes-map-type"] == "atomic";
    let shape = if atomic { format!("{shape}!") } else { shape };
    write!(out, "{name}\t{shape}\t{doc}\t{}", kinds(definition)?)?;
    end_line(out);
    if special(name).is_some() {
        return Ok(());
    }
    let Some(Value::Object(properties)) = definition.get("properties") else { return Ok(()) };
    let required: Vec<&str> = strings(&definition["required"]);
    let mut fields: Vec<&String> = properties.keys().collect();
    fields.sort();
    for field in fields {
        let schema = &properties[field];
        let fact = facts.field(name, field).with_context(|| format!("no facts about {field}"))?;
        let enum_values = match fact.enum_name {
            "" => "",
            of => facts.enum_values(of)?,
        };
        let ty = expression(schema, enum_values).with_context(|| format!("field {field}"))?;
        let mut flags = fact.flags.replace('-', "");
        flags.push_str(&patch_flags(schema));
        if required.contains(&field.as_str()) {
            flags.push('r');
        }
        let merge_key = schema["x-kubernetes-patch-merge-key"].as_str().unwrap_or("");
        let proto = fact.proto.replace('-', "");
        let doc = docs.id(schema);
        let default = defaults.of(name, field);
        write!(out, "\t{field}\t{ty}\t{flags}\t{doc}\t{proto}\t{merge_key}\t{}\t{default}", fact.go_type)?;
        end_line(out);
    }
    Ok(())
}

/// Trailing empty columns are left out.
fn end_line(out: &mut String) {
    out.truncate(out.trim_end_matches('\t').len());
    out.push('\n');
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn kinds(definition: &Value) -> anyhow::Result<String> {
    let mut kinds = Vec::new();
    for gvk in definition["x-kubernetes-group-version-kind"].as_array().into_iter().flatten() {
        let part = |key: &str| gvk[key].as_str().with_context(|| format!("kind without {key}"));
        kinds.push(format!("{}/{}/{}", part("group")?, part("version")?, part("kind")?));
    }
    Ok(kinds.join(" "))
}

fn patch_flags(schema: &Value) -> String {
    let strategy = schema["x-kubernetes-patch-strategy"].as_str().unwrap_or("");
    strategy
        .split(',')
        .filter_map(|word| match word {
            "merge" => Some('m'),
            "replace" => Some('R'),
            "retainKeys" => Some('k'),
            _ => None,
        })
        .collect()
}

/// Named types whose encoding is not that of a struct.
fn special(name: &str) -> Option<&'static str> {
    let (_, short) = name.rsplit_once('.')?;
    Some(match short {
        "Quantity" => "quantity",
        "IntOrString" => "intorstring",
        "Time" => "time",
        "MicroTime" => "microtime",
        "RawExtension"
        | "FieldsV1"
        | "JSON"
        | "JSONSchemaPropsOrArray"
        | "JSONSchemaPropsOrBool"
        | "JSONSchemaPropsOrStringArray"
        | "Patch" => "any",
        _ => return None,
    })
}

/// The type expression of a schema.
fn expression(schema: &Value, enum_values: &str) -> anyhow::Result<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().context("empty reference")?;
        return Ok(format!("@{name}"));
    }
    let kind = match &schema["type"] {
        Value::String(kind) => kind.as_str(),
        Value::Array(kinds) => kinds.first().and_then(Value::as_str).context("empty type")?,
        _ => anyhow::bail!("a schema without type or reference: {schema}"),
    };
    Ok(match (kind, schema["format"].as_str()) {
        ("string", Some("byte")) => "bytes".into(),
        ("string", _) if !enum_values.is_empty() => format!("string({enum_values})"),
        ("string", _) => "string".into(),
        ("integer", Some("int32")) => "int32".into(),
        ("integer", _) => "int64".into(),
        ("number", _) => "number".into(),
        ("boolean", _) => "boolean".into(),
        ("array", _) => format!("[{}]{}", list_kind(schema), expression(&schema["items"], enum_values)?),
        ("object", _) => {
            let atomic = if schema["x-kubernetes-map-type"] == "atomic" { "!" } else { "" };
            format!("{{{atomic}}}{}", expression(&schema["additionalProperties"], enum_values)?)
        }
        (other, _) => anyhow::bail!("unexpected type {other}"),
    })
}

fn list_kind(schema: &Value) -> String {
    match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => "set".into(),
        Some("map") => strings(&schema["x-kubernetes-list-map-keys"]).join(","),
        _ => String::new(),
    }
}

/// Texts by first use; 0 is the empty one.
struct Docs {
    ids: HashMap<String, usize>,
    texts: Vec<String>,
}

impl Docs {
    fn new() -> Self {
        Self { ids: HashMap::from([(String::new(), 0)]), texts: vec![String::new()] }
    }

    fn id(&mut self, schema: &Value) -> usize {
        let text = schema["description"].as_str().unwrap_or("");
        if let Some(id) = self.ids.get(text) {
            return *id;
        }
        self.texts.push(text.to_owned());
        self.ids.insert(text.to_owned(), self.texts.len() - 1);
        self.texts.len() - 1
    }

    fn deflate(&self) -> anyhow::Result<Vec<u8>> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(self.texts.join("\0").as_bytes())?;
        Ok(encoder.finish()?)
    }
}
