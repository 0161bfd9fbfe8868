//! Metadata that the server owns.

use api::{
    Status,
    meta::{finalizers, generation, name, namespace, resource_version, uid},
    objects::Target,
    status::Cause,
};
use serde_json::Value;

use crate::{
    Resource, clock,
    tree::{copy, object_at, set, take},
};

const NAMESPACE_DIFFERS: &str =
    "the namespace of the provided object does not match the namespace sent on the request";
const SERVER_OWNED: [&str; 6] =
    ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink"];

/// Makes name and namespace of a body agree with the request.
pub(super) fn identify(row: &Resource, target: &Target, object: &mut Value) -> Result<(), Status> {
    if object_at(object, &["metadata"]).is_none() {
        return Err(Status::bad_request("metadata must be an object"));
    }
    let wanted = &target.scope.namespace;
    match namespace(object) {
        "" if row.namespaced => set(object, &["metadata", "namespace"], wanted.clone()),
        given if given != wanted => return Err(Status::bad_request(NAMESPACE_DIFFERS)),
        _ => {}
    }
    if !row.namespaced {
        take(object, &["metadata", "namespace"]);
    }
    match name(object) {
        "" if !target.name.is_empty() => set(object, &["metadata", "name"], target.name.clone()),
        given if !target.name.is_empty() && given != target.name => {
            return Err(Status::bad_request(format!(
                "the name of the object ({given}) does not match the name on the URL ({})",
                target.name
            )));
        }
        _ => {}
    }
    Ok(())
}

/// Gives a new object its identity.
pub(super) fn begin(row: &Resource, now: &str, object: &mut Value) {
    for field in SERVER_OWNED {
        take(object, &["metadata", field]);
    }
    take(object, &["metadata", "resourceVersion"]);
    set(object, &["metadata", "uid"], clock::uid());
    set(object, &["metadata", "creationTimestamp"], now);
    if row.strategy.has_generation() {
        set(object, &["metadata", "generation"], 1);
    }
}

/// Carries over what an update may not change, and checks what the body claims about the object.
pub(super) fn carry_over(row: &Resource, old: &Value, new: &mut Value) -> Result<(), Status> {
    let resource = row.group_resource();
    let claimed = resource_version(new);
    if !claimed.is_empty() && claimed != "0" && claimed != resource_version(old) {
        if claimed.parse::<u64>().is_err() {
            let cause =
                Cause::invalid("metadata.resourceVersion", &claimed.into(), "must be an unsigned integer");
            return Err(Status::invalid(&row.group, &row.kind, name(old), vec![cause]));
        }
        return Err(Status::modified(&resource, name(old)));
    }
    let claimed = uid(new);
    if !claimed.is_empty() && claimed != uid(old) {
        let why =
            format!("Precondition failed: UID in precondition: {claimed}, UID in object meta: {}", uid(old));
        return Err(Status::conflict(&resource, name(old), &why));
    }
    for field in SERVER_OWNED.into_iter().chain(["name", "namespace", "resourceVersion"]) {
        copy(old, new, &["metadata", field]);
    }
    if new.pointer("/metadata/generateName").is_none() {
        copy(old, new, &["metadata", "generateName"]);
    }
    Ok(())
}

/// Counts a change of what is desired.
pub(super) fn count_generation(row: &Resource, old: &Value, new: &mut Value) {
    if row.strategy.has_generation() && is_desire_changed(old, new) {
        set(new, &["metadata", "generation"], generation(old) + 1);
    }
}

fn is_desire_changed(old: &Value, new: &Value) -> bool {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else { return false };
    let desired = |key: &&String| !matches!(key.as_str(), "apiVersion" | "kind" | "metadata" | "status");
    old.keys().chain(new.keys()).filter(desired).any(|key| old.get(key) != new.get(key))
}

/// A terminating object gets no new finalizers.
pub(super) fn validate_finalizers(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    if !api::meta::is_terminating(old) {
        return;
    }
    let known: Vec<&str> = finalizers(old).collect();
    let added: Vec<String> =
        finalizers(new).filter(|f| !known.contains(f)).map(|f| format!("{f:?}")).collect();
    if !added.is_empty() {
        let why = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            added.join(", ")
        );
        causes.push(Cause::forbidden("metadata.finalizers", &why));
    }
}
