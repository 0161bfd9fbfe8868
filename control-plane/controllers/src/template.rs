//! Pod templates: when two are the same, and a short name for one. Pure.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::Value;

/// The label that ReplicaSets of Deployments carry; it is no part of a template.
pub(crate) const HASH_LABEL: &str = "pod-template-hash";
/// Letters of a hash: no vowels, so that no words appear. Upstream's.
const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// A short stable hash of the template and the number of collisions so far (FNV-1a, 32 bits).
pub(crate) fn template_hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    let text = format!("{}{}", comparable(template), collisions.unwrap_or(0));
    let hash =
        text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.to_string().bytes().map(|digit| char::from(LETTERS[usize::from(digit) % LETTERS.len()])).collect()
}

/// The template as a tree without the hash label, and without the difference between absent and empty.
pub(crate) fn comparable(template: &PodTemplateSpec) -> Value {
    let mut tree = serde_json::to_value(template).expect("a decoded template encodes");
    if let Some(labels) = tree.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(HASH_LABEL);
    }
    prune(&mut tree);
    tree
}

fn prune(tree: &mut Value) {
    match tree {
        Value::Object(fields) => {
            fields.values_mut().for_each(prune);
            fields.retain(|_, value| !is_empty(value));
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Absent and empty lists are the same to the API; an empty object is a choice (`emptyDir: {}`).
fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}
