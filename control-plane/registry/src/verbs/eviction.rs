//! Eviction: a deletion that asks the disruption budgets first.

use api::{Reason, Status, meta, objects::Target, selector::LabelSelector};
use serde_json::{Value, json};

use super::{
    Core, decode, delete,
    facet::Facet,
    metadata,
    modify::{Modify, Proposal},
};
use crate::{
    catalog::Schema,
    clock,
    contract::{Caller, WriteOptions, Written},
    storage::codec,
    strategy::rules::{items, text},
    tree::set,
};

/// Posts an `Eviction`.
pub(super) async fn evict(
    core: &Core,
    caller: &Caller,
    target: &Target,
    mut body: Value,
    options: &WriteOptions,
) -> Result<Written, Status> {
    let kind = api::GroupVersionKind::new("policy", "v1", "Eviction");
    let warnings =
        decode::check(&kind, Schema::builtin(&kind).as_ref(), &mut body, options.field_validation)?;
    let pod_target = Target { subresource: String::new(), ..target.clone() };
    let row = core.row(&pod_target.scope)?;
    metadata::identify(&row, &pod_target, &mut body)?;
    let wish = body.get("deleteOptions").cloned().unwrap_or_default();
    let mut options = options.clone();
    options.dry_run |= items(wish.get("dryRun")).any(|stage| stage == "All");
    let cache = core.cache(&row)?;
    core.storage.be_current(&cache).await?;
    let pod = cache.get(&target.scope.namespace, &target.name);
    let pod = pod.ok_or_else(|| Status::not_found(&row.group_resource(), &target.name))?;
    let tree = codec::tree(&pod.json)?;
    if needs_budget(&tree) {
        spend_budget(core, caller, &target.scope.namespace, &tree, &options).await?;
    }
    delete::delete(core, caller, &pod_target, wish, &options).await?;
    let answer =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(Written { json: codec::unstored(&answer)?, warnings, created: true })
}

/// A pod that does not run, or is on its way out, disrupts nothing.
fn needs_budget(pod: &Value) -> bool {
    !matches!(text(pod, "/status/phase"), "Pending" | "Succeeded" | "Failed") && !meta::is_terminating(pod)
}

/// Takes one disruption from the budget that covers the pod, in the budget's own status.
async fn spend_budget(
    core: &Core,
    caller: &Caller,
    namespace: &str,
    pod: &Value,
    options: &WriteOptions,
) -> Result<(), Status> {
    let resource = api::GroupVersionResource::new("policy", "v1", "poddisruptionbudgets");
    let scope = api::objects::Scope { resource: resource.clone(), namespace: namespace.to_owned() };
    let row = core.row(&scope)?;
    let cache = core.cache(&row)?;
    let budgets = core.storage.current(&cache).await?;
    let labels = pod.pointer("/metadata/labels").unwrap_or(&Value::Null);
    let mut covering = Vec::new();
    for budget in budgets.in_namespace(namespace) {
        let tree = codec::tree(&budget.json)?;
        let selector = tree.pointer("/spec/selector").unwrap_or(&Value::Null);
        if LabelSelector::from_object(selector).is_ok_and(|selector| selector.matches_value(labels)) {
            covering.push(budget.name.clone());
        }
    }
    let name = match covering.as_slice() {
        [] => return Ok(()),
        [one] => one,
        _ => {
            let message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(Status::failure(Reason::InternalError, message));
        }
    };
    let target = Target::new(resource, namespace, name).subresource("status");
    let modify = Modify { core, caller, row: &row, target: &target, options, facet: Facet::Status };
    let pod_name = meta::name(pod).to_owned();
    let spent = modify
        .run(|old| Ok(Proposal { object: spend(old, &pod_name)?, warnings: Vec::new(), applied: true }))
        .await?;
    // A budget deleted a moment ago forbids nothing.
    drop(spent);
    Ok(())
}

fn spend(old: &Value, pod: &str) -> Result<Value, Status> {
    let allowed = old.pointer("/status/disruptionsAllowed").and_then(Value::as_i64).unwrap_or(0);
    let observed = old.pointer("/status/observedGeneration").and_then(Value::as_i64).unwrap_or(0);
    if observed < meta::generation(old) || allowed <= 0 {
        return Err(Status::too_many_requests(
            "Cannot evict pod as it would violate the pod's disruption budget.",
            10,
        ));
    }
    let mut new = old.clone();
    set(&mut new, &["status", "disruptionsAllowed"], allowed - 1);
    set(&mut new, &["status", "disruptedPods", pod], clock::now());
    Ok(new)
}
