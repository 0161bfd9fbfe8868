//! Roles and their bindings.

use api::status::Cause;
use serde_json::Value;

use super::{
    NameRule, Strategy,
    rules::{items, one_of, text},
};
use crate::tree::{items_mut, set_default};

const GROUP: &str = "rbac.authorization.k8s.io";

/// `Role` and `ClusterRole`.
pub(super) struct Role;
/// `RoleBinding` and `ClusterRoleBinding`.
pub(super) struct Binding;

impl Strategy for Role {
    fn name_rule(&self) -> NameRule {
        NameRule::Path
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        for (at, rule) in items(object.get("rules")).enumerate() {
            let path = format!("rules[{at}]");
            let has = |field: &str| items(rule.get(field)).next().is_some();
            if !has("verbs") {
                causes
                    .push(Cause::required(format!("{path}.verbs"), "verbs must contain at least one value"));
            }
            if has("nonResourceURLs") {
                if has("apiGroups") || has("resources") || has("resourceNames") {
                    let shown = rule.get("nonResourceURLs").unwrap_or(&Value::Null);
                    let why = "rules cannot apply to both regular resources and non-resource URLs";
                    causes.push(Cause::invalid(format!("{path}.nonResourceURLs"), shown, why));
                }
                continue;
            }
            if !has("apiGroups") {
                causes.push(Cause::required(
                    format!("{path}.apiGroups"),
                    "resource rules must supply at least one api group",
                ));
            }
            if !has("resources") {
                causes.push(Cause::required(
                    format!("{path}.resources"),
                    "resource rules must supply at least one resource",
                ));
            }
        }
    }
}

impl Strategy for Binding {
    fn name_rule(&self) -> NameRule {
        NameRule::Path
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn defaults(&self, object: &mut Value) {
        if object.get("roleRef").is_some_and(Value::is_object) {
            set_default(object, &["roleRef", "apiGroup"], GROUP);
        }
        for subject in items_mut(object, "/subjects") {
            let group = if text(subject, "/kind") == "ServiceAccount" { "" } else { GROUP };
            if !group.is_empty() {
                set_default(subject, &["apiGroup"], group);
            }
        }
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        if text(object, "/roleRef/name").is_empty() {
            causes.push(Cause::required("roleRef.name", ""));
        }
        let kinds: &[&str] =
            if api::meta::namespace(object).is_empty() { &["ClusterRole"] } else { &["Role", "ClusterRole"] };
        one_of("roleRef.kind", object.pointer("/roleRef/kind"), kinds, causes);
        for (at, subject) in items(object.get("subjects")).enumerate() {
            let path = format!("subjects[{at}]");
            if text(subject, "/name").is_empty() {
                causes.push(Cause::required(format!("{path}.name"), ""));
            }
            one_of(
                &format!("{path}.kind"),
                subject.get("kind"),
                &["ServiceAccount", "User", "Group"],
                causes,
            );
            if text(subject, "/kind") == "ServiceAccount" && text(subject, "/namespace").is_empty() {
                causes.push(Cause::required(format!("{path}.namespace"), ""));
            }
        }
    }

    fn validate_update(&self, old: &Value, new: &Value, causes: &mut Vec<Cause>) {
        if old.get("roleRef") != new.get("roleRef") {
            causes.push(Cause::invalid(
                "roleRef",
                new.get("roleRef").unwrap_or(&Value::Null),
                "cannot change roleRef",
            ));
        }
    }
}
