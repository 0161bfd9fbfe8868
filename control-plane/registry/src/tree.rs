//! Small steps on JSON trees. None of them fails: what is not there is made, what is of the wrong type is left
//! for the schema check to report.

use serde_json::{Map, Value};

/// The object below `path`, made where missing; `None` when something else is in the way.
pub(crate) fn object_at<'a>(root: &'a mut Value, path: &[&str]) -> Option<&'a mut Map<String, Value>> {
    let mut at = root.as_object_mut()?;
    for part in path {
        let next = at.entry(*part).or_insert_with(|| Value::Object(Map::new()));
        if next.is_null() {
            *next = Value::Object(Map::new());
        }
        at = next.as_object_mut()?;
    }
    Some(at)
}

/// Sets a value, making the way to it.
pub(crate) fn set(root: &mut Value, path: &[&str], value: impl Into<Value>) {
    if let Some((last, way)) = path.split_last()
        && let Some(parent) = object_at(root, way)
    {
        parent.insert((*last).to_owned(), value.into());
    }
}

/// Sets a value unless there is one.
pub(crate) fn set_default(root: &mut Value, path: &[&str], value: impl Into<Value>) {
    if let Some((last, way)) = path.split_last()
        && let Some(parent) = object_at(root, way)
        && parent.get(*last).is_none_or(Value::is_null)
    {
        parent.insert((*last).to_owned(), value.into());
    }
}

/// Removes and returns a value.
pub(crate) fn take(root: &mut Value, path: &[&str]) -> Option<Value> {
    let (last, way) = path.split_last()?;
    let mut at = root.as_object_mut()?;
    for part in way {
        at = at.get_mut(*part)?.as_object_mut()?;
    }
    at.remove(*last)
}

/// Makes the value at `path` what it is in `from`, or absent.
pub(crate) fn copy(from: &Value, to: &mut Value, path: &[&str]) {
    let mut at = Some(from);
    for part in path {
        at = at.and_then(|value| value.get(*part));
    }
    match at {
        Some(value) => set(to, path, value.clone()),
        None => _ = take(to, path),
    }
}

/// The items of a list below an object, to be changed.
pub(crate) fn items_mut<'a>(root: &'a mut Value, pointer: &str) -> impl Iterator<Item = &'a mut Value> {
    root.pointer_mut(pointer).and_then(Value::as_array_mut).into_iter().flatten()
}
