//! Role-based access control: rules, who is bound to them, and the evaluation; pure.
//!
//! Semantics are those of k8s.io/kubernetes plugin/pkg/auth/authorizer/rbac.

use std::collections::HashMap;

use registry::Caller;
use serde::{Deserialize, Deserializer, Serialize};

use super::Decision;
use crate::request::Attributes;

/// One rule of a role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Verbs, or `*`.
    #[serde(default, deserialize_with = "or_none")]
    pub verbs: Vec<String>,
    /// API groups, or `*`.
    #[serde(default, deserialize_with = "or_none", skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    /// Resources: `pods`, `pods/log`, `*/scale`, `*`.
    #[serde(default, deserialize_with = "or_none", skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// Names; none means all.
    #[serde(default, deserialize_with = "or_none", skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    /// Paths that are no resources; a trailing `*` matches any rest.
    #[serde(
        default,
        rename = "nonResourceURLs",
        deserialize_with = "or_none",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub non_resource_urls: Vec<String>,
}

fn or_none<'de, D: Deserializer<'de>, T: Deserialize<'de>>(de: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(de)?.unwrap_or_default())
}

impl Rule {
    /// Whether the rule allows it.
    pub fn allows(&self, what: &Attributes) -> bool {
        if what.is_resource() {
            has(&self.verbs, &what.verb)
                && has(&self.api_groups, &what.group)
                && self.covers_resource(what)
                && (self.resource_names.is_empty() || self.resource_names.contains(&what.name))
        } else {
            has(&self.verbs, &what.verb)
                && self.non_resource_urls.iter().any(|url| url_matches(url, &what.path))
        }
    }

    fn covers_resource(&self, what: &Attributes) -> bool {
        let wanted = what.qualified_resource();
        self.resources.iter().any(|rule| {
            rule == "*"
                || *rule == wanted
                || !what.subresource.is_empty()
                    && rule.strip_prefix("*/").is_some_and(|sub| sub == what.subresource)
        })
    }
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

fn url_matches(rule: &str, path: &str) -> bool {
    rule == "*" || rule == path || rule.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
}

/// The metadata that RBAC looks at.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Metadata {
    /// Name.
    #[serde(default)]
    pub name: String,
    /// Namespace, or empty.
    #[serde(default)]
    pub namespace: String,
    /// Labels, by which roles are aggregated.
    #[serde(default, deserialize_with = "or_default_map")]
    pub labels: HashMap<String, String>,
}

fn or_default_map<'de, D: Deserializer<'de>>(de: D) -> Result<HashMap<String, String>, D::Error> {
    Ok(Option::deserialize(de)?.unwrap_or_default())
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AggregationRule {
    #[serde(default, deserialize_with = "or_none")]
    cluster_role_selectors: Vec<LabelSelector>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LabelSelector {
    #[serde(default, deserialize_with = "or_default_map")]
    match_labels: HashMap<String, String>,
}

/// A Role or ClusterRole.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Role {
    /// Whose.
    #[serde(default)]
    pub metadata: Metadata,
    /// What it allows.
    #[serde(default, deserialize_with = "or_none")]
    pub rules: Vec<Rule>,
    #[serde(default)]
    aggregation_rule: Option<AggregationRule>,
}

/// What a binding points to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct RoleRef {
    /// `Role` or `ClusterRole`.
    #[serde(default)]
    pub kind: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
}

/// Whom a binding is for.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Subject {
    /// `User`, `Group` or `ServiceAccount`.
    #[serde(default)]
    pub kind: String,
    /// Name.
    #[serde(default)]
    pub name: String,
    /// Namespace of a service account.
    #[serde(default)]
    pub namespace: String,
}

impl Subject {
    fn is(&self, who: &Caller, binding_namespace: &str) -> bool {
        match self.kind.as_str() {
            "User" => self.name == who.user,
            "Group" => who.groups.contains(&self.name),
            "ServiceAccount" => {
                let namespace = if self.namespace.is_empty() { binding_namespace } else { &self.namespace };
                let rest = who.user.strip_prefix("system:serviceaccount:");
                rest.and_then(|r| r.split_once(':')) == Some((namespace, self.name.as_str()))
            }
            _ => false,
        }
    }
}

