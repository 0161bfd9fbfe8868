//! The strategies of definitions and of the objects they define.

use api::{GroupVersionKind, schema::Table, status::Cause};
use serde_json::{Value, json};

use super::FINALIZER;
use crate::{
    strategy::{
        Context, Strategy,
        rules::{self, items, text},
    },
    tree::{set, set_default},
};

/// A custom resource: its schema says the rest.
pub(crate) struct Custom;

impl Strategy for Custom {
    fn has_generation(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }
}

/// A CustomResourceDefinition.
pub(crate) struct Definition;

impl Strategy for Definition {
    fn has_generation(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn defaults(&self, object: &mut Value) {
        let kind = text(object, "/spec/names/kind").to_owned();
        if !kind.is_empty() {
            set_default(object, &["spec", "names", "singular"], kind.to_lowercase());
            set_default(object, &["spec", "names", "listKind"], format!("{kind}List"));
            set_default(object, &["spec", "conversion", "strategy"], "None");
        }
    }

    fn prepare_create(&self, _context: Context<'_>, object: &mut Value) {
        let mut finalizers: Vec<Value> = items(object.pointer("/metadata/finalizers")).cloned().collect();
        if !finalizers.iter().any(|f| f == FINALIZER) {
            finalizers.push(json!(FINALIZER));
        }
        set(object, &["metadata", "finalizers"], finalizers);
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        let (group, plural) = (text(object, "/spec/group"), text(object, "/spec/names/plural"));
        let expected = format!("{plural}.{group}");
        if text(object, "/metadata/name") != expected {
            let why = "must be spec.names.plural+\".\"+spec.group";
            causes.push(Cause::invalid("metadata.name", &object["metadata"]["name"], why));
        }
        rules::dns_subdomain("spec.group", &object["spec"]["group"], causes);
        if !group.is_empty() && !group.contains('.') {
            let why = "should be a domain with at least one dot";
            causes.push(Cause::invalid("spec.group", &group.into(), why));
        }
        for field in ["plural", "singular"] {
            rules::dns_label(&format!("spec.names.{field}"), &object["spec"]["names"][field], causes);
        }
        for field in ["kind", "listKind"] {
            let value = &object["spec"]["names"][field];
            // Kinds are labels in camel case.
            let lower = value.as_str().unwrap_or_default().to_lowercase();
            rules::dns_label(&format!("spec.names.{field}"), &lower.into(), causes);
        }
        rules::one_of("spec.scope", object.pointer("/spec/scope"), &["Cluster", "Namespaced"], causes);
        if text(object, "/spec/conversion/strategy") == "Webhook" {
            let why = "webhooks are not called by this server; only None is supported";
            causes.push(Cause::forbidden("spec.conversion.strategy", why));
        }
        if object["spec"]["preserveUnknownFields"] == true {
            let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
            causes.push(Cause::invalid("spec.preserveUnknownFields", &true.into(), why));
        }
        versions(object, causes);
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let versions = items(object.pointer("/spec/versions")).enumerate();
        versions.flat_map(|(at, version)| not_enforced(at, version)).collect()
    }

    fn validate_update(&self, old: &Value, new: &Value, causes: &mut Vec<Cause>) {
        for (path, pointer) in [
            ("spec.group", "/spec/group"),
            ("spec.scope", "/spec/scope"),
            ("spec.names.plural", "/spec/names/plural"),
            ("spec.names.kind", "/spec/names/kind"),
        ] {
            rules::immutable(path, pointer, old, new, causes);
        }
    }
}

/// What a version asks for that this server stores but does not do.
fn not_enforced(at: usize, version: &Value) -> Vec<String> {
    let mut said = Vec::new();
    if has_rules(&version["schema"]) {
        said.push(format!(
            "spec.versions[{at}].schema: x-kubernetes-validations are stored but not enforced"
        ));
    }
    for (field, pointer) in
        [("subresources.scale", "/subresources/scale"), ("selectableFields", "/selectableFields")]
    {
        if version.pointer(pointer).is_some() {
            said.push(format!("spec.versions[{at}].{field}: stored but not served"));
        }
    }
    said
}

fn has_rules(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => {
            fields.contains_key("x-kubernetes-validations") || fields.values().any(has_rules)
        }
        Value::Array(list) => list.iter().any(has_rules),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Versions have names of their own, some are served, one is stored, and each has a schema that compiles.
fn versions(object: &Value, causes: &mut Vec<Cause>) {
    let all: Vec<&Value> = items(object.pointer("/spec/versions")).collect();
    let shown = &object["spec"]["versions"];
    if !all.iter().any(|v| v["served"] == true) {
        causes.push(Cause::invalid("spec.versions", shown, "must have at least one served version"));
    }
    if all.iter().filter(|v| v["storage"] == true).count() != 1 {
        let why = "must have exactly one version marked as storage version";
        causes.push(Cause::invalid("spec.versions", shown, why));
    }
    let (group, kind) = (text(object, "/spec/group"), text(object, "/spec/names/kind"));
    for (at, version) in all.iter().enumerate() {
        let path = format!("spec.versions[{at}]");
        rules::dns_label(&format!("{path}.name"), &version["name"], causes);
        if all[..at].iter().any(|other| other["name"] == version["name"]) {
            causes.push(Cause::invalid(format!("{path}.name"), &version["name"], "must be unique"));
        }
        let field = format!("{path}.schema.openAPIV3Schema");
        let Some(schema) = version.pointer("/schema/openAPIV3Schema") else {
            causes.push(Cause::required(field, "schemas are required"));
            continue;
        };
        if schema["type"] != "object" {
            let why = "must be object at the root";
            causes.push(Cause::invalid(format!("{field}.type"), &schema["type"], why));
            continue;
        }
        let gvk = GroupVersionKind::new(group, text(version, "/name"), kind);
        if let Err(why) = Table::custom(&gvk, schema) {
            let at = if why.path.is_empty() { field } else { format!("{field}.{}", why.path) };
            causes.push(Cause::invalid(at, &Value::Null, &why.what));
        }
    }
}
