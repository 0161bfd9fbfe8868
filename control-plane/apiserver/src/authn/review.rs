//! `TokenReview` and `SelfSubjectReview`: questions about identities, answered and never stored.

use serde_json::{Value, json};

use super::{Authenticator, Identity};

/// Answers a TokenReview.
pub fn token_review(authenticator: &Authenticator, mut body: Value) -> Value {
    let token = body.pointer("/spec/token").and_then(Value::as_str).unwrap_or_default().to_owned();
    let audiences: Vec<String> = body
        .pointer("/spec/audiences")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    let status = match authenticator.token(&token, &audiences) {
        Ok((who, valid_for)) => json!({"authenticated": true, "user": user(&who), "audiences": valid_for}),
        Err(why) => json!({"authenticated": false, "user": {}, "error": why.to_string()}),
    };
    body["status"] = status;
    body
}

/// Answers a SelfSubjectReview: `kubectl auth whoami`.
pub fn self_subject_review(who: &Identity, mut body: Value) -> Value {
    body["metadata"] =
        json!({"creationTimestamp": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()});
    body["status"] = json!({"userInfo": user(who)});
    body
}

fn user(who: &Identity) -> Value {
    let mut user = json!({"username": who.caller.user, "groups": who.caller.groups});
    if !who.caller.uid.is_empty() {
        user["uid"] = who.caller.uid.clone().into();
    }
    if !who.extra.is_empty() {
        user["extra"] = json!(who.extra);
    }
    user
}