/// A RoleBinding or ClusterRoleBinding.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Binding {
    /// Whose.
    #[serde(default)]
    pub metadata: Metadata,
    /// For whom.
    #[serde(default, deserialize_with = "or_none")]
    pub subjects: Vec<Subject>,
    /// Which role.
    #[serde(default)]
    pub role_ref: RoleRef,
}

/// All roles and bindings.
#[derive(Debug, Default)]
pub struct Policy {
    cluster_roles: HashMap<String, Role>,
    roles: HashMap<(String, String), Role>,
    cluster_bindings: HashMap<String, Binding>,
    bindings: HashMap<String, HashMap<String, Binding>>,
}

impl Policy {
    /// Takes in a Role or ClusterRole.
    pub fn put_role(&mut self, role: Role) {
        let (namespace, name) = (role.metadata.namespace.clone(), role.metadata.name.clone());
        if namespace.is_empty() {
            self.cluster_roles.insert(name, role);
        } else {
            self.roles.insert((namespace, name), role);
        }
    }

    /// Forgets a Role, or with an empty namespace a ClusterRole.
    pub fn remove_role(&mut self, namespace: &str, name: &str) {
        if namespace.is_empty() {
            self.cluster_roles.remove(name);
        } else {
            self.roles.remove(&(namespace.to_owned(), name.to_owned()));
        }
    }

    /// Takes in a RoleBinding or ClusterRoleBinding.
    pub fn put_binding(&mut self, binding: Binding) {
        let (namespace, name) = (binding.metadata.namespace.clone(), binding.metadata.name.clone());
        if namespace.is_empty() {
            self.cluster_bindings.insert(name, binding);
        } else {
            self.bindings.entry(namespace).or_default().insert(name, binding);
        }
    }

    /// Forgets a RoleBinding, or with an empty namespace a ClusterRoleBinding.
    pub fn remove_binding(&mut self, namespace: &str, name: &str) {
        if namespace.is_empty() {
            self.cluster_bindings.remove(name);
        } else if let Some(of_namespace) = self.bindings.get_mut(namespace) {
            of_namespace.remove(name);
            if of_namespace.is_empty() {
                self.bindings.remove(namespace);
            }
        }
    }

    /// Forgets every cluster-wide or every namespaced role.
    pub fn clear_roles(&mut self, namespaced: bool) {
        if namespaced { self.roles.clear() } else { self.cluster_roles.clear() }
    }

    /// Forgets every cluster-wide or every namespaced binding.
    pub fn clear_bindings(&mut self, namespaced: bool) {
        if namespaced { self.bindings.clear() } else { self.cluster_bindings.clear() }
    }

    /// Decides.
    pub fn authorize(&self, who: &Caller, what: &Attributes) -> Decision {
        let mut missing = Vec::new();
        let bindings = self.bindings_of(who, &what.namespace);
        for (binding, namespace) in bindings {
            let Some(role) = self.resolve(&binding.role_ref, namespace) else {
                missing.push(missing_role(&binding.role_ref));
                continue;
            };
            if self.rules_of(role).any(|rule| rule.allows(what)) {
                return Decision::Allow(allowed_by(binding));
            }
        }
        match missing.as_slice() {
            [] => Decision::NoOpinion(String::new()),
            [one] => Decision::NoOpinion(format!("RBAC: {one}")),
            many => Decision::NoOpinion(format!("RBAC: [{}]", many.join(", "))),
        }
    }

    /// Every rule somebody has: cluster-wide, and in `namespace` if it is not empty.
    pub fn rules_for(&self, who: &Caller, namespace: &str) -> Vec<Rule> {
        let mut out = Vec::new();
        for (binding, of) in self.bindings_of(who, namespace) {
            if let Some(role) = self.resolve(&binding.role_ref, of) {
                out.extend(self.rules_of(role).cloned());
            }
        }
        out
    }

    /// The rules behind a reference, as seen from `namespace`.
    pub fn rules_behind(&self, reference: &RoleRef, namespace: &str) -> Option<Vec<Rule>> {
        Some(self.rules_of(self.resolve(reference, namespace)?).cloned().collect())
    }

