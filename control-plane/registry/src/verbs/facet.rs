//! What part of an object a request reads and writes: all of it, or what a subresource stands for.

use api::{GroupVersionKind, Status, status::Cause};
use serde_json::{Value, json};

use crate::{
    Resource,
    catalog::Schema,
    strategy::rules::{items, text},
    tree::{copy, items_mut, set, take},
};

/// A part of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Facet {
    /// Everything but what `status` owns.
    Main,
    /// The status, and of the metadata labels, annotations and finalizers.
    Status,
    /// The number of replicas, as a `Scale`.
    Scale,
    /// `spec.finalizers` of a namespace.
    Finalize,
    /// The conditions that approve a signing request.
    Approval,
    /// The ephemeral containers of a pod.
    EphemeralContainers,
    /// The resources of a pod's containers.
    Resize,
}

impl Facet {
    /// The facet behind a subresource that can be read and updated.
    pub(super) fn of(row: &Resource, subresource: &str) -> Result<Self, Status> {
        if subresource.is_empty() {
            return Ok(Self::Main);
        }
        if row.subresource(subresource).is_none() {
            return Err(Status::no_such_resource());
        }
        match subresource {
            "status" => Ok(Self::Status),
            "scale" => Ok(Self::Scale),
            "finalize" => Ok(Self::Finalize),
            "approval" => Ok(Self::Approval),
            "ephemeralcontainers" => Ok(Self::EphemeralContainers),
            "resize" => Ok(Self::Resize),
            _ => Err(Status::method_not_allowed(&row.group_resource(), "this verb")),
        }
    }

    /// The kind of the bodies.
    pub(super) fn kind(self, row: &Resource) -> GroupVersionKind {
        if self == Self::Scale { GroupVersionKind::new("autoscaling", "v1", "Scale") } else { row.gvk() }
    }

    /// The type of the bodies.
    pub(super) fn schema(self, row: &Resource) -> Option<Schema> {
        if self == Self::Scale { Schema::builtin(&self.kind(row)) } else { row.schema.clone() }
    }

    /// What a reader of the facet sees. `object` is in its served version.
    pub(super) fn view(self, object: Value) -> Value {
        if self == Self::Scale { scale_of(&object) } else { object }
    }

    /// `old` with what a writer of the facet may change taken from `body`. Both are in their stored version.
    pub(super) fn merge(self, row: &Resource, old: &Value, body: Value) -> Result<Value, Status> {
        match self {
            Self::Main => {
                let mut new = body;
                if row.has_status() {
                    copy(old, &mut new, &["status"]);
                }
                Ok(new)
            }
            Self::Status => Ok(with_metadata(old, &body, &[&["status"]])),
            Self::Finalize => Ok(with_metadata(old, &body, &[&["spec", "finalizers"]])),
            Self::Approval => Ok(with_metadata(old, &body, &[&["status", "conditions"]])),
            Self::EphemeralContainers => with_ephemeral(row, old, &body),
            Self::Resize => Ok(resized(old, &body)),
            Self::Scale => scaled(old, &body),
        }
    }
}

/// What the body claims about the object, so that it is checked.
fn with_claims(old: &Value, body: &Value, paths: &[&[&str]]) -> Value {
    let mut new = old.clone();
    for path in paths {
        copy(body, &mut new, path);
    }
    for claim in ["uid", "resourceVersion"] {
        if body.pointer(&format!("/metadata/{claim}")).is_some() {
            copy(body, &mut new, &["metadata", claim]);
        }
    }
    new
}

fn with_metadata(old: &Value, body: &Value, paths: &[&[&str]]) -> Value {
    let mut new = with_claims(old, body, paths);
    // A writer of the status that sends no metadata does not mean to remove it.
    for field in ["labels", "annotations", "finalizers", "ownerReferences", "managedFields"] {
        if body.pointer(&format!("/metadata/{field}")).is_some() {
            copy(body, &mut new, &["metadata", field]);
        }
    }
    new
}

/// Ephemeral containers are added, never changed or removed.
fn with_ephemeral(row: &Resource, old: &Value, body: &Value) -> Result<Value, Status> {
    let mut new = with_claims(old, body, &[&["spec", "ephemeralContainers"]]);
    row.strategy.defaults(&mut new);
    let pointer = "/spec/ephemeralContainers";
    for container in items(old.pointer(pointer)) {
        let name = text(container, "/name");
        if items(new.pointer(pointer)).any(|other| other == container) {
            continue;
        }
        let why = format!("existing ephemeral containers {name:?} may not be removed or changed");
        let cause = Cause::forbidden("spec.ephemeralContainers", &why);
        return Err(Status::invalid(&row.group, &row.kind, api::meta::name(old), vec![cause]));
    }
    Ok(new)
}

fn resized(old: &Value, body: &Value) -> Value {
    let mut new = with_claims(old, body, &[]);
    for list in ["/spec/containers", "/spec/initContainers"] {
        for container in items_mut(&mut new, list) {
            let Some(wanted) = items(body.pointer(list)).find(|c| c.get("name") == container.get("name"))
            else {
                continue;
            };
            copy(wanted, container, &["resources"]);
            copy(wanted, container, &["resizePolicy"]);
        }
    }
    new
}

fn scale_of(object: &Value) -> Value {
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object.pointer(&format!("/metadata/{field}")) {
            set(&mut metadata, &[field], value.clone());
        }
    }
    let mut spec = json!({});
    if let Some(replicas) = object.pointer("/spec/replicas") {
        set(&mut spec, &["replicas"], replicas.clone());
    }
    let mut status = json!({"replicas": object.pointer("/status/replicas").cloned().unwrap_or(json!(0))});
    let selector = selector_text(object.pointer("/spec/selector").unwrap_or(&Value::Null));
    if !selector.is_empty() {
        set(&mut status, &["selector"], selector);
    }
    json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": metadata, "spec": spec, "status": status})
}

/// A selector as `kubectl -l` takes it.
fn selector_text(selector: &Value) -> String {
    let plain = selector.get("matchLabels").is_none() && selector.get("matchExpressions").is_none();
    let labels = if plain { Some(selector) } else { selector.get("matchLabels") };
    let mut parts: Vec<String> = crate::strategy::rules::entries(labels)
        .filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)))
        .collect();
    for expression in items(selector.get("matchExpressions")) {
        let key = text(expression, "/key");
        let values: Vec<&str> = items(expression.get("values")).filter_map(Value::as_str).collect();
        parts.push(match text(expression, "/operator") {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    parts.join(",")
}

fn scaled(old: &Value, body: &Value) -> Result<Value, Status> {
    let replicas = body.pointer("/spec/replicas").cloned().unwrap_or(json!(0));
    if replicas.as_i64().is_none_or(|n| n < 0) {
        let cause = Cause::invalid("spec.replicas", &replicas, "must be greater than or equal to 0");
        return Err(Status::invalid("autoscaling", "Scale", api::meta::name(old), vec![cause]));
    }
    let mut new = with_claims(old, body, &[]);
    set(&mut new, &["spec", "replicas"], replicas);
    if new.pointer("/metadata/resourceVersion") == Some(&json!("")) {
        take(&mut new, &["metadata", "resourceVersion"]);
    }
    Ok(new)
}
