//! Requests that are answered and not stored: reviews of identities and permissions, and tokens.

use api::Status;
use registry::Resource;
use serde_json::{Value, json};

use crate::{
    authn::{review as identities, token},
    authz::{escalation, review as permissions},
    gateway::Context,
};

/// Answers a review.
pub fn answer(context: &Context, row: &Resource, mut body: Value) -> Result<Value, Status> {
    let sent = body.get("kind").and_then(Value::as_str).unwrap_or(&row.kind);
    if sent != row.kind {
        return Err(Status::bad_request(format!("the body is a {sent}, not a {}", row.kind)));
    }
    body["kind"] = row.kind.clone().into();
    body["apiVersion"] = row.api_version().into();
    if body.get("metadata").is_none_or(|m| !m.is_object()) {
        body["metadata"] = json!({"creationTimestamp": null});
    }
    let (gateway, who) = (&context.gateway, &context.who);
    match row.kind.as_str() {
        "TokenReview" => Ok(identities::token_review(&gateway.authenticator, body)),
        "SelfSubjectReview" => Ok(identities::self_subject_review(who, body)),
        "SelfSubjectAccessReview" => permissions::for_self(&gateway.authorizer, who, body),
        "SubjectAccessReview" => permissions::for_subject(&gateway.authorizer, body, None),
        "LocalSubjectAccessReview" => {
            permissions::for_subject(&gateway.authorizer, body, Some(&context.what.namespace))
        }
        "SelfSubjectRulesReview" => permissions::rules(&gateway.authorizer, who, body),
        _ => Err(Status::no_such_resource()),
    }
}

/// Answers a TokenRequest.
pub async fn token(context: &Context, body: Value) -> Result<Value, Status> {
    let gateway = &context.gateway;
    let issuer = gateway.authenticator.issuer().ok_or_else(Status::no_such_resource)?;
    escalation::check_node_body(&context.who, &context.what.target(), &body)?;
    token::request::answer(&gateway.registry, issuer, &context.who, &context.what.target(), body).await
}
