//! Types of a table as OpenAPI schemas, in the dialect of either version.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::GroupVersionKind;
use crate::schema::{Field, Format, ListKind, Rules, Shape, Table, TypeId};

/// Which version of OpenAPI is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Swagger 2.0: references stand alone, unions are strings.
    V2,
    /// 3.0: references are wrapped so that siblings count, unions are `oneOf`.
    V3,
}

impl Dialect {
    pub(super) fn reference(self, name: &str) -> String {
        match self {
            Self::V2 => format!("#/definitions/{name}"),
            Self::V3 => format!("#/components/schemas/{name}"),
        }
    }
}

/// Collects the schemas that a document needs: what is asked for, and all that refers to.
pub(super) struct Schemas {
    dialect: Dialect,
    done: BTreeMap<String, Value>,
    wanted: BTreeSet<String>,
}

impl Schemas {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, done: BTreeMap::new(), wanted: BTreeSet::new() }
    }

    /// The schema of a kind; its name, if the table has it.
    pub(super) fn add_kind(&mut self, table: &Table, gvk: &GroupVersionKind) -> Option<String> {
        let id = table.kind(gvk)?;
        Some(self.add(table, id))
    }

    /// The schema of a list of a custom kind, which no table has.
    pub(super) fn add_custom_list(&mut self, gvk: &GroupVersionKind, item: &str) -> String {
        let name = format!("{item}List");
        let meta = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
        self.add_native(meta);
        let list_gvk = GroupVersionKind::new(&gvk.group, &gvk.version, &format!("{}List", gvk.kind));
        let schema = json!({
            "description": format!("{} is a list of {}", list_gvk.kind, gvk.kind),
            "type": "object",
            "required": ["items"],
            "properties": {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": self.reference(meta),
                "items": {"type": "array", "items": self.reference(item)},
            },
            "x-kubernetes-group-version-kind": [gvk_value(&list_gvk)],
        });
        self.done.insert(name.clone(), schema);
        name
    }

    /// A type of the built-in table, by name.
    pub(super) fn add_native(&mut self, name: &str) {
        if let Some(id) = Table::builtin().by_name(name) {
            self.add(Table::builtin(), id);
        }
    }

    /// All schemas, by name.
    pub(super) fn finish(self) -> Map<String, Value> {
        self.done.into_iter().collect()
    }

    fn add(&mut self, table: &Table, id: TypeId) -> String {
        let name = table.get(id).name.clone();
        self.add_one(table, id);
        // What a custom table calls native is described, with words, in the built-in one.
        while let Some(wanted) = self.wanted.pop_first() {
            let from = if Table::builtin().by_name(&wanted).is_some() { Table::builtin() } else { table };
            if let Some(id) = from.by_name(&wanted) {
                self.add_one(from, id);
            }
        }
        name
    }

    fn add_one(&mut self, table: &Table, id: TypeId) {
        let definition = table.get(id);
        if self.done.contains_key(&definition.name) {
            return;
        }
        let mut schema = self.definition(table, id);
        set_text(&mut schema, "description", table.doc(definition.doc));
        let kinds: Vec<Value> =
            table.kinds().filter(|(_, of)| *of == id).map(|(gvk, _)| gvk_value(gvk)).collect();
        if !kinds.is_empty() {
            schema.insert("x-kubernetes-group-version-kind".into(), Value::Array(kinds));
        }
        self.done.insert(definition.name.clone(), Value::Object(schema));
    }

    /// A type in full.
    fn definition(&mut self, table: &Table, id: TypeId) -> Map<String, Value> {
        let definition = table.get(id);
        let mut schema = match &definition.shape {
            Shape::Object { fields, preserve_unknown, atomic } => {
                self.object(table, fields, *preserve_unknown, *atomic)
            }
            Shape::Map { value, atomic } => {
                let mut schema =
                    object(json!({"type": "object", "additionalProperties": self.inner(table, *value)}));
                if *atomic {
                    schema.insert("x-kubernetes-map-type".into(), "atomic".into());
                }
                schema
            }
            Shape::List { item, kind } => {
                let mut schema = object(json!({"type": "array", "items": self.inner(table, *item)}));
                list_kind(&mut schema, kind, table.is_custom());
                schema
            }
            shape => self.scalar(shape, &definition.name),
        };
        if let Some(rules) = &definition.rules {
            constrain(&mut schema, rules);
        }
        schema
    }

    fn object(
        &mut self,
        table: &Table,
        fields: &[Field],
        preserve: bool,
        atomic: bool,
    ) -> Map<String, Value> {
        let mut schema = object(json!({"type": "object"}));
        let properties: Map<String, Value> =
            fields.iter().map(|field| (field.name.clone(), self.field(table, field))).collect();
        if !properties.is_empty() {
            schema.insert("properties".into(), Value::Object(properties));
        }
        let required: Vec<&str> = fields.iter().filter(|f| f.required).map(|f| f.name.as_str()).collect();
        if !required.is_empty() {
            schema.insert("required".into(), json!(required));
        }
        if atomic {
            schema.insert("x-kubernetes-map-type".into(), "atomic".into());
        }
        if preserve {
            schema.insert("x-kubernetes-preserve-unknown-fields".into(), true.into());
        }
        schema
    }

    fn field(&mut self, table: &Table, field: &Field) -> Value {
        let mut schema = object(self.inner(table, field.ty));
        set_text(&mut schema, "description", table.doc(field.doc));
        if let Some(default) = &field.default {
            schema.insert("default".into(), default.clone());
        }
        if field.nullable {
            let key = if self.dialect == Dialect::V3 { "nullable" } else { "x-nullable" };
            schema.insert(key.into(), true.into());
        }
        let patch = &field.patch;
        let words = [(patch.merge, "merge"), (patch.replace, "replace"), (patch.retain_keys, "retainKeys")];
        let words: Vec<&str> = words.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect();
        set_text(&mut schema, "x-kubernetes-patch-strategy", &words.join(","));
        set_text(&mut schema, "x-kubernetes-patch-merge-key", patch.merge_key.as_deref().unwrap_or(""));
        Value::Object(schema)
    }

    /// A type where it is used: named ones by reference.
    fn inner(&mut self, table: &Table, id: TypeId) -> Value {
        let definition = table.get(id);
        if definition.name.is_empty() {
            return Value::Object(self.definition(table, id));
        }
        self.wanted.insert(definition.name.clone());
        self.reference(&definition.name)
    }

    fn reference(&self, name: &str) -> Value {
        let target = self.dialect.reference(name);
        match self.dialect {
            Dialect::V2 => json!({ "$ref": target }),
            Dialect::V3 => json!({"allOf": [{ "$ref": target }]}),
        }
    }

    fn scalar(&self, shape: &Shape, name: &str) -> Map<String, Value> {
        let v3 = self.dialect == Dialect::V3;
        object(match shape {
            Shape::String { format, enum_values } => {
                let mut schema = object(json!({"type": "string"}));
                match format {
                    Some(Format::Time | Format::MicroTime) => set_text(&mut schema, "format", "date-time"),
                    Some(Format::Other(format)) => set_text(&mut schema, "format", format),
                    None => {}
                }
                // Upstream publishes enums in v3 only.
                if v3 && !enum_values.is_empty() {
                    schema.insert("enum".into(), json!(enum_values));
                }
                return schema;
            }
            Shape::Integer { bits } => json!({"type": "integer", "format": format!("int{bits}")}),
            Shape::Number => json!({"type": "number", "format": "double"}),
            Shape::Boolean => json!({"type": "boolean"}),
            Shape::Bytes => json!({"type": "string", "format": "byte"}),
            Shape::IntOrString if v3 => {
                json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
            }
            Shape::IntOrString => json!({"type": "string", "format": "int-or-string"}),
            Shape::Quantity if v3 => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
            Shape::Quantity => json!({"type": "string"}),
            Shape::Any if name.is_empty() => json!({"x-kubernetes-preserve-unknown-fields": true}),
            Shape::Any if name.ends_with("RawExtension") || name.ends_with("FieldsV1") => {
                json!({"type": "object"})
            }
            Shape::Any => json!({}),
            Shape::Object { .. } | Shape::Map { .. } | Shape::List { .. } => json!({}),
        })
    }
}

