//! What a node may do: read and write itself, its pods, and what its pods refer to.
//!
//! Follows k8s.io/kubernetes plugin/pkg/auth/authorizer/node. References are looked up in the pods of the watch
//! cache, so they are as fresh as the watch that told the node about the pod. Unlike upstream, a node may read all
//! Nodes and EndpointSlices, because its agent is also the service proxy and the router between nodes; and what is
//! refused here of the kinds it [`governs`] no role can grant.

use api::GroupVersionResource;
use registry::{Encoded, Registry};
use serde_json::Value;

use super::Decision;
use crate::{authn::Identity, request::Attributes};

const USER_PREFIX: &str = "system:node:";
const GROUP: &str = "system:nodes";
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// The node an identity stands for, if it is one.
pub fn name_of(who: &Identity) -> Option<&str> {
    let name = who.caller.user.strip_prefix(USER_PREFIX)?;
    (!name.is_empty() && who.is_in(GROUP)).then_some(name)
}

/// Whether a kind is decided about here alone, so that no role can widen what a node reaches.
pub fn governs(what: &Attributes) -> bool {
    matches!(
        (what.group.as_str(), what.resource.as_str()),
        ("", "nodes" | "pods" | "secrets" | "configmaps" | "serviceaccounts")
            | ("", "persistentvolumeclaims" | "persistentvolumes")
            | ("coordination.k8s.io", "leases")
            | ("storage.k8s.io", "csinodes")
    )
}

/// Decides for the node `name`.
pub fn authorize(registry: &Registry, name: &str, what: &Attributes) -> Decision {
    if !what.is_resource() {
        return Decision::NoOpinion(String::new());
    }
    match (what.group.as_str(), what.resource.as_str()) {
        ("", "nodes") => own_node(name, what),
        ("", "pods") => own_pods(registry, name, what),
        ("", "secrets") => referenced(registry, name, what, "get list watch", refers_to_secret),
        ("", "configmaps") => referenced(registry, name, what, "get list watch", refers_to_config_map),
        ("", "persistentvolumeclaims") => claim(registry, name, what),
        ("", "persistentvolumes") => volume(registry, name, what),
        ("", "serviceaccounts") => token(registry, name, what),
        ("coordination.k8s.io", "leases") => own_lease(name, what),
        ("storage.k8s.io", "csinodes") => own_named(name, what, "get create update patch delete"),
        _ => shared(what),
    }
}

fn allow() -> Decision {
    Decision::Allow("node".into())
}

fn refuse(why: impl Into<String>) -> Decision {
    Decision::NoOpinion(why.into())
}

fn verb_is(what: &Attributes, verbs: &str) -> bool {
    verbs.split(' ').any(|v| v == what.verb)
}

/// What every node may do, as a table of group, resources and verbs.
const SHARED: &[(&str, &str, &str)] = &[
    ("", "services", "get list watch"),
    ("", "namespaces", "get list watch"),
    ("", "endpoints", "get list watch"),
    ("discovery.k8s.io", "endpointslices", "get list watch"),
    ("networking.k8s.io", "networkpolicies", "get list watch"),
    ("networking.k8s.io", "servicecidrs", "get list watch"),
    ("networking.k8s.io", "ingresses", "get list watch"),
    ("networking.k8s.io", "ingressclasses", "get list watch"),
    ("node.k8s.io", "runtimeclasses", "get list watch"),
    ("storage.k8s.io", "csidrivers", "get list watch"),
    ("", "events", "create update patch"),
    ("events.k8s.io", "events", "create update patch"),
    ("authentication.k8s.io", "tokenreviews", "create"),
    ("authorization.k8s.io", "subjectaccessreviews", "create"),
    ("certificates.k8s.io", "certificatesigningrequests", "create get list watch"),
];

fn shared(what: &Attributes) -> Decision {
    let found = SHARED.iter().any(|(group, resource, verbs)| {
        *group == what.group
            && *resource == what.resource
            && what.subresource.is_empty()
            && verb_is(what, verbs)
    });
    if found { allow() } else { refuse("") }
}

fn own_node(name: &str, what: &Attributes) -> Decision {
    if what.is_read_only() && what.subresource.is_empty() {
        return allow();
    }
    match (what.verb.as_str(), what.subresource.as_str()) {
        ("create", "") if what.name.is_empty() || what.name == name => allow(),
        ("update" | "patch", "" | "status") if what.name == name => allow(),
        _ => refuse(format!("node {name:?} is not allowed to {} node {:?}", what.verb, what.name)),
    }
}

