//! Binding: a scheduler gives a pod its node.

use api::{Status, meta, objects::Target, status::Cause};
use serde_json::{Value, json};

use super::{
    Core, decode,
    facet::Facet,
    metadata,
    modify::{Modify, Proposal},
};
use crate::{
    catalog::Schema,
    clock,
    contract::{Caller, WriteOptions, Written},
    storage::codec,
    strategy::{
        pod,
        rules::{entries, items, text},
    },
    tree::set,
};

/// Posts a `Binding`, to a pod's subresource or to the old `bindings` resource.
pub(super) async fn bind(
    core: &Core,
    caller: &Caller,
    target: &Target,
    mut body: Value,
    options: &WriteOptions,
) -> Result<Written, Status> {
    let kind = api::GroupVersionKind::new("", "v1", "Binding");
    let warnings =
        decode::check(&kind, Schema::builtin(&kind).as_ref(), &mut body, options.field_validation)?;
    let pods = api::GroupVersionResource::new("", "v1", "pods");
    let mut target = target.clone();
    target.scope.resource = pods;
    target.subresource = "binding".into();
    let row = core.row(&target.scope)?;
    metadata::identify(&row, &target, &mut body)?;
    if target.name.is_empty() {
        target.name = meta::name(&body).to_owned();
    }
    validate(&body, &target.name)?;
    let modify = Modify { core, caller, row: &row, target: &target, options, facet: Facet::Status };
    let written = modify
        .run(|old| Ok(Proposal { object: bound(old, &body)?, warnings: Vec::new(), applied: true }))
        .await?;
    if written.is_none() {
        return Err(Status::not_found(&row.group_resource(), &target.name));
    }
    let answer =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(Written { json: codec::unstored(&answer)?, warnings, created: true })
}

fn validate(body: &Value, name: &str) -> Result<(), Status> {
    let mut causes = Vec::new();
    if !matches!(text(body, "/target/kind"), "" | "Node") {
        let kind = text(body, "/target/kind").into();
        causes.push(Cause::not_supported("target.kind", &kind, &["Node", "<empty>"]));
    }
    if text(body, "/target/name").is_empty() {
        causes.push(Cause::required("target.name", ""));
    }
    if causes.is_empty() { Ok(()) } else { Err(Status::invalid("", "Binding", name, causes)) }
}

/// The pod on its node; a pod is bound once.
fn bound(old: &Value, body: &Value) -> Result<Value, Status> {
    let resource = api::GroupResource { group: String::new(), resource: "pods".into() };
    let name = meta::name(old);
    let conflict = |why: &str| {
        Status::failure(
            api::Reason::Conflict,
            format!("Operation cannot be fulfilled on pods/binding {name:?}: {why}"),
        )
    };
    let claimed = meta::uid(body);
    if !claimed.is_empty() && claimed != meta::uid(old) {
        let why = format!(
            "Precondition failed: UID in precondition: {claimed}, UID in object meta: {}",
            meta::uid(old)
        );
        return Err(Status::conflict(&resource, name, &why));
    }
    if meta::is_terminating(old) {
        return Err(conflict(&format!("pod {name} is being deleted, cannot be assigned to a host")));
    }
    let node = text(old, "/spec/nodeName");
    if !node.is_empty() {
        return Err(conflict(&format!("pod {name} is already assigned to node {node:?}")));
    }
    if items(old.pointer("/spec/schedulingGates")).next().is_some() {
        return Err(conflict(&format!("pod {name} has non-empty .spec.schedulingGates")));
    }
    let mut new = old.clone();
    set(&mut new, &["spec", "nodeName"], text(body, "/target/name"));
    for (key, value) in entries(body.pointer("/metadata/annotations")) {
        set(&mut new, &["metadata", "annotations", key], value.clone());
    }
    for (key, value) in entries(body.pointer("/metadata/labels")) {
        set(&mut new, &["metadata", "labels", key], value.clone());
    }
    pod::set_condition(&mut new, "PodScheduled", "True", &clock::now(), json!({}));
    Ok(new)
}
