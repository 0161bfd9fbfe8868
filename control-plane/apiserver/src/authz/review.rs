//! Access reviews: `kubectl auth can-i`, and what webhooks and node agents ask about others.

use std::collections::BTreeMap;

use api::{Status, status::Cause};
use registry::Caller;
use serde_json::{Value, json};

use super::{Authorizer, Decision, rbac::Rule};
use crate::{
    authn::{Identity, MASTERS},
    request::Attributes,
};

/// Answers a SelfSubjectAccessReview.
pub fn for_self(authorizer: &Authorizer, who: &Identity, body: Value) -> Result<Value, Status> {
    decide(authorizer, who, body)
}

/// Answers a SubjectAccessReview; a local one is about its own namespace only.
pub fn for_subject(authorizer: &Authorizer, body: Value, local: Option<&str>) -> Result<Value, Status> {
    let spec = body.get("spec").cloned().unwrap_or_default();
    let texts = |field: &str| -> Vec<String> {
        spec.get(field)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    let text = |field: &str| spec.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (user, groups) = (text("user"), texts("groups"));
    if user.is_empty() && groups.is_empty() {
        return Err(invalid(
            &body,
            Cause::required("spec.user", "at least one of user or group must be specified"),
        ));
    }
    if let Some(namespace) = local {
        let asked = spec.pointer("/resourceAttributes/namespace").and_then(Value::as_str).unwrap_or_default();
        if asked != namespace {
            let why = "must match metadata.namespace";
            return Err(invalid(
                &body,
                Cause::invalid("spec.resourceAttributes.namespace", &asked.into(), why),
            ));
        }
    }
    let who = Identity { caller: Caller { user, uid: text("uid"), groups }, extra: BTreeMap::new() };
    decide(authorizer, &who, body)
}

fn decide(authorizer: &Authorizer, who: &Identity, mut body: Value) -> Result<Value, Status> {
    let what = attributes(&body)?;
    body["status"] = match authorizer.authorize(who, &what) {
        Decision::Allow(why) if why.is_empty() => json!({"allowed": true}),
        Decision::Allow(why) => json!({"allowed": true, "reason": why}),
        Decision::NoOpinion(why) if why.is_empty() => json!({"allowed": false}),
        Decision::NoOpinion(why) => json!({"allowed": false, "reason": why}),
    };
    Ok(body)
}

fn attributes(body: &Value) -> Result<Attributes, Status> {
    let resource = body.pointer("/spec/resourceAttributes").filter(|v| !v.is_null());
    let path = body.pointer("/spec/nonResourceAttributes").filter(|v| !v.is_null());
    let text = |of: &Value, field: &str| of.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    match (resource, path) {
        (Some(r), None) => Ok(Attributes {
            verb: text(r, "verb"),
            group: text(r, "group"),
            version: text(r, "version"),
            resource: text(r, "resource"),
            subresource: text(r, "subresource"),
            namespace: text(r, "namespace"),
            name: text(r, "name"),
            ..Attributes::default()
        }),
        (None, Some(p)) => {
            Ok(Attributes { verb: text(p, "verb"), path: text(p, "path"), ..Attributes::default() })
        }
        _ => {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            Err(invalid(body, Cause::invalid("spec.resourceAttributes", &Value::Null, why)))
        }
    }
}

fn invalid(body: &Value, cause: Cause) -> Status {
    let kind = body.get("kind").and_then(Value::as_str).unwrap_or_default();
    Status::invalid("authorization.k8s.io", kind, "", vec![cause])
}

/// Answers a SelfSubjectRulesReview.
pub fn rules(authorizer: &Authorizer, who: &Identity, mut body: Value) -> Result<Value, Status> {
    let namespace = body.pointer("/spec/namespace").and_then(Value::as_str).unwrap_or_default().to_owned();
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let mut rules = authorizer.read(|policy| policy.rules_for(&who.caller, &namespace));
    if who.is_in(MASTERS) {
        rules.extend(everything());
    }
    rules.dedup();
    let (paths, resources): (Vec<Rule>, Vec<Rule>) =
        rules.into_iter().partition(|r| !r.non_resource_urls.is_empty());
    body["status"] = json!({
        "resourceRules": resources,
        "nonResourceRules": paths,
        "incomplete": super::node::name_of(who).is_some(),
    });
    Ok(body)
}

fn everything() -> [Rule; 2] {
    let all = || vec!["*".to_owned()];
    [
        Rule { verbs: all(), api_groups: all(), resources: all(), ..Rule::default() },
        Rule { verbs: all(), non_resource_urls: all(), ..Rule::default() },
    ]
}
