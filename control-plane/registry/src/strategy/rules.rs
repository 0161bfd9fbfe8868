//! Rules that many kinds share, with upstream's words (k8s.io/apimachinery `pkg/util/validation`).

use api::{
    quantity::Quantity,
    selector::{is_dns_subdomain, is_label_value},
    status::Cause,
};
use serde_json::Value;

use super::NameRule;
use crate::limits;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
/// Upstream's word for a field that never changes.
pub(crate) const IMMUTABLE: &str = "field is immutable";

/// What is wrong with a name, if anything.
pub(crate) fn name_faults(rule: NameRule, name: &str) -> Vec<&'static str> {
    match rule {
        NameRule::Subdomain => subdomain_faults(name),
        NameRule::Label => label_faults(name),
        NameRule::Label1035 => {
            let mut faults = too_long(name, 63, "must be no more than 63 characters");
            let letter_first = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
            if !letter_first || !is_label_shaped(name) {
                faults.push(LABEL_1035);
            }
            faults
        }
        NameRule::Path => {
            let mut faults = Vec::new();
            match name {
                "." => faults.push("may not be '.'"),
                ".." => faults.push("may not be '..'"),
                _ => {}
            }
            if name.contains('/') {
                faults.push("may not contain '/'");
            }
            if name.contains('%') {
                faults.push("may not contain '%'");
            }
            faults
        }
    }
}

fn subdomain_faults(name: &str) -> Vec<&'static str> {
    if is_dns_subdomain(name) {
        return Vec::new();
    }
    let mut faults = too_long(name, 253, "must be no more than 253 characters");
    if faults.is_empty() {
        faults.push(SUBDOMAIN);
    }
    faults
}

fn label_faults(name: &str) -> Vec<&'static str> {
    let mut faults = too_long(name, 63, "must be no more than 63 characters");
    if !is_label_shaped(name) {
        faults.push(LABEL);
    }
    faults
}

/// A DNS label but for its length.
fn is_label_shaped(name: &str) -> bool {
    let bytes = name.as_bytes();
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    let edge = |b: Option<&u8>| b.is_some_and(|b| inner(b) && *b != b'-');
    edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(inner)
}

fn too_long(name: &str, max: usize, fault: &'static str) -> Vec<&'static str> {
    if name.len() > max { vec![fault] } else { Vec::new() }
}

/// A text field that must be a DNS label.
pub(crate) fn dns_label(path: &str, value: &Value, causes: &mut Vec<Cause>) {
    match value.as_str().unwrap_or("") {
        "" => causes.push(Cause::required(path, "")),
        text => causes.extend(label_faults(text).into_iter().map(|fault| Cause::invalid(path, value, fault))),
    }
}

/// A text field that must be a DNS subdomain.
pub(crate) fn dns_subdomain(path: &str, value: &Value, causes: &mut Vec<Cause>) {
    match value.as_str().unwrap_or("") {
        "" => causes.push(Cause::required(path, "")),
        text => {
            causes.extend(subdomain_faults(text).into_iter().map(|fault| Cause::invalid(path, value, fault)))
        }
    }
}

/// Label keys and values.
pub(crate) fn labels(path: &str, labels: Option<&Value>, causes: &mut Vec<Cause>) {
    for (key, value) in entries(labels) {
        qualified_name(path, key, causes);
        let text = value.as_str().unwrap_or("");
        if text.len() > 63 {
            causes.push(Cause::invalid(path, value, "must be no more than 63 bytes"));
        } else if !is_label_value(text) {
            causes.push(Cause::invalid(path, value, LABEL_VALUE));
        }
    }
}

fn qualified_name(path: &str, key: &str, causes: &mut Vec<Cause>) {
    let shown = Value::from(key);
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if let Some(prefix) = prefix {
        if prefix.is_empty() {
            causes.push(Cause::invalid(path, &shown, "prefix part must be non-empty"));
        } else if !is_dns_subdomain(prefix) {
            causes.push(Cause::invalid(path, &shown, &format!("prefix part {SUBDOMAIN}")));
        }
    }
    if name.is_empty() {
        causes.push(Cause::invalid(path, &shown, "name part must be non-empty"));
    } else if name.len() > 63 {
        causes.push(Cause::invalid(path, &shown, "name part must be no more than 63 bytes"));
    }
    if !name.is_empty() && !is_label_value(&name[..name.len().min(1)])
        || name.len() <= 63 && !is_label_value(name)
    {
        causes.push(Cause::invalid(path, &shown, QUALIFIED));
    }
}

/// Everything about metadata that holds for every kind.
pub(crate) fn metadata(rule: NameRule, object: &Value, causes: &mut Vec<Cause>) {
    let name = object.pointer("/metadata/name").unwrap_or(&Value::Null);
    let text = name.as_str().unwrap_or("");
    if text.is_empty() {
        causes.push(Cause::required("metadata.name", "name or generateName is required"));
    }
    for fault in if text.is_empty() { Vec::new() } else { name_faults(rule, text) } {
        causes.push(Cause::invalid("metadata.name", name, fault));
    }
    labels("metadata.labels", object.pointer("/metadata/labels"), causes);
    annotations(object.pointer("/metadata/annotations"), causes);
    for (at, finalizer) in items(object.pointer("/metadata/finalizers")).enumerate() {
        let text = finalizer.as_str().unwrap_or("");
        if text.is_empty() || !api::selector::is_qualified_name(text) {
            let path = format!("metadata.finalizers[{at}]");
            causes.push(Cause::invalid(path, finalizer, QUALIFIED));
        }
    }
    owners(object, causes);
}

fn annotations(annotations: Option<&Value>, causes: &mut Vec<Cause>) {
    let mut bytes = 0;
    for (key, value) in entries(annotations) {
        qualified_name("metadata.annotations", &key.to_lowercase(), causes);
        bytes += key.len() + value.as_str().map_or(0, str::len);
    }
    if bytes > limits::ANNOTATION_BYTES_MAX {
        causes.push(Cause::too_long("metadata.annotations", limits::ANNOTATION_BYTES_MAX));
    }
}

fn owners(object: &Value, causes: &mut Vec<Cause>) {
    let mut controllers = 0;
    for (at, owner) in items(object.pointer("/metadata/ownerReferences")).enumerate() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if owner.get(field).and_then(Value::as_str).is_none_or(str::is_empty) {
                let path = format!("metadata.ownerReferences[{at}].{field}");
                causes.push(Cause::invalid(
                    path,
                    owner.get(field).unwrap_or(&Value::from("")),
                    &format!("{field} must not be empty"),
                ));
            }
        }
        controllers += usize::from(owner.get("controller") == Some(&Value::Bool(true)));
    }
    if controllers > 1 {
        let shown = object.pointer("/metadata/ownerReferences").unwrap_or(&Value::Null);
        causes.push(Cause::invalid(
            "metadata.ownerReferences",
            shown,
            "Only one reference can have Controller set to true",
        ));
    }
}

