//! DefaultTolerationSeconds: a pod stays five minutes on a node that is not ready, unless it says otherwise.

use serde_json::{Value, json};

use super::Request;
use crate::{
    strategy::rules::{items, text},
    tree::set_default,
};

const KEYS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// Adds what is missing.
pub(super) fn apply(request: &Request<'_>, pod: &mut Value) {
    for key in KEYS {
        let tolerates = items(pod.pointer("/spec/tolerations")).any(|toleration| {
            (text(toleration, "/key").is_empty() || text(toleration, "/key") == key)
                && matches!(text(toleration, "/effect"), "" | "NoExecute")
        });
        if tolerates {
            continue;
        }
        set_default(pod, &["spec", "tolerations"], json!([]));
        if let Some(list) = pod.pointer_mut("/spec/tolerations").and_then(Value::as_array_mut) {
            let seconds = request.core.options.default_toleration_s;
            list.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}));
        }
    }
}