fn own_named(name: &str, what: &Attributes, verbs: &str) -> Decision {
    let mine = what.name == name || what.verb == "create" && what.name.is_empty();
    if mine && verb_is(what, verbs) && what.subresource.is_empty() {
        allow()
    } else {
        refuse(format!("can only access {} with the same name as the requesting node", what.resource))
    }
}

fn own_lease(name: &str, what: &Attributes) -> Decision {
    if what.namespace != LEASE_NAMESPACE {
        return refuse(format!("can only access leases in the {LEASE_NAMESPACE:?} system namespace"));
    }
    own_named(name, what, "get create update patch delete")
}

fn own_pods(registry: &Registry, name: &str, what: &Attributes) -> Decision {
    match (what.verb.as_str(), what.subresource.as_str()) {
        ("list" | "watch", "") => {
            let asked = selected_node(&what.field_selector);
            if asked.as_deref() == Some(name) {
                allow()
            } else {
                refuse("can only list/watch pods with spec.nodeName field selector")
            }
        }
        ("create", "") => allow(),
        ("get" | "delete", "") | ("update" | "patch", "status") | ("create", "eviction") => {
            match cached(registry, "pods", &what.namespace, &what.name) {
                Some(pod) if field(&pod, "spec.nodeName") != name => refuse(no_relationship(name)),
                Some(_) | None => allow(),
            }
        }
        _ => refuse(""),
    }
}

/// The node that a field selector restricts a list of pods to.
fn selected_node(selector: &str) -> Option<String> {
    selector.split(',').find_map(|term| {
        let (field, value) = term.split_once("==").or_else(|| term.split_once('='))?;
        (field.trim() == "spec.nodeName").then(|| value.trim().to_owned())
    })
}

fn no_relationship(name: &str) -> String {
    format!("no relationship found between node {name:?} and this object").replace('"', "'")
}

fn referenced(
    registry: &Registry,
    name: &str,
    what: &Attributes,
    verbs: &str,
    refers: fn(&Value, &str) -> bool,
) -> Decision {
    if !verb_is(what, verbs) || !what.subresource.is_empty() {
        return refuse("can only read resources of this type");
    }
    if what.name.is_empty() || what.namespace.is_empty() {
        return refuse("can only read namespaced object of this type");
    }
    let found = pods_of(registry, name, &what.namespace).iter().any(|pod| refers(pod, &what.name));
    if found { allow() } else { refuse(no_relationship(name)) }
}

fn claim(registry: &Registry, name: &str, what: &Attributes) -> Decision {
    let served = match what.subresource.as_str() {
        "" => what.verb == "get",
        "status" => verb_is(what, "get update patch"),
        _ => false,
    };
    if !served || what.name.is_empty() {
        return refuse("can only get individual resources of this type");
    }
    let found = pods_of(registry, name, &what.namespace).iter().any(|pod| refers_to_claim(pod, &what.name));
    if found { allow() } else { refuse(no_relationship(name)) }
}

fn volume(registry: &Registry, name: &str, what: &Attributes) -> Decision {
    if what.verb != "get" || what.name.is_empty() {
        return refuse("can only get individual resources of this type");
    }
    let claim = cached(registry, "persistentvolumes", "", &what.name).and_then(|volume| {
        let volume: Value = serde_json::from_slice(&volume.json).ok()?;
        let text = |path: &str| volume.pointer(path).and_then(Value::as_str).map(str::to_owned);
        Some((text("/spec/claimRef/namespace")?, text("/spec/claimRef/name")?))
    });
    let found = claim.is_some_and(|(namespace, claim)| {
        pods_of(registry, name, &namespace).iter().any(|pod| refers_to_claim(pod, &claim))
    });
    if found { allow() } else { refuse(no_relationship(name)) }
}

fn token(registry: &Registry, name: &str, what: &Attributes) -> Decision {
    let own = |pod: &Value| text(pod, "/spec/serviceAccountName") == what.name;
    match (what.verb.as_str(), what.subresource.as_str()) {
        ("create", "token") | ("get", "") if pods_of(registry, name, &what.namespace).iter().any(own) => {
            allow()
        }
        ("create", "token") | ("get", "") => refuse(no_relationship(name)),
        _ => refuse("can only create tokens for individual service accounts"),
    }
}

fn cached(
    registry: &Registry,
    resource: &str,
    namespace: &str,
    name: &str,
) -> Option<std::sync::Arc<Encoded>> {
    registry.cached(&GroupVersionResource::new("", "v1", resource))?.get(namespace, name).cloned()
}

fn field<'a>(object: &'a Encoded, path: &str) -> &'a str {
    object.fields.iter().find(|(name, _)| *name == path).map_or("", |(_, value)| value.as_str())
}