/// A change of a field that never changes.
pub(crate) fn immutable(path: &str, pointer: &str, old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let (before, after) = (old.pointer(pointer), new.pointer(pointer));
    if !same(before, after) {
        causes.push(Cause::invalid(path, after.unwrap_or(&Value::Null), IMMUTABLE));
    }
}

/// Equal, where absent, null and empty are one.
pub(crate) fn same(a: Option<&Value>, b: Option<&Value>) -> bool {
    let blank = |v: Option<&Value>| match v {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Bool(_) | Value::Number(_)) => false,
    };
    a == b || blank(a) && blank(b)
}

/// A number that must not be negative.
pub(crate) fn non_negative(path: &str, value: Option<&Value>, causes: &mut Vec<Cause>) {
    if let Some(value) = value
        && value.as_i64().is_some_and(|n| n < 0)
    {
        causes.push(Cause::invalid(path, value, "must be greater than or equal to 0"));
    }
}

/// A port number.
pub(crate) fn port(path: &str, value: Option<&Value>, causes: &mut Vec<Cause>) {
    let value = value.unwrap_or(&Value::Null);
    if !value.as_i64().is_some_and(|n| (1..=65_535).contains(&n)) {
        let shown = if value.is_null() { Value::from(0) } else { value.clone() };
        causes.push(Cause::invalid(path, &shown, "must be between 1 and 65535, inclusive"));
    }
}

/// One of a few words.
pub(crate) fn one_of(path: &str, value: Option<&Value>, words: &[&str], causes: &mut Vec<Cause>) {
    let Some(value) = value else { return };
    if !value.as_str().is_some_and(|text| words.contains(&text)) {
        let mut sorted = words.to_vec();
        sorted.sort_unstable();
        causes.push(Cause::not_supported(path, value, &sorted));
    }
}

/// A map of resource names to quantities, none of them negative.
pub(crate) fn quantities(path: &str, map: Option<&Value>, causes: &mut Vec<Cause>) {
    for (key, value) in entries(map) {
        let at = format!("{path}[{key}]");
        match quantity(value) {
            Some(amount) if amount.is_negative() => {
                causes.push(Cause::invalid(at, value, "must be greater than or equal to 0"));
            }
            Some(_) => {}
            None => causes.push(Cause::invalid(at, value, &api::quantity::Invalid.to_string())),
        }
    }
}

/// A quantity written as text or number.
pub(crate) fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The entries of a map that may be missing.
pub(crate) fn entries(map: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    map.and_then(Value::as_object).into_iter().flatten()
}

/// The items of a list that may be missing.
pub(crate) fn items(list: Option<&Value>) -> impl Iterator<Item = &Value> {
    list.and_then(Value::as_array).into_iter().flatten()
}

/// A text field, or empty.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_follow_their_rule() {
        let long = "a".repeat(64);
        for (rule, name, faults) in [
            (NameRule::Subdomain, "a.b-c", 0),
            (NameRule::Subdomain, "A", 1),
            (NameRule::Label, "a-1", 0),
            (NameRule::Label, "a.b", 1),
            (NameRule::Label, "", 1),
            (NameRule::Label, long.as_str(), 1),
            (NameRule::Label1035, "a1", 0),
            (NameRule::Label1035, "1a", 1),
            (NameRule::Path, "system:node", 0),
            (NameRule::Path, "a/b%", 2),
            (NameRule::Path, "..", 1),
        ] {
            assert_eq!(name_faults(rule, name).len(), faults, "{rule:?} {name:?}");
        }
    }

    #[test]
    fn absent_null_and_empty_are_the_same() {
        for blank in [json!(null), json!({}), json!([]), json!("")] {
            assert!(same(None, Some(&blank)), "{blank}");
        }
        assert!(!same(None, Some(&json!(0))) && !same(Some(&json!(false)), None));
        assert!(same(Some(&json!({"a": 1})), Some(&json!({"a": 1}))));
    }

    #[test]
    fn label_keys_and_values_are_checked() {
        let faults = |map: Value| {
            let mut causes = Vec::new();
            labels("metadata.labels", Some(&map), &mut causes);
            causes.len()
        };
        assert_eq!(faults(json!({"a.io/b": "c", "d": ""})), 0);
        assert_eq!(faults(json!({"/b": "c"})), 1);
        assert_eq!(faults(json!({"a": "-"})), 1);
        assert_eq!(faults(json!({"_": "x", "b": "y".repeat(64)})), 2);
    }
}
