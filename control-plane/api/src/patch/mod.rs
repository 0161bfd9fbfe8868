//! The three patch formats that change an object without owning its fields.
//!
//! [`json`] and [`merge`] know nothing of Kubernetes; [`strategic`] reads merge keys from the schema table.
//! Patches are data from users: every failure is a `Status`, never a panic.

use serde_json::Value;

use crate::status::{Reason, Status};

pub mod strategic;

/// Most operations in one JSON patch; the bound of k8s.io/apiserver.
const JSON_OPERATIONS_MAX: usize = 10_000;

/// Applies an RFC 6902 patch to `object` and returns the result.
pub fn json(object: &Value, patch: &Value) -> Result<Value, Status> {
    let count = patch.as_array().map_or(0, Vec::len);
    if count > JSON_OPERATIONS_MAX {
        let message =
            format!("The allowed maximum operations in a JSON patch is {JSON_OPERATIONS_MAX}, got {count}");
        return Err(Status::failure(Reason::RequestEntityTooLarge, message));
    }
    let operations: json_patch::Patch = serde_json::from_value(patch.clone())
        .map_err(|why| Status::bad_request(format!("error decoding patch: {why}")))?;
    copies_are_bounded(object, &operations)?;
    let mut result = object.clone();
    json_patch::patch(&mut result, &operations).map_err(|why| {
        Status::failure(
            Reason::Invalid,
            format!("the server rejected our request due to an error in our request: {why}"),
        )
    })?;
    Ok(result)
}

/// Most bytes that `copy` operations may add: a few copies of copies would otherwise fill the memory
/// (CVE-2019-1002100).
const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;

fn copies_are_bounded(object: &Value, patch: &json_patch::Patch) -> Result<(), Status> {
    let copies = patch.iter().filter(|op| matches!(op, json_patch::PatchOperation::Copy(_))).count();
    if copies == 0 {
        return Ok(());
    }
    // A copy can at most double what is there, so the worst case is cheap to bound without doing it.
    let size = object.to_string().len() + serde_json::to_string(patch).map_or(0, |text| text.len());
    let worst =
        u32::try_from(copies).ok().and_then(|n| 1usize.checked_shl(n)).and_then(|f| size.checked_mul(f));
    if worst.is_some_and(|bytes| bytes <= COPIED_BYTES_MAX)
        || copies * size <= COPIED_BYTES_MAX / 8 && copies < 8
    {
        return Ok(());
    }
    let message = format!("the copy operations of the patch could add more than {COPIED_BYTES_MAX} bytes");
    Err(Status::failure(Reason::RequestEntityTooLarge, message))
}

/// Applies an RFC 7396 patch to `object` and returns the result.
pub fn merge(object: &Value, patch: &Value) -> Result<Value, Status> {
    if !patch.is_object() {
        return Err(Status::bad_request("a merge patch must be a JSON object"));
    }
    let mut result = object.clone();
    json_patch::merge(&mut result, patch);
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_patches_change_what_they_name() {
        let patch = json!([{"op": "test", "path": "/a", "value": 1}, {"op": "replace", "path": "/a", "value": 2},
            {"op": "add", "path": "/b/-", "value": "y"}]);
        assert_eq!(json(&json!({"a": 1, "b": ["x"]}), &patch).unwrap(), json!({"a": 2, "b": ["x", "y"]}));
    }

    #[test]
    fn a_failed_json_patch_says_so() {
        let test = json(&json!({"a": 1}), &json!([{"op": "test", "path": "/a", "value": 2}])).unwrap_err();
        assert_eq!((test.reason, test.code), (Some(Reason::Invalid), 422));
        assert_eq!(json(&json!({}), &json!({"op": "add"})).unwrap_err().code, 400);
        let many = Value::Array(vec![json!({"op": "remove", "path": "/a"}); JSON_OPERATIONS_MAX + 1]);
        assert_eq!(json(&json!({}), &many).unwrap_err().code, 413);
    }

    #[test]
    fn copies_cannot_explode() {
        let bomb = Value::Array(vec![json!({"op": "copy", "from": "/a", "path": "/a/-"}); 40]);
        assert_eq!(json(&json!({"a": ["x"]}), &bomb).unwrap_err().code, 413);
        let one = json!([{"op": "copy", "from": "/a", "path": "/b"}]);
        assert_eq!(json(&json!({"a": 1}), &one).unwrap(), json!({"a": 1, "b": 1}));
    }

    #[test]
    fn merge_patches_remove_nulls_and_replace_lists() {
        let patched = merge(&json!({"a": {"b": 1, "c": [1]}}), &json!({"a": {"b": null, "c": [2]}})).unwrap();
        assert_eq!(patched, json!({"a": {"c": [2]}}));
        assert!(merge(&json!({}), &json!([])).is_err());
    }
}