    fn bindings_of<'a>(
        &'a self,
        who: &'a Caller,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a Binding, &'a str)> {
        let is_for =
            |binding: &&Binding| binding.subjects.iter().any(|s| s.is(who, &binding.metadata.namespace));
        let cluster = self.cluster_bindings.values().filter(is_for).map(|b| (b, ""));
        let here = self.bindings.get(namespace).into_iter().flat_map(HashMap::values);
        cluster.chain(here.filter(is_for).map(move |b| (b, namespace)))
    }

    fn resolve(&self, reference: &RoleRef, namespace: &str) -> Option<&Role> {
        match reference.kind.as_str() {
            "ClusterRole" => self.cluster_roles.get(&reference.name),
            "Role" => self.roles.get(&(namespace.to_owned(), reference.name.clone())),
            _ => None,
        }
    }

    /// The role's own rules and those of the cluster roles it aggregates.
    fn rules_of<'a>(&'a self, role: &'a Role) -> impl Iterator<Item = &'a Rule> {
        let selectors = role.aggregation_rule.iter().flat_map(|a| &a.cluster_role_selectors);
        let aggregated = selectors.flat_map(move |selector| {
            self.cluster_roles.values().filter(move |candidate| {
                !selector.match_labels.is_empty()
                    && candidate.metadata.name != role.metadata.name
                    && selector.match_labels.iter().all(|(k, v)| candidate.metadata.labels.get(k) == Some(v))
            })
        });
        role.rules.iter().chain(aggregated.flat_map(move |candidate| self.flat_rules(candidate)))
    }

    /// Rules of an aggregated role; one that itself aggregates (edit into admin) counts with what it collects.
    fn flat_rules<'a>(&'a self, role: &'a Role) -> Vec<&'a Rule> {
        let mut seen = vec![role.metadata.name.as_str()];
        let mut open = vec![role];
        let mut out = Vec::new();
        while let Some(role) = open.pop() {
            out.extend(&role.rules);
            for selector in role.aggregation_rule.iter().flat_map(|a| &a.cluster_role_selectors) {
                for candidate in self.cluster_roles.values() {
                    let labels = &candidate.metadata.labels;
                    let matches = !selector.match_labels.is_empty()
                        && selector.match_labels.iter().all(|(k, v)| labels.get(k) == Some(v));
                    if matches && !seen.contains(&candidate.metadata.name.as_str()) {
                        seen.push(&candidate.metadata.name);
                        open.push(candidate);
                    }
                }
            }
        }
        out
    }
}

fn missing_role(reference: &RoleRef) -> String {
    let resource = if reference.kind == "Role" { "role" } else { "clusterrole" };
    format!("{resource}.rbac.authorization.k8s.io {:?} not found", reference.name)
}

