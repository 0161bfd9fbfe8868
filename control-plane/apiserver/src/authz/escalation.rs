//! Nobody grants what they do not hold: checks on writes of roles and bindings; and nodes write only themselves.
//!
//! A role may be written by who holds every rule of it, or the verb `escalate` on it; a binding by who holds
//! every rule of the role it points to, or the verb `bind` on that role. What a patch results in is known only
//! after it was merged, so a patch is tried as a dry run at a fixed resource version, checked, and performed at
//! the same resource version.

use std::sync::Arc;

use api::{Reason, Status, meta, objects::Target};
use registry::{PatchBody, WriteOptions, Written};
use serde_json::{Value, json};

use super::{
    Authorizer, node,
    rbac::{RoleRef, Rule},
};
use crate::{authn::Identity, authn::MASTERS, gateway::Gateway, request::Attributes};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Attempts of a checked patch while others change the same object.
const PATCH_ATTEMPTS: usize = 5;

/// Whether writes of this target can grant rights.
pub fn concerns(target: &Target) -> bool {
    let resource = &target.scope.resource;
    resource.group == GROUP && target.subresource.is_empty() && is_rbac(&resource.resource)
}

fn is_rbac(resource: &str) -> bool {
    matches!(resource, "roles" | "clusterroles" | "rolebindings" | "clusterrolebindings")
}

/// Checks what is about to be created.
pub fn check_create(
    authorizer: &Authorizer,
    who: &Identity,
    target: &Target,
    body: &Value,
) -> Result<(), Status> {
    check_node_body(who, target, body)?;
    if concerns(target) { check(authorizer, who, target, None, body) } else { Ok(()) }
}

/// Checks what is about to replace an object. A checked body is pinned to the state it was compared with.
pub async fn check_update(
    gateway: &Arc<Gateway>,
    who: &Identity,
    target: &Target,
    mut body: Value,
) -> Result<Value, Status> {
    check_node_body(who, target, &body)?;
    if !concerns(target) || who.is_in(MASTERS) {
        return Ok(body);
    }
    let current = current(gateway, target).await?;
    check(&gateway.authorizer, who, target, current.as_ref(), &body)?;
    if let (Some(current), true) = (&current, meta::resource_version(&body).is_empty()) {
        body["metadata"]["resourceVersion"] = meta::resource_version(current).into();
    }
    Ok(body)
}

/// Patches a role or binding and checks the outcome before it is stored.
pub async fn patch(
    gateway: &Arc<Gateway>,
    who: &Identity,
    target: &Target,
    patch: PatchBody,
    options: &WriteOptions,
) -> Result<Written, Status> {
    let registry = &gateway.registry;
    if who.is_in(MASTERS) {
        return registry.patch(&who.caller, target, patch, options).await;
    }
    let mut attempt = 0;
    loop {
        attempt += 1;
        let current = current(gateway, target).await?;
        let pinned = pin(patch.clone(), current.as_ref());
        let trial = WriteOptions { dry_run: true, ..options.clone() };
        let outcome = match registry.patch(&who.caller, target, pinned.clone(), &trial).await {
            Ok(tried) => {
                let result: Value = serde_json::from_slice(&tried.json).map_err(Status::internal)?;
                check(&gateway.authorizer, who, target, current.as_ref(), &result)?;
                registry.patch(&who.caller, target, pinned, options).await
            }
            Err(status) => Err(status),
        };
        match outcome {
            Err(status)
                if status.is(Reason::Conflict) && !names_version(&patch) && attempt < PATCH_ATTEMPTS => {}
            other => return other,
        }
    }
}

async fn current(gateway: &Arc<Gateway>, target: &Target) -> Result<Option<Value>, Status> {
    match gateway.registry.get(target, "").await {
        Ok(json) => serde_json::from_slice(&json).map(Some).map_err(Status::internal),
        Err(status) if status.is(Reason::NotFound) => Ok(None),
        Err(status) => Err(status),
    }
}

fn names_version(patch: &PatchBody) -> bool {
    match patch {
        PatchBody::Json(_) => false,
        PatchBody::Merge(v) | PatchBody::Strategic(v) | PatchBody::Apply { object: v, .. } => {
            !meta::resource_version(v).is_empty()
        }
    }
}

