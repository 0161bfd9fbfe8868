//! NamespaceLifecycle: nothing is created in a namespace that is missing or going.

use api::{
    Reason, Status,
    status::{Cause, CauseType},
};

use super::{Operation, Request};
use crate::strategy::namespace::is_immortal;

/// Refuses a create in a namespace that does not exist or is terminating.
pub(super) async fn exists(request: &Request<'_>) -> Result<(), Status> {
    if request.operation != Operation::Create || request.namespace.is_empty() || !request.row.namespaced {
        return Ok(());
    }
    let Some(cache) = request.core.cache_of("", "v1", "namespaces") else { return Ok(()) };
    let cached = if cache.is_filled() { cache.get("", request.namespace) } else { None };
    let found = match cached {
        Some(found) => Some(found),
        // It may have been created a moment ago, through another server.
        None => request.core.storage.read(&cache, "", request.namespace).await?,
    };
    let Some(found) = found else {
        let namespaces = api::GroupResource { group: String::new(), resource: "namespaces".into() };
        return Err(Status::not_found(&namespaces, request.namespace));
    };
    let phase =
        found.fields.iter().find(|(name, _)| *name == "status.phase").map(|(_, phase)| phase.as_str());
    if phase == Some("Terminating") {
        return Err(terminating(request));
    }
    Ok(())
}

fn terminating(request: &Request<'_>) -> Status {
    let namespace = request.namespace;
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut status = request.forbid(&why);
    debug_assert!(status.is(Reason::Forbidden));
    if let Some(details) = &mut status.details {
        let message = format!("namespace {namespace} is being terminated");
        details.causes.push(Cause {
            kind: CauseType::FieldValueForbidden,
            message,
            field: "metadata.namespace".into(),
        });
    }
    status
}

/// Refuses to delete the namespaces that a cluster cannot be without.
pub(super) fn deletable(request: &Request<'_>) -> Result<(), Status> {
    if request.is_resource("namespaces") && is_immortal(request.name) {
        return Err(request.forbid("this namespace may not be deleted"));
    }
    Ok(())
}