fn allowed_by(binding: &Binding) -> String {
    let Metadata { name, namespace, .. } = &binding.metadata;
    let role = format!("{} {:?}", binding.role_ref.kind, binding.role_ref.name);
    if namespace.is_empty() {
        format!("RBAC: allowed by ClusterRoleBinding {name:?} of {role}")
    } else {
        format!("RBAC: allowed by RoleBinding \"{name}/{namespace}\" of {role}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn rule(value: Value) -> Rule {
        serde_json::from_value(value).unwrap()
    }

    fn what(text: &str) -> Attributes {
        let words: Vec<&str> = text.split_whitespace().collect();
        if words[1].starts_with('/') {
            return Attributes { verb: words[0].into(), path: words[1].into(), ..Attributes::default() };
        }
        let (resource, group) = words[1].split_once('.').unwrap_or((words[1], ""));
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let (namespace, name) = words.get(2).copied().unwrap_or("/").split_once('/').unwrap();
        Attributes {
            verb: words[0].into(),
            group: group.into(),
            resource: resource.into(),
            subresource: subresource.into(),
            namespace: namespace.into(),
            name: name.into(),
            ..Attributes::default()
        }
    }

    #[test]
    fn rules_match_as_upstream_defines() {
        let table = [
            (json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}), "get pods a/x", true),
            (json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}), "list pods a/", false),
            (json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}), "get pods/log a/x", false),
            (json!({"verbs": ["*"], "apiGroups": [""], "resources": ["pods/*"]}), "get pods/log a/x", false),
            (json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}), "get pods/log a/x", true),
            (
                json!({"verbs": ["update"], "apiGroups": ["*"], "resources": ["*/scale"]}),
                "update deployments/scale.apps a/x",
                true,
            ),
            (
                json!({"verbs": ["update"], "apiGroups": ["*"], "resources": ["*/scale"]}),
                "update deployments.apps a/x",
                false,
            ),
            (
                json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}),
                "get pods.metrics a/x",
                false,
            ),
            (
                json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["x"]}),
                "get pods a/x",
                true,
            ),
            (
                json!({"verbs": ["list"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["x"]}),
                "list pods a/",
                false,
            ),
            (json!({"verbs": ["get"], "nonResourceURLs": ["/healthz*"]}), "get /healthz/ping", true),
            (json!({"verbs": ["get"], "nonResourceURLs": ["/api/*"]}), "get /api", false),
            (json!({"verbs": ["get"], "nonResourceURLs": ["*"]}), "post /x", false),
            (json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}), "get /x", false),
        ];
        for (given, asked, expect) in table {
            assert_eq!(rule(given.clone()).allows(&what(asked)), expect, "{given} {asked}");
        }
    }

    fn policy() -> Policy {
        let mut policy = Policy::default();
        for role in [
            json!({"metadata": {"name": "reader"}, "rules": [{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}]}),
            json!({"metadata": {"name": "part", "labels": {"to": "sum"}}, "rules": [{"verbs": ["get"], "apiGroups": ["x"], "resources": ["y"]}]}),
            json!({"metadata": {"name": "sum"}, "rules": null, "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to": "sum"}}]}}),
            json!({"metadata": {"name": "writer", "namespace": "a"}, "rules": [{"verbs": ["create"], "apiGroups": [""], "resources": ["pods"]}]}),
        ] {
            policy.put_role(serde_json::from_value(role).unwrap());
        }
        for binding in [
            json!({"metadata": {"name": "all"}, "subjects": [{"kind": "Group", "name": "dev"}], "roleRef": {"kind": "ClusterRole", "name": "reader"}}),
            json!({"metadata": {"name": "sum"}, "subjects": [{"kind": "User", "name": "sue"}], "roleRef": {"kind": "ClusterRole", "name": "sum"}}),
            json!({"metadata": {"name": "w", "namespace": "a"}, "subjects": [{"kind": "ServiceAccount", "name": "bot"}], "roleRef": {"kind": "Role", "name": "writer"}}),
            json!({"metadata": {"name": "r", "namespace": "a"}, "subjects": [{"kind": "User", "name": "ann"}], "roleRef": {"kind": "ClusterRole", "name": "reader"}}),
            json!({"metadata": {"name": "gone", "namespace": "a"}, "subjects": [{"kind": "User", "name": "ann"}], "roleRef": {"kind": "Role", "name": "lost"}}),
        ] {
            policy.put_binding(serde_json::from_value(binding).unwrap());
        }
        policy
    }

    fn caller(user: &str, groups: &[&str]) -> Caller {
        Caller { user: user.into(), uid: String::new(), groups: groups.iter().map(|g| (*g).into()).collect() }
    }

    #[test]
    fn bindings_reach_their_subjects_in_their_scope() {
        let table = [
            (caller("dan", &["dev"]), "list pods b/", true),
            (caller("dan", &["dev"]), "list pods", true),
            (caller("dan", &["dev"]), "create pods b/", false),
            (caller("ann", &[]), "list pods a/", true),
            (caller("ann", &[]), "list pods b/", false),
            (caller("ann", &[]), "list pods", false),
            (caller("sue", &[]), "get y.x", true),
            (caller("system:serviceaccount:a:bot", &[]), "create pods a/", true),
            (caller("system:serviceaccount:b:bot", &[]), "create pods a/", false),
        ];
        for (who, asked, expect) in table {
            assert_eq!(policy().authorize(&who, &what(asked)).is_allowed(), expect, "{} {asked}", who.user);
        }
    }

    #[test]
    fn a_missing_role_is_named_in_the_refusal() {
        let why = policy().authorize(&caller("ann", &[]), &what("create pods a/")).refusal();
        assert_eq!(why.as_deref(), Some(r#"RBAC: role.rbac.authorization.k8s.io "lost" not found"#));
    }
}
