//! Nodes.

use api::status::Cause;
use serde_json::{Value, json};

use super::{
    Context, Selectable, Strategy,
    rules::{items, one_of, quantities, same, text},
};
use crate::tree::set;

/// See the module.
pub(super) struct Node;

const FIELDS: &[Selectable] = &[Selectable::or("spec.unschedulable", &["spec", "unschedulable"], "false")];

impl Strategy for Node {
    fn selectable(&self) -> &'static [Selectable] {
        FIELDS
    }

    fn creates_with_status(&self) -> bool {
        true
    }

    fn prepare_create(&self, _: Context<'_>, object: &mut Value) {
        crate::tree::set_default(object, &["spec"], json!({}));
        crate::tree::set_default(object, &["status"], json!({}));
    }

    fn prepare_status(&self, _: Context<'_>, _: &Value, new: &mut Value) {
        // A node can allocate what it has unless it says otherwise.
        if new.pointer("/status/allocatable").is_none()
            && let Some(capacity) = new.pointer("/status/capacity").cloned()
        {
            set(new, &["status", "allocatable"], capacity);
        }
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        let mut seen = std::collections::BTreeSet::new();
        for (at, taint) in items(object.pointer("/spec/taints")).enumerate() {
            let path = format!("spec.taints[{at}]");
            if !api::selector::is_qualified_name(text(taint, "/key")) {
                causes.push(Cause::invalid(
                    format!("{path}.key"),
                    &text(taint, "/key").into(),
                    "name part must be non-empty",
                ));
            }
            one_of(
                &format!("{path}.effect"),
                taint.get("effect"),
                &["NoSchedule", "PreferNoSchedule", "NoExecute"],
                causes,
            );
            if !seen.insert((text(taint, "/key"), text(taint, "/effect"))) {
                causes.push(Cause::duplicate(path, taint));
            }
        }
        quantities("status.capacity", object.pointer("/status/capacity"), causes);
        quantities("status.allocatable", object.pointer("/status/allocatable"), causes);
    }

    fn validate_update(&self, old: &Value, new: &Value, causes: &mut Vec<Cause>) {
        for field in ["podCIDR", "podCIDRs", "providerID"] {
            let pointer = format!("/spec/{field}");
            if !same(old.pointer(&pointer), None) && !same(old.pointer(&pointer), new.pointer(&pointer)) {
                causes.push(Cause::forbidden(format!("spec.{field}"), "node updates may only change labels, taints, or capacity (or configSource, if the DynamicKubeletConfig feature gate is enabled)"));
            }
        }
    }
}