/// The patch, bound to the state that was read.
fn pin(mut patch: PatchBody, current: Option<&Value>) -> PatchBody {
    let Some(version) = current.map(meta::resource_version) else { return patch };
    if names_version(&patch) {
        return patch;
    }
    match &mut patch {
        PatchBody::Json(Value::Array(operations)) => {
            operations
                .insert(0, json!({"op": "test", "path": "/metadata/resourceVersion", "value": version}));
        }
        PatchBody::Json(_) => {}
        PatchBody::Merge(v) | PatchBody::Strategic(v) | PatchBody::Apply { object: v, .. } => {
            if let Some(object) = v.as_object_mut() {
                let metadata = object.entry("metadata").or_insert_with(|| json!({}));
                if let Some(metadata) = metadata.as_object_mut() {
                    metadata.insert("resourceVersion".into(), version.into());
                }
            }
        }
    }
    patch
}

fn check(
    authorizer: &Authorizer,
    who: &Identity,
    target: &Target,
    before: Option<&Value>,
    after: &Value,
) -> Result<(), Status> {
    if who.is_in(MASTERS) {
        return Ok(());
    }
    match target.scope.resource.resource.as_str() {
        "roles" | "clusterroles" => check_role(authorizer, who, target, before, after),
        _ => check_binding(authorizer, who, target, before, after),
    }
}

fn check_role(
    authorizer: &Authorizer,
    who: &Identity,
    target: &Target,
    before: Option<&Value>,
    after: &Value,
) -> Result<(), Status> {
    let same = |field: &str| before.is_some_and(|b| b.get(field) == after.get(field));
    if same("rules") && same("aggregationRule") {
        return Ok(());
    }
    let name = if target.name.is_empty() { meta::name(after) } else { &target.name };
    let mut ask = Attributes::of("escalate", target);
    ask.name = name.to_owned();
    if authorizer.authorize(who, &ask).is_allowed() {
        return Ok(());
    }
    let rules: Vec<Rule> = match after.get("rules").filter(|r| !r.is_null()) {
        Some(rules) => serde_json::from_value(rules.clone())
            .map_err(|e| Status::bad_request(format!("the rules cannot be read: {e}")))?,
        None => Vec::new(),
    };
    let aggregates = after.get("aggregationRule").is_some_and(|a| !a.is_null());
    if aggregates && !same("aggregationRule") && !holds(authorizer, who, "", &everything()) {
        return Err(refused(
            who,
            target,
            name,
            "must have cluster-admin privileges to use an aggregationRule",
        ));
    }
    require_held(authorizer, who, target, name, &rules)
}

fn everything() -> Vec<Rule> {
    let all = || vec!["*".to_owned()];
    vec![Rule { verbs: all(), api_groups: all(), resources: all(), ..Rule::default() }]
}

fn check_binding(
    authorizer: &Authorizer,
    who: &Identity,
    target: &Target,
    before: Option<&Value>,
    after: &Value,
) -> Result<(), Status> {
    if before.is_some_and(|b| {
        b.get("roleRef") == after.get("roleRef") && b.get("subjects") == after.get("subjects")
    }) {
        return Ok(());
    }
    let reference: RoleRef = serde_json::from_value(after.get("roleRef").cloned().unwrap_or_default())
        .map_err(|e| Status::bad_request(format!("the roleRef cannot be read: {e}")))?;
    let namespace = &target.scope.namespace;
    let ask = Attributes {
        verb: "bind".into(),
        group: GROUP.into(),
        version: "v1".into(),
        resource: if reference.kind == "Role" { "roles".into() } else { "clusterroles".into() },
        namespace: namespace.clone(),
        name: reference.name.clone(),
        ..Attributes::default()
    };
    if authorizer.authorize(who, &ask).is_allowed() {
        return Ok(());
    }
    let name = if target.name.is_empty() { meta::name(after) } else { &target.name };
    match authorizer.read(|policy| policy.rules_behind(&reference, namespace)) {
        Some(rules) => require_held(authorizer, who, target, name, &rules),
        None => {
            let resource = api::GroupResource { group: GROUP.into(), resource: ask.resource.clone() };
            Err(Status::not_found(&resource, &reference.name))
        }
    }
}