/// The pods of one namespace that are bound to the node; at most a few hundred.
fn pods_of(registry: &Registry, node: &str, namespace: &str) -> Vec<Value> {
    let Some(pods) = registry.cached(&GroupVersionResource::new("", "v1", "pods")) else { return Vec::new() };
    pods.in_namespace(namespace)
        .filter(|pod| field(pod, "spec.nodeName") == node)
        .filter_map(|pod| serde_json::from_slice(&pod.json).ok())
        .collect()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn items<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["/spec/initContainers", "/spec/containers", "/spec/ephemeralContainers"]
        .into_iter()
        .flat_map(|p| items(pod, p))
}

fn refers_to_secret(pod: &Value, name: &str) -> bool {
    let of_volume = |volume: &Value| {
        text(volume, "/secret/secretName") == name
            || items(volume, "/projected/sources").any(|s| text(s, "/secret/name") == name)
            || [
                "/csi/nodePublishSecretRef/name",
                "/rbd/secretRef/name",
                "/cephfs/secretRef/name",
                "/iscsi/secretRef/name",
            ]
            .iter()
            .any(|pointer| text(volume, pointer) == name)
    };
    items(pod, "/spec/imagePullSecrets").any(|s| text(s, "/name") == name)
        || items(pod, "/spec/volumes").any(of_volume)
        || containers(pod).any(|c| {
            items(c, "/env").any(|e| text(e, "/valueFrom/secretKeyRef/name") == name)
                || items(c, "/envFrom").any(|e| text(e, "/secretRef/name") == name)
        })
}

fn refers_to_config_map(pod: &Value, name: &str) -> bool {
    let of_volume = |volume: &Value| {
        text(volume, "/configMap/name") == name
            || items(volume, "/projected/sources").any(|s| text(s, "/configMap/name") == name)
    };
    items(pod, "/spec/volumes").any(of_volume)
        || containers(pod).any(|c| {
            items(c, "/env").any(|e| text(e, "/valueFrom/configMapKeyRef/name") == name)
                || items(c, "/envFrom").any(|e| text(e, "/configMapRef/name") == name)
        })
}

fn refers_to_claim(pod: &Value, name: &str) -> bool {
    let generated = |volume: &Value| {
        volume.get("ephemeral").is_some_and(|e| !e.is_null())
            && format!("{}-{}", text(pod, "/metadata/name"), text(volume, "/name")) == name
    };
    items(pod, "/spec/volumes").any(|v| text(v, "/persistentVolumeClaim/claimName") == name || generated(v))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_needs_both_name_and_group() {
        assert_eq!(name_of(&Identity::new("system:node:n1", &["system:nodes"])), Some("n1"));
        assert_eq!(name_of(&Identity::new("system:node:n1", &[])), None);
        assert_eq!(name_of(&Identity::new("system:node:", &["system:nodes"])), None);
        assert_eq!(name_of(&Identity::new("ann", &["system:nodes"])), None);
    }

    #[test]
    fn every_way_a_pod_refers_to_secrets_and_config_is_seen() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {
            "imagePullSecrets": [{"name": "pull"}],
            "volumes": [
                {"name": "a", "secret": {"secretName": "vol"}},
                {"name": "b", "projected": {"sources": [{"secret": {"name": "proj"}}, {"configMap": {"name": "cproj"}}]}},
                {"name": "c", "configMap": {"name": "cvol"}},
                {"name": "d", "persistentVolumeClaim": {"claimName": "claim"}},
                {"name": "e", "ephemeral": {"volumeClaimTemplate": {}}},
            ],
            "containers": [{"env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "env"}}}]}],
            "initContainers": [{"envFrom": [{"secretRef": {"name": "from"}}, {"configMapRef": {"name": "cfrom"}}]}],
        }});
        for secret in ["pull", "vol", "proj", "env", "from"] {
            assert!(refers_to_secret(&pod, secret), "{secret}");
        }
        for config in ["cproj", "cvol", "cfrom"] {
            assert!(refers_to_config_map(&pod, config), "{config}");
        }
        assert!(refers_to_claim(&pod, "claim") && refers_to_claim(&pod, "p-e"));
        assert!(!refers_to_secret(&pod, "cvol") && !refers_to_config_map(&pod, "vol"));
    }

    #[test]
    fn pods_are_listed_by_their_node_only() {
        assert_eq!(selected_node("spec.nodeName=n1").as_deref(), Some("n1"));
        assert_eq!(selected_node("a=b,spec.nodeName==n1").as_deref(), Some("n1"));
        assert_eq!(selected_node("spec.nodeName!=n1"), None);
    }
}
