//! NodeRestriction: a node writes its own Node, its own Lease and the status of its own pods, nothing else.

use api::{Status, meta};
use serde_json::Value;

use super::{Operation, Request};
use crate::strategy::rules::text;

const USER_PREFIX: &str = "system:node:";
const GROUP: &str = "system:nodes";
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Refuses what a node may not write. Other callers pass.
pub(super) fn check(request: &Request<'_>, new: Option<&Value>) -> Result<(), Status> {
    if !request.caller.groups.iter().any(|group| group == GROUP) {
        return Ok(());
    }
    let Some(node) = request.caller.user.strip_prefix(USER_PREFIX) else { return Ok(()) };
    match (request.row.group.as_str(), request.row.plural.as_str()) {
        ("", "pods") => pod(request, node, new),
        ("", "nodes") => own_node(request, node, new),
        ("coordination.k8s.io", "leases") if request.namespace == "kube-node-lease" => {
            lease(request, node, new)
        }
        _ => Ok(()),
    }
}

fn pod(request: &Request<'_>, node: &str, new: Option<&Value>) -> Result<(), Status> {
    let assigned = |pod: Option<&Value>| pod.is_some_and(|pod| text(pod, "/spec/nodeName") == node);
    match (request.operation, request.subresource) {
        (Operation::Create, _) => {
            let Some(pod) = new else { return Ok(()) };
            if meta::annotation(pod, MIRROR).is_none() {
                let why = format!(
                    "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
                );
                return Err(request.forbid(&why));
            }
            if !assigned(Some(pod)) {
                let why = format!("node {node:?} can only create pods with spec.nodeName set to itself");
                return Err(request.forbid(&why));
            }
            Ok(())
        }
        (Operation::Update, "status") if assigned(request.old) => Ok(()),
        (Operation::Update, "status") => {
            let why =
                format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself");
            Err(request.forbid(&why))
        }
        (Operation::Delete, _) if assigned(request.old) => Ok(()),
        (Operation::Delete, _) => {
            Err(request
                .forbid(&format!("node {node:?} can only delete pods with spec.nodeName set to itself")))
        }
        (Operation::Update, other) => Err(request.forbid(&format!("unexpected pod subresource {other:?}"))),
    }
}

fn own_node(request: &Request<'_>, node: &str, new: Option<&Value>) -> Result<(), Status> {
    let name = new.map_or(request.name, meta::name);
    if name != node {
        return Err(request.forbid(&format!("node {node:?} is not allowed to modify node {name:?}")));
    }
    let taints = |object: Option<&Value>| {
        object.and_then(|o| o.pointer("/spec/taints")).cloned().unwrap_or(Value::Null)
    };
    if request.operation == Operation::Update
        && request.subresource.is_empty()
        && !crate::strategy::rules::same(Some(&taints(request.old)), Some(&taints(new)))
    {
        return Err(request.forbid(&format!("node {node:?} is not allowed to modify taints")));
    }
    Ok(())
}

fn lease(request: &Request<'_>, node: &str, new: Option<&Value>) -> Result<(), Status> {
    let name = new.map_or(request.name, meta::name);
    if name == node {
        return Ok(());
    }
    Err(request.forbid("can only access node lease with the same name as the requesting node"))
}
