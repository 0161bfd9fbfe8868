//! `POST .../serviceaccounts/<name>/token`: a TokenRequest answered with a signed token.

use api::{
    GroupVersionResource, Status, meta,
    objects::Target,
    status::{self, Cause},
};
use registry::Registry;
use serde_json::{Value, json};

use super::{Claims, Issuer, Kubernetes, Reference};
use crate::{authn::Identity, authz::node, limits};

/// Answers a TokenRequest for the account that `target` names.
pub async fn answer(
    registry: &Registry,
    issuer: &Issuer,
    who: &Identity,
    target: &Target,
    body: Value,
) -> Result<Value, Status> {
    let (namespace, name) = (target.scope.namespace.as_str(), target.name.as_str());
    let account = read(registry, "serviceaccounts", namespace, name).await?;
    let spec = body.get("spec").cloned().unwrap_or_default();
    let ttl_s = lifetime_s(name, &spec)?;
    let mut about = Kubernetes {
        namespace: namespace.into(),
        serviceaccount: Reference { name: name.into(), uid: meta::uid(&account).into() },
        ..Kubernetes::default()
    };
    bind(registry, &mut about, name, spec.get("boundObjectRef")).await?;
    if let Some(node) = node::name_of(who) {
        allow_node(node, name, &about)?;
    }
    let audiences = audiences(&spec, issuer);
    let now = jiff::Timestamp::now().as_second();
    let claims = Claims {
        iss: issuer.name().into(),
        sub: format!("system:serviceaccount:{namespace}:{name}"),
        aud: audiences.clone(),
        exp: now + ttl_s,
        iat: now,
        nbf: now,
        jti: uuid::Uuid::new_v4().to_string(),
        kubernetes: about,
    };
    let token = issuer.sign(&claims).map_err(|e| Status::internal(format!("signing a token: {e}")))?;
    let expires = jiff::Timestamp::from_second(claims.exp).map_err(Status::internal)?;
    Ok(json!({
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": jiff::Timestamp::from_second(now).map_err(Status::internal)?.to_string()},
        "spec": {
            "audiences": audiences,
            "expirationSeconds": ttl_s,
            "boundObjectRef": spec.get("boundObjectRef").cloned().unwrap_or(Value::Null),
        },
        "status": {"token": token, "expirationTimestamp": expires.to_string()},
    }))
}

fn lifetime_s(name: &str, spec: &Value) -> Result<i64, Status> {
    let asked = spec.get("expirationSeconds").and_then(Value::as_i64).unwrap_or(limits::TOKEN_TTL_S_DEFAULT);
    if asked < limits::TOKEN_TTL_S_MIN {
        let cause = Cause::invalid(
            "spec.expirationSeconds",
            &json!(asked),
            "may not specify a duration less than 10 minutes",
        );
        return Err(Status::invalid("authentication.k8s.io", "TokenRequest", name, vec![cause]));
    }
    Ok(asked.min(limits::TOKEN_TTL_S_MAX))
}

fn audiences(spec: &Value, issuer: &Issuer) -> Vec<String> {
    let asked: Vec<String> = spec
        .get("audiences")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    if asked.is_empty() { issuer.audiences().to_vec() } else { asked }
}

async fn read(registry: &Registry, resource: &str, namespace: &str, name: &str) -> Result<Value, Status> {
    let target = Target::new(GroupVersionResource::new("", "v1", resource), namespace, name);
    let json = registry.get(&target, "").await?;
    serde_json::from_slice(&json).map_err(Status::internal)
}

async fn bind(
    registry: &Registry,
    about: &mut Kubernetes,
    account: &str,
    bound: Option<&Value>,
) -> Result<(), Status> {
    let Some(bound) = bound.filter(|b| !b.is_null()) else { return Ok(()) };
    let text = |field: &str| bound.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (kind, name, uid) = (text("kind"), text("name"), text("uid"));
    let resource = match kind.as_str() {
        "Pod" => "pods",
        "Secret" => "secrets",
        other => {
            return Err(Status::bad_request(format!("cannot bind token to object of type v1, Kind={other}")));
        }
    };
    let object = read(registry, resource, &about.namespace, &name).await?;
    if !uid.is_empty() && uid != meta::uid(&object) {
        let what = api::GroupResource { group: String::new(), resource: resource.into() };
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(Status::conflict(&what, &name, &why));
    }
    let reference = Reference { name: name.clone(), uid: meta::uid(&object).into() };
    if resource == "secrets" {
        about.secret = Some(reference);
        return Ok(());
    }
    let runs_as = object.pointer("/spec/serviceAccountName").and_then(Value::as_str).unwrap_or_default();
    if runs_as != account {
        return Err(Status::bad_request(format!(
            "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
        )));
    }
    about.pod = Some(reference);
    let node = object.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default();
    if !node.is_empty() {
        let uid =
            read(registry, "nodes", "", node).await.map(|n| meta::uid(&n).to_owned()).unwrap_or_default();
        about.node = Some(Reference { name: node.into(), uid });
    }
    Ok(())
}

/// A node gets tokens only for pods that run on it.
fn allow_node(node: &str, account: &str, about: &Kubernetes) -> Result<(), Status> {
    let refuse = |why: &str| {
        let what = api::GroupResource { group: String::new(), resource: "serviceaccounts".into() };
        Err(Status::failure(status::Reason::Forbidden, Status::forbidden(&what, account, why).message))
    };
    match (&about.pod, &about.node) {
        (None, _) => refuse("node requested token not bound to a pod"),
        (Some(_), Some(bound)) if bound.name == node => Ok(()),
        (Some(_), _) => refuse("node requested token bound to a pod scheduled on a different node"),
    }
}