fn require_held(
    authorizer: &Authorizer,
    who: &Identity,
    target: &Target,
    name: &str,
    rules: &[Rule],
) -> Result<(), Status> {
    let missing: Vec<&Rule> = rules
        .iter()
        .filter(|rule| !holds(authorizer, who, &target.scope.namespace, std::slice::from_ref(rule)))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> = missing.iter().map(|rule| shown(rule)).collect();
    let why = format!("is attempting to grant RBAC permissions not currently held:\n{}", shown.join("\n"));
    Err(refused(who, target, name, &why))
}

fn refused(who: &Identity, target: &Target, name: &str, why: &str) -> Status {
    let message = format!("user {:?} (groups={:?}) {why}", who.caller.user, who.caller.groups);
    Status::forbidden(&target.scope.resource.group_resource(), name, &message)
}

fn shown(rule: &Rule) -> String {
    let mut parts = Vec::new();
    let mut add = |name: &str, list: &[String]| {
        if !list.is_empty() {
            let quoted: Vec<String> = list.iter().map(|item| format!("{item:?}")).collect();
            parts.push(format!("{name}:[{}]", quoted.join(", ")));
        }
    };
    add("APIGroups", &rule.api_groups);
    add("Resources", &rule.resources);
    add("ResourceNames", &rule.resource_names);
    add("NonResourceURLs", &rule.non_resource_urls);
    add("Verbs", &rule.verbs);
    format!("{{{}}}", parts.join(", "))
}

/// Whether the rules somebody holds cover every single combination of `wanted`.
fn holds(authorizer: &Authorizer, who: &Identity, namespace: &str, wanted: &[Rule]) -> bool {
    let owned = authorizer.read(|policy| policy.rules_for(&who.caller, namespace));
    wanted.iter().all(|rule| covers(&owned, rule))
}

/// Whether `owned` together allow all that `wanted` allows.
pub fn covers(owned: &[Rule], wanted: &Rule) -> bool {
    let any = |list: &[String], item: &String| list.iter().any(|have| have == "*" || have == item);
    let paths = wanted.non_resource_urls.iter().all(|url| {
        wanted.verbs.iter().all(|verb| {
            owned.iter().any(|own| {
                any(&own.verbs, verb) && own.non_resource_urls.iter().any(|have| path_covers(have, url))
            })
        })
    });
    let names: Vec<Option<&String>> = match wanted.resource_names.as_slice() {
        [] => vec![None],
        some => some.iter().map(Some).collect(),
    };
    let resources = wanted.api_groups.iter().all(|group| {
        wanted.resources.iter().all(|resource| {
            wanted.verbs.iter().all(|verb| {
                names.iter().all(|name| {
                    owned.iter().any(|own| {
                        any(&own.verbs, verb)
                            && any(&own.api_groups, group)
                            && resource_covers(&own.resources, resource)
                            && (own.resource_names.is_empty()
                                || name.is_some_and(|n| own.resource_names.contains(n)))
                    })
                })
            })
        })
    });
    paths && resources
}

fn path_covers(have: &str, wanted: &str) -> bool {
    have == "*" || have == wanted || have.strip_suffix('*').is_some_and(|prefix| wanted.starts_with(prefix))
}

fn resource_covers(have: &[String], wanted: &str) -> bool {
    let any_parent = wanted.split_once('/').map(|(_, sub)| format!("*/{sub}"));
    have.iter().any(|h| h == "*" || h == wanted || any_parent.as_ref() == Some(h))
}

/// A node creates and writes only its own Node, and pods bound to itself.
pub fn check_node_body(who: &Identity, target: &Target, body: &Value) -> Result<(), Status> {
    let Some(name) = node::name_of(who) else { return Ok(()) };
    let resource = &target.scope.resource;
    let refuse = |why: String| Err(Status::forbidden(&resource.group_resource(), meta::name(body), &why));
    match (resource.group.as_str(), resource.resource.as_str(), target.subresource.as_str()) {
        ("", "nodes", _) if meta::name(body) != name => {
            refuse(format!("node {name:?} is not allowed to modify node {:?}", meta::name(body)))
        }
        ("", "nodes", _) if body.pointer("/metadata/ownerReferences").is_some_and(|o| !o.is_null()) => {
            refuse(format!("node {name:?} is not allowed to set owner references on itself"))
        }
        ("coordination.k8s.io", "leases", _) if !meta::name(body).is_empty() && meta::name(body) != name => {
            refuse("can only access node lease with the same name as the requesting node".into())
        }
        ("", "pods", "") => {
            let bound = body.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default();
            let mirror = meta::annotation(body, "kubernetes.io/config.mirror").is_some();
            if bound != name {
                refuse(format!("node {name:?} can only create pods with spec.nodeName set to itself"))
            } else if !mirror {
                refuse(format!(
                    "pod does not have \"kubernetes.io/config.mirror\" annotation, node {name:?} can only create mirror pods"
                ))
            } else if refers_to_api_objects(body) {
                refuse(format!(
                    "node {name:?} can not create pods that reference service accounts, secrets, configmaps or claims"
                ))
            } else {
                Ok(())
            }
        }
        _ => Ok(()),
    }
}

