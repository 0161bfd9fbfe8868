//! Acting as somebody else: `Impersonate-*` headers, each of which must be allowed.

use std::collections::BTreeMap;

use api::Status;
use http::HeaderMap;
use registry::Caller;

use super::{AUTHENTICATED, Identity, UNAUTHENTICATED};
use crate::{
    authz::{Authorizer, forbidden},
    query,
    request::Attributes,
};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// The identity a request acts under: that of the headers when the sender may use it, else the sender's own.
pub fn apply(authorizer: &Authorizer, sender: Identity, headers: &HeaderMap) -> Result<Identity, Status> {
    let Some(wanted) = wanted(headers)? else { return Ok(sender) };
    for what in permissions(&wanted) {
        if let Some(why) = authorizer.authorize(&sender, &what).refusal() {
            return Err(forbidden(&sender, &what, &why));
        }
    }
    Ok(with_implied_groups(wanted))
}

fn wanted(headers: &HeaderMap) -> Result<Option<Identity>, Status> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let groups: Vec<String> =
        headers.get_all(GROUP).iter().filter_map(|v| v.to_str().ok()).map(str::to_owned).collect();
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        if let (Some(key), Ok(value)) = (name.as_str().strip_prefix(EXTRA), value.to_str()) {
            extra.entry(query::decode(key, false)).or_default().push(value.to_owned());
        }
    }
    let (user, uid) = (text(USER), text(UID));
    if user.is_empty() {
        if groups.is_empty() && uid.is_empty() && extra.is_empty() {
            return Ok(None);
        }
        return Err(Status::internal("requested impersonation without a user (Impersonate-User is missing)"));
    }
    Ok(Some(Identity { caller: Caller { user, uid, groups }, extra }))
}

fn permissions(wanted: &Identity) -> Vec<Attributes> {
    let ask = |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| Attributes {
        verb: "impersonate".into(),
        group: group.into(),
        version: "v1".into(),
        resource: resource.into(),
        subresource: subresource.into(),
        namespace: namespace.into(),
        name: name.into(),
        ..Attributes::default()
    };
    let mut all = Vec::new();
    match wanted.caller.user.strip_prefix(SERVICE_ACCOUNT).and_then(|rest| rest.split_once(':')) {
        Some((namespace, name)) => all.push(ask("", "serviceaccounts", "", namespace, name)),
        None => all.push(ask("", "users", "", "", &wanted.caller.user)),
    }
    all.extend(wanted.caller.groups.iter().map(|g| ask("", "groups", "", "", g)));
    if !wanted.caller.uid.is_empty() {
        all.push(ask("authentication.k8s.io", "uids", "", "", &wanted.caller.uid));
    }
    for (key, values) in &wanted.extra {
        all.extend(values.iter().map(|v| ask("authentication.k8s.io", "userextras", key, "", v)));
    }
    all
}

fn with_implied_groups(mut who: Identity) -> Identity {
    let account = who.caller.user.strip_prefix(SERVICE_ACCOUNT).and_then(|rest| rest.split_once(':'));
    if let (Some((namespace, _)), true) = (account, who.caller.groups.is_empty()) {
        who.caller.groups =
            vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
    }
    if who.is_anonymous() {
        if !who.is_in(UNAUTHENTICATED) {
            who.caller.groups.push(UNAUTHENTICATED.into());
        }
        return who;
    }
    if !who.is_in(AUTHENTICATED) {
        who.caller.groups.push(AUTHENTICATED.into());
    }
    who
}
