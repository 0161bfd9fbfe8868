//! TaintNodesByCondition: a new node takes no pods until it was seen to be ready.

use serde_json::{Value, json};

use super::{Operation, Request};
use crate::{
    strategy::rules::{items, text},
    tree::set_default,
};

const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// Taints a new node.
pub(super) fn apply(request: &Request<'_>, node: &mut Value) {
    if !request.is("nodes", Operation::Create) {
        return;
    }
    if items(node.pointer("/spec/taints")).any(|taint| text(taint, "/key") == NOT_READY) {
        return;
    }
    set_default(node, &["spec", "taints"], json!([]));
    if let Some(taints) = node.pointer_mut("/spec/taints").and_then(Value::as_array_mut) {
        taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
    }
}
