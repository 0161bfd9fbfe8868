//! Static defaults.
//!
//! Fields that the reference implementation holds as embedded structs exist even when empty, so they are
//! created here: their own fields may have defaults, and clients expect to see them (`resources: {}`).

use serde_json::{Map, Value};

use super::check::is_zero;
use super::shape::{Field, Shape};
use super::table::{Table, TypeId};

/// Sets every static default that is missing, recursively. Applying it again changes nothing.
///
/// Defaults that must be computed (a selector from labels, a pull policy from an image tag, requests from limits)
/// are not here.
pub fn apply_defaults(table: &Table, ty: TypeId, value: &mut Value) {
    fill(table, ty, None, value);
}

fn fill(table: &Table, ty: TypeId, within: Option<TypeId>, value: &mut Value) {
    match (&table.get(ty).shape, value) {
        (Shape::Object { fields, .. }, Value::Object(map)) => fill_object(table, ty, fields, within, map),
        (Shape::Map { value: of, .. }, Value::Object(map)) => {
            map.values_mut().for_each(|value| fill(table, *of, within, value));
        }
        (Shape::List { item, .. }, Value::Array(list)) => {
            list.iter_mut().for_each(|value| fill(table, *item, within, value));
        }
        _ => {}
    }
}

fn fill_object(
    table: &Table,
    ty: TypeId,
    fields: &[Field],
    within: Option<TypeId>,
    map: &mut Map<String, Value>,
) {
    // Decided on what was given, before any of it is written: rules look at their siblings.
    let missing: Vec<(&Field, Value)> = fields
        .iter()
        .filter(|field| is_missing(table, field, map.get(&field.name)))
        .filter_map(|field| Some((field, decide(table, ty, field, within, map)?)))
        .collect();
    for (field, value) in missing {
        map.insert(field.name.clone(), value);
    }
    for field in fields {
        if let Some(value) = map.get_mut(&field.name) {
            fill(table, field.ty, Some(ty), value);
        }
    }
}

fn is_missing(table: &Table, field: &Field, value: Option<&Value>) -> bool {
    match value {
        None => true,
        Some(Value::Null) => !field.nullable,
        Some(value) => !table.is_custom() && !field.go.pointer && is_zero(value),
    }
}

fn decide(
    table: &Table,
    ty: TypeId,
    field: &Field,
    within: Option<TypeId>,
    map: &Map<String, Value>,
) -> Option<Value> {
    let rule = field.rules.iter().find(|rule| {
        let in_place = rule.within.is_none() || rule.within == within;
        in_place
            && rule.when.as_ref().is_none_or(|(sibling, values)| matches(table, ty, sibling, values, map))
    });
    match rule {
        Some(rule) => Some(rule.value.clone()),
        None => field.default.clone().or_else(|| embedded(table, field).then(|| Value::Object(Map::new()))),
    }
}

/// Whether a sibling has one of these values, given or by its own default.
fn matches(table: &Table, ty: TypeId, sibling: &str, values: &[String], map: &Map<String, Value>) -> bool {
    let given = text(map.get(sibling));
    let among = |value: &str| values.iter().any(|v| v == value);
    if among(&given) {
        return true;
    }
    let default = table.field(ty, sibling).and_then(|f| f.default.as_ref());
    given.is_empty() && default.is_some() && among(&text(default))
}

fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(list)) if list.is_empty() => String::new(),
        Some(other) => other.to_string(),
    }
}

/// A struct that is held by value and always written.
fn embedded(table: &Table, field: &Field) -> bool {
    let named = !table.get(field.ty).name.is_empty();
    let object = matches!(table.get(field.ty).shape, Shape::Object { .. });
    !table.is_custom() && named && object && !field.go.pointer && !field.go.omit_zero
}
