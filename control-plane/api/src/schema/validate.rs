//! Structural validation, for custom resources: types, required fields, enums and bounds, with the words of
//! apiextensions-apiserver. Built-in kinds are validated by their strategies instead.

use serde_json::Value;

use super::path::Path;
use super::shape::{Field, Rules, Shape};
use super::table::{Table, TypeId};
use crate::status::{Cause, CauseType};

/// What is structurally wrong with `value`; empty when nothing is.
pub fn validate(table: &Table, ty: TypeId, value: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    walk(table, ty, value, &Path::Root, &mut causes);
    causes
}

fn walk(table: &Table, ty: TypeId, value: &Value, path: &Path<'_>, causes: &mut Vec<Cause>) {
    let definition = table.get(ty);
    if let Some(wanted) = wrong_type(&definition.shape, value) {
        causes.push(type_invalid(path, wanted, value));
        return;
    }
    match (&definition.shape, value) {
        (Shape::Object { fields, .. }, Value::Object(map)) => {
            for field in fields {
                walk_field(table, field, map.get(&field.name), path, causes);
            }
        }
        (Shape::Map { value: of, .. }, Value::Object(map)) => {
            for (key, value) in map {
                walk(table, *of, value, &path.key(key), causes);
            }
        }
        (Shape::List { item, .. }, Value::Array(list)) => {
            for (at, value) in list.iter().enumerate() {
                walk(table, *item, value, &path.index(at), causes);
            }
        }
        (Shape::String { enum_values, .. }, Value::String(text))
            if !enum_values.is_empty() && !enum_values.contains(text) =>
        {
            let supported: Vec<&str> = enum_values.iter().map(String::as_str).collect();
            causes.push(Cause::not_supported(path.to_string(), value, &supported));
        }
        _ => {}
    }
    if let Some(rules) = &definition.rules {
        check_rules(rules, value, path, causes);
    }
}

fn walk_field(table: &Table, field: &Field, value: Option<&Value>, path: &Path<'_>, causes: &mut Vec<Cause>) {
    let at = path.key(&field.name);
    match value {
        None if field.required => causes.push(Cause::required(at.to_string(), "")),
        None => {}
        Some(Value::Null) if field.nullable => {}
        Some(value) => walk(table, field.ty, value, &at, causes),
    }
}

/// The type that was wanted, if the value is not of it.
fn wrong_type(shape: &Shape, value: &Value) -> Option<&'static str> {
    let (wanted, fits) = match shape {
        Shape::Any => return None,
        Shape::Object { .. } | Shape::Map { .. } => ("object", value.is_object()),
        Shape::List { .. } => ("array", value.is_array()),
        Shape::String { .. } | Shape::Bytes => ("string", value.is_string()),
        Shape::Integer { .. } => ("integer", is_integer(value)),
        Shape::Number => ("number", value.is_number()),
        Shape::Boolean => ("boolean", value.is_boolean()),
        Shape::IntOrString => ("integer,string", value.is_string() || is_integer(value)),
        Shape::Quantity => ("string", value.is_string() || value.is_number()),
    };
    (!fits).then_some(wanted)
}

fn is_integer(value: &Value) -> bool {
    value
        .as_number()
        .is_some_and(|n| n.is_i64() || n.is_u64() || n.as_f64().is_some_and(|f| f.fract() == 0.0))
}

fn type_invalid(path: &Path<'_>, wanted: &str, value: &Value) -> Cause {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) if is_integer(value) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let field = path.to_string();
    let message = format!("Invalid value: {found:?}: {field} in body must be of type {wanted}: {found:?}");
    Cause { kind: CauseType::FieldValueTypeInvalid, message, field }
}

fn check_rules(rules: &Rules, value: &Value, path: &Path<'_>, causes: &mut Vec<Cause>) {
    let mut fault = |what: String| {
        causes.push(Cause::invalid(path.to_string(), value, &format!("{path} in body {what}")));
    };
    match value {
        Value::Number(number) => number_faults(rules, number.as_f64().unwrap_or(0.0), &mut fault),
        Value::String(text) => string_faults(rules, text, &mut fault),
        Value::Array(list) => {
            let n = list.len() as u64;
            if rules.min_items.is_some_and(|min| n < min) {
                fault(format!("should have at least {} items", rules.min_items.unwrap_or(0)));
            }
            if rules.unique_items && (1..list.len()).any(|at| list[..at].contains(&list[at])) {
                fault("shouldn't contain duplicates".into());
            }
        }
        Value::Object(map) => {
            let n = map.len() as u64;
            if rules.min_properties.is_some_and(|min| n < min) {
                fault(format!("should have at least {} properties", rules.min_properties.unwrap_or(0)));
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
    too_much(rules, value, path, causes);
    if !rules.enum_values.is_empty() && !rules.enum_values.contains(value) {
        let supported: Vec<String> = rules.enum_values.iter().map(Value::to_string).collect();
        let supported: Vec<&str> = supported.iter().map(String::as_str).collect();
        causes.push(Cause::not_supported(path.to_string(), value, &supported));
    }
}

fn number_faults(rules: &Rules, n: f64, fault: &mut impl FnMut(String)) {
    match rules.minimum {
        Some(min) if rules.exclusive_minimum && n <= min => fault(format!("should be greater than {min}")),
        Some(min) if n < min => fault(format!("should be greater than or equal to {min}")),
        _ => {}
    }
    match rules.maximum {
        Some(max) if rules.exclusive_maximum && n >= max => fault(format!("should be less than {max}")),
        Some(max) if n > max => fault(format!("should be less than or equal to {max}")),
        _ => {}
    }
    if let Some(of) = rules.multiple_of.filter(|of| *of != 0.0 && (n / of).fract() != 0.0) {
        fault(format!("should be a multiple of {of}"));
    }
}

fn string_faults(rules: &Rules, text: &str, fault: &mut impl FnMut(String)) {
    if let Some(min) = rules.min_length.filter(|min| (text.chars().count() as u64) < *min) {
        fault(format!("should be at least {min} chars long"));
    }
    if let Some(pattern) = rules.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
        fault(format!("should match '{}'", pattern.as_str()));
    }
}

fn too_much(rules: &Rules, value: &Value, path: &Path<'_>, causes: &mut Vec<Cause>) {
    match value {
        Value::String(text) => {
            if let Some(max) = rules.max_length.filter(|max| text.chars().count() as u64 > *max) {
                causes.push(Cause::too_long(path.to_string(), bound(max)));
            }
        }
        Value::Array(list) => {
            if let Some(max) = rules.max_items.filter(|max| list.len() as u64 > *max) {
                causes.push(Cause::too_many(path.to_string(), list.len(), bound(max)));
            }
        }
        Value::Object(map) => {
            if let Some(max) = rules.max_properties.filter(|max| map.len() as u64 > *max) {
                causes.push(Cause::too_many(path.to_string(), map.len(), bound(max)));
            }
        }
        _ => {}
    }
}

fn bound(max: u64) -> usize {
    usize::try_from(max).unwrap_or(usize::MAX)
}
