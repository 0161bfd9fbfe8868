//! Parts that cells of several kinds are made of.

use jiff::Timestamp;
use serde_json::Value;

use super::{Row, age::human_duration};

/// Stands where there is nothing.
pub const NONE: &str = "<none>";
/// Stands where a time is not known.
pub const UNKNOWN: &str = "<unknown>";

/// How many items of a list are written out.
const SHOWN_MAX: usize = 3;

/// A string, or empty.
pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A whole number, or 0.
pub fn number(value: &Value, pointer: &str) -> i64 {
    value.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// The items of a list, or none.
pub fn items<'a>(value: &'a Value, pointer: &str) -> impl DoubleEndedIterator<Item = &'a Value> + use<'a> {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default().iter()
}

/// Entries of a map, or none.
pub fn entries<'a>(
    value: &'a Value,
    pointer: &str,
) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
    value.pointer(pointer).and_then(Value::as_object).into_iter().flatten()
}

/// Whether a list or map has anything in it, or a value is set at all.
pub fn has(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer).is_some_and(|v| !v.is_null())
}

/// `text`, or `<none>`.
pub fn or_none(text: &str) -> String {
    if text.is_empty() { NONE.into() } else { text.into() }
}

/// `metadata.name`.
pub fn name(row: Row<'_>) -> Value {
    text(row.object, "/metadata/name").into()
}

/// Time since creation.
pub fn age(row: Row<'_>) -> Value {
    since(row, text(row.object, "/metadata/creationTimestamp")).into()
}

/// Time of creation.
pub fn created_at(row: Row<'_>) -> Value {
    text(row.object, "/metadata/creationTimestamp").into()
}

/// Time since a timestamp, or `<unknown>`.
pub fn since(row: Row<'_>, timestamp: &str) -> String {
    match timestamp.parse::<Timestamp>() {
        Ok(then) => human_duration(row.now.as_second() - then.as_second()),
        Err(_) => UNKNOWN.into(),
    }
}

/// A number or a string, as text.
pub fn plain(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// `a,b,c + 2 more...`
pub fn shortened(list: &[String]) -> String {
    match list.len() {
        0 => NONE.into(),
        n if n <= SHOWN_MAX => list.join(","),
        n => format!("{} + {} more...", list[..SHOWN_MAX].join(","), n - SHOWN_MAX),
    }
}

/// Names of the containers of a pod template.
pub fn containers(spec: &Value) -> String {
    items(spec, "/containers").map(|c| text(c, "/name")).collect::<Vec<_>>().join(",")
}

/// Images of the containers of a pod template.
pub fn images(spec: &Value) -> String {
    items(spec, "/containers").map(|c| text(c, "/image")).collect::<Vec<_>>().join(",")
}

/// A map of labels as `a=b,c=d`, or `<none>`.
pub fn labels(map: Option<&Value>) -> String {
    let pairs: Vec<String> = map
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    if pairs.is_empty() { NONE.into() } else { pairs.join(",") }
}

/// A label selector as kubectl writes it: `a=b,c in (x,y),!d`, or `<none>`.
pub fn selector(selector: Option<&Value>) -> String {
    let Some(selector) = selector.filter(|s| !s.is_null()) else { return NONE.into() };
    let mut terms: Vec<String> = entries(selector, "/matchLabels")
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
        .collect();
    for term in items(selector, "/matchExpressions") {
        let key = text(term, "/key");
        let mut values: Vec<&str> = items(term, "/values").filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        terms.push(match text(term, "/operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        });
    }
    terms.sort_unstable();
    if terms.is_empty() { NONE.into() } else { terms.join(",") }
}

/// Whether a condition has status `True`.
pub fn condition(object: &Value, kind: &str) -> bool {
    items(object, "/status/conditions").any(|c| text(c, "/type") == kind && text(c, "/status") == "True")
}

/// Whether deletion has begun.
pub fn is_deleted(object: &Value) -> bool {
    has(object, "/metadata/deletionTimestamp")
}

/// Access modes in their short form.
pub fn access_modes(list: Option<&Value>) -> String {
    const SHORT: [(&str, &str); 4] = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let given: Vec<&str> =
        list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let shown = SHORT.iter().filter(|(long, _)| given.contains(long)).map(|(_, short)| *short);
    shown.collect::<Vec<_>>().join(",")
}
