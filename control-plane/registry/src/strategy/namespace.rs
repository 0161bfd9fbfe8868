//! Namespaces: their own finalizer list, and a phase.

use api::status::Cause;
use serde_json::{Value, json};

use super::{Context, NameRule, Selectable, Strategy, rules::items};
use crate::tree::{copy, set, set_default};

/// See the module.
pub(super) struct Namespace;

const FIELDS: &[Selectable] = &[Selectable::text("status.phase", &["status", "phase"])];

/// Namespaces that never go.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

impl Strategy for Namespace {
    fn name_rule(&self) -> NameRule {
        NameRule::Label
    }

    fn selectable(&self) -> &'static [Selectable] {
        FIELDS
    }

    fn prepare_create(&self, _: Context<'_>, object: &mut Value) {
        set(object, &["status"], json!({"phase": "Active"}));
        set_default(object, &["spec", "finalizers"], json!([]));
        let Some(list) = object.pointer_mut("/spec/finalizers").and_then(Value::as_array_mut) else { return };
        if !list.iter().any(|f| f == "kubernetes") {
            list.push("kubernetes".into());
        }
        label(object);
    }

    fn prepare_update(&self, _: Context<'_>, old: &Value, new: &mut Value) {
        copy(old, new, &["spec", "finalizers"]);
        label(new);
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        for (at, finalizer) in items(object.pointer("/spec/finalizers")).enumerate() {
            if finalizer.as_str().is_none_or(|f| !api::selector::is_qualified_name(f)) {
                causes.push(Cause::invalid(
                    format!("spec.finalizers[{at}]"),
                    finalizer,
                    "name is not a qualified name",
                ));
            }
        }
    }

    fn prepare_terminating(&self, object: &mut Value) {
        set(object, &["status", "phase"], "Terminating");
    }

    fn is_held(&self, object: &Value) -> bool {
        items(object.pointer("/spec/finalizers")).next().is_some()
    }
}

/// The label by which selectors find a namespace.
fn label(object: &mut Value) {
    let name = api::meta::name(object).to_owned();
    set(object, &["metadata", "labels", "kubernetes.io/metadata.name"], name);
}

/// Whether a namespace may not be deleted.
pub(crate) fn is_immortal(name: &str) -> bool {
    IMMORTAL.contains(&name)
}
