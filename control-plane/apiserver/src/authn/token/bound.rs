//! A token lives as long as the objects it names: the account and, when bound, its pod or secret.

use std::collections::BTreeMap;

use api::GroupVersionResource;
use registry::{Caller, Registry};
use serde_json::Value;

use super::{Claims, Reference, Refusal};
use crate::authn::Identity;

/// Checks that every object a token names still exists under the same UID.
pub fn check(registry: &Registry, claims: &Claims) -> Result<(), Refusal> {
    let about = &claims.kubernetes;
    alive(registry, "serviceaccounts", &about.namespace, &about.serviceaccount)?;
    if let Some(secret) = &about.secret {
        alive(registry, "secrets", &about.namespace, secret)?;
    }
    if let Some(pod) = &about.pod {
        alive(registry, "pods", &about.namespace, pod)?;
    }
    Ok(())
}

fn alive(registry: &Registry, resource: &str, namespace: &str, wanted: &Reference) -> Result<(), Refusal> {
    let gone = |what: &str| Refusal::Unbound(format!("{resource} {namespace}/{} {what}", wanted.name));
    let snapshot = registry
        .cached(&GroupVersionResource::new("", "v1", resource))
        .ok_or_else(|| gone("cannot be looked up yet"))?;
    let object = snapshot.get(namespace, &wanted.name).ok_or_else(|| gone("has been deleted"))?;
    if object.uid != wanted.uid {
        return Err(gone("has been replaced by another of the same name"));
    }
    let decoded: Value = serde_json::from_slice(&object.json).map_err(|_| gone("cannot be read"))?;
    match deleted_since_s(&decoded, jiff::Timestamp::now()) {
        Some(seconds) if seconds > LEEWAY_S => Err(gone("has been deleted")),
        _ => Ok(()),
    }
}

/// Seconds a token outlives the deletion mark of its object, so that a pod can shut down in order; upstream's.
const LEEWAY_S: i64 = 60;

fn deleted_since_s(object: &Value, now: jiff::Timestamp) -> Option<i64> {
    let marked = object.pointer("/metadata/deletionTimestamp")?.as_str()?;
    let marked: jiff::Timestamp = marked.parse().ok()?;
    Some(now.as_second() - marked.as_second())
}

/// The user a token stands for.
pub fn identity(claims: &Claims) -> Identity {
    let about = &claims.kubernetes;
    let caller = Caller {
        user: format!("system:serviceaccount:{}:{}", about.namespace, about.serviceaccount.name),
        uid: about.serviceaccount.uid.clone(),
        groups: vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{}", about.namespace)],
    };
    let mut extra = BTreeMap::new();
    let mut say = |key: &str, value: &str| {
        extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
    };
    say("credential-id", &format!("JTI={}", claims.jti));
    if let Some(pod) = &about.pod {
        say("pod-name", &pod.name);
        say("pod-uid", &pod.uid);
    }
    if let Some(node) = &about.node {
        say("node-name", &node.name);
        say("node-uid", &node.uid);
    }
    Identity { caller, extra }.authenticated()
}