fn refers_to_api_objects(pod: &Value) -> bool {
    let named =
        pod.pointer("/spec/serviceAccountName").and_then(Value::as_str).is_some_and(|s| !s.is_empty());
    let text = pod.pointer("/spec").map(Value::to_string).unwrap_or_default();
    named
        || ["\"secretName\":", "\"secretRef\":", "\"secretKeyRef\":", "\"configMap\":", "\"configMapRef\":"]
            .into_iter()
            .chain([
                "\"configMapKeyRef\":",
                "\"persistentVolumeClaim\":",
                "\"secret\":",
                "\"imagePullSecrets\":",
                "\"serviceAccountToken\":",
                "\"resourceClaims\":",
                "\"ephemeral\":",
            ])
            .any(|needle| text.contains(needle))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(value: Value) -> Rule {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn rules_are_covered_together_not_only_one_by_one() {
        let owned = [
            rule(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "services"]})),
            rule(json!({"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]})),
            rule(
                json!({"verbs": ["update"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"]}),
            ),
            rule(json!({"verbs": ["get"], "nonResourceURLs": ["/metrics/*"]})),
        ];
        let table = [
            (json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}), true),
            (json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "services"]}), false),
            (json!({"verbs": ["*"], "apiGroups": [""], "resources": ["pods"]}), false),
            (json!({"verbs": ["get"], "apiGroups": ["*"], "resources": ["pods"]}), false),
            (
                json!({"verbs": ["update"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"]}),
                true,
            ),
            (json!({"verbs": ["update"], "apiGroups": [""], "resources": ["secrets"]}), false),
            (json!({"verbs": ["get"], "nonResourceURLs": ["/metrics/x"]}), true),
            (json!({"verbs": ["get"], "nonResourceURLs": ["*"]}), false),
        ];
        for (wanted, expect) in table {
            assert_eq!(covers(&owned, &rule(wanted.clone())), expect, "{wanted}");
        }
    }

    #[test]
    fn a_patch_is_pinned_to_what_was_read() {
        let current = json!({"metadata": {"resourceVersion": "7"}});
        let PatchBody::Merge(merge) = pin(PatchBody::Merge(json!({"rules": []})), Some(&current)) else {
            panic!()
        };
        assert_eq!(merge, json!({"rules": [], "metadata": {"resourceVersion": "7"}}));
        let PatchBody::Json(ops) = pin(PatchBody::Json(json!([])), Some(&current)) else { panic!() };
        assert_eq!(ops[0]["value"], "7");
    }

    #[test]
    fn a_node_writes_only_itself_and_mirror_pods() {
        let who = Identity::new("system:node:n1", &["system:nodes"]);
        let target = |resource: &str| Target::new(api::GroupVersionResource::new("", "v1", resource), "", "");
        let allowed = |resource: &str, body: Value| check_node_body(&who, &target(resource), &body).is_ok();
        assert!(allowed("nodes", json!({"metadata": {"name": "n1"}})));
        assert!(!allowed("nodes", json!({"metadata": {"name": "n2"}})));
        assert!(!allowed("nodes", json!({"metadata": {"name": "n1", "ownerReferences": [{}]}})));
        let mirror = |spec: Value| json!({"metadata": {"name": "p", "annotations": {"kubernetes.io/config.mirror": "h"}}, "spec": spec});
        assert!(allowed("pods", mirror(json!({"nodeName": "n1"}))));
        assert!(!allowed("pods", mirror(json!({"nodeName": "n2"}))));
        assert!(!allowed("pods", mirror(json!({"nodeName": "n1", "serviceAccountName": "x"}))));
        assert!(!allowed("pods", json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n1"}})));
    }
}
