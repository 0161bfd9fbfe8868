//! LimitRanger: a namespace's defaults and bounds for the resources of containers.

use api::Status;
use serde_json::Value;

use super::Request;
use crate::{
    storage::codec,
    strategy::rules::{entries, items, quantity, text},
    tree::{items_mut, object_at},
};

const LISTS: [&str; 2] = ["/spec/initContainers", "/spec/containers"];

/// The items of the namespace's ranges that are about containers.
fn limits(request: &Request<'_>) -> Result<Vec<Value>, Status> {
    let Some(ranges) = request.core.snapshot_of("", "v1", "limitranges") else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for range in ranges.in_namespace(request.namespace) {
        let tree = codec::tree(&range.json)?;
        found
            .extend(items(tree.pointer("/spec/limits")).filter(|l| text(l, "/type") == "Container").cloned());
    }
    Ok(found)
}

/// Sets the defaults.
pub(super) fn apply(request: &Request<'_>, pod: &mut Value) -> Result<(), Status> {
    for limit in limits(request)? {
        for list in LISTS {
            for container in items_mut(pod, list) {
                merge(container, "limits", limit.get("default"));
                merge(container, "requests", limit.get("defaultRequest"));
            }
        }
    }
    Ok(())
}

fn merge(container: &mut Value, kind: &str, defaults: Option<&Value>) {
    if entries(defaults).next().is_none() {
        return;
    }
    let Some(resources) = object_at(container, &["resources", kind]) else { return };
    for (name, amount) in entries(defaults) {
        resources.entry(name.clone()).or_insert_with(|| amount.clone());
    }
}

/// Checks the bounds.
pub(super) fn check(request: &Request<'_>, pod: &Value) -> Result<(), Status> {
    let mut faults = Vec::new();
    for limit in limits(request)? {
        for container in LISTS.iter().flat_map(|list| items(pod.pointer(list))) {
            bounds(container, &limit, &mut faults);
        }
    }
    match faults.as_slice() {
        [] => Ok(()),
        [one] => Err(request.forbid(one)),
        many => Err(request.forbid(&format!("[{}]", many.join(", ")))),
    }
}

fn bounds(container: &Value, limit: &Value, faults: &mut Vec<String>) {
    let amount =
        |kind: &str, name: &str| container.pointer("/resources")?.get(kind)?.get(name).and_then(quantity);
    for (name, least) in entries(limit.get("min")) {
        let Some(least) = quantity(least) else { continue };
        match amount("requests", name) {
            None => faults
                .push(format!("minimum {name} usage per Container is {least}.  No request is specified")),
            Some(wanted) if wanted < least => {
                faults
                    .push(format!("minimum {name} usage per Container is {least}, but request is {wanted}"));
            }
            Some(_) => {}
        }
    }
    for (name, most) in entries(limit.get("max")) {
        let Some(most) = quantity(most) else { continue };
        match amount("limits", name) {
            None => {
                faults.push(format!("maximum {name} usage per Container is {most}.  No limit is specified"))
            }
            Some(wanted) if wanted > most => {
                faults.push(format!("maximum {name} usage per Container is {most}, but limit is {wanted}"));
            }
            Some(_) => {}
        }
    }
}