/// `{"group", "version", "kind"}`.
pub(super) fn gvk_value(gvk: &GroupVersionKind) -> Value {
    json!({"group": gvk.group, "version": gvk.version, "kind": gvk.kind})
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn set_text(schema: &mut Map<String, Value>, key: &str, text: &str) {
    if !text.is_empty() {
        schema.insert(key.into(), text.into());
    }
}

fn list_kind(schema: &mut Map<String, Value>, kind: &ListKind, custom: bool) {
    let word = match kind {
        ListKind::Atomic if custom => return,
        ListKind::Atomic => "atomic",
        ListKind::Set => "set",
        ListKind::Map { keys } => {
            schema.insert("x-kubernetes-list-map-keys".into(), json!(keys));
            "map"
        }
    };
    schema.insert("x-kubernetes-list-type".into(), word.into());
}

fn constrain(schema: &mut Map<String, Value>, rules: &Rules) {
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            schema.insert(key.into(), value);
        }
    };
    set("minimum", rules.minimum.map(Value::from));
    set("maximum", rules.maximum.map(Value::from));
    set("exclusiveMinimum", rules.exclusive_minimum.then_some(true.into()));
    set("exclusiveMaximum", rules.exclusive_maximum.then_some(true.into()));
    set("multipleOf", rules.multiple_of.map(Value::from));
    set("minLength", rules.min_length.map(Value::from));
    set("maxLength", rules.max_length.map(Value::from));
    set("pattern", rules.pattern.as_ref().map(|p| p.as_str().into()));
    set("minItems", rules.min_items.map(Value::from));
    set("maxItems", rules.max_items.map(Value::from));
    set("uniqueItems", rules.unique_items.then_some(true.into()));
    set("minProperties", rules.min_properties.map(Value::from));
    set("maxProperties", rules.max_properties.map(Value::from));
    set("enum", (!rules.enum_values.is_empty()).then(|| Value::Array(rules.enum_values.clone())));
}
