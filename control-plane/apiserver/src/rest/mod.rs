//! The verbs over HTTP. Each function turns an authorized request into one call of the registry, and its outcome
//! into an answer.

pub mod body;
pub mod negotiate;
mod object;
pub mod options;
mod read;
mod review;
mod watch;
mod write;

pub use object::partial_metadata;
pub use watch::Review;

use std::sync::Arc;

use api::Status;
use http::Request;
use hyper::body::Incoming;
use registry::Resource;

use crate::{connect, gateway::Context, reply::Response};

/// Executes a request for a resource.
pub async fn dispatch(context: &Context, request: Request<Incoming>) -> Result<Response, Status> {
    let what = &context.what;
    let row = row(context)?;
    if connect::handles(&what.resource, &what.subresource) {
        return connect::dispatch(context, request).await;
    }
    check_served(context, &row)?;
    match what.verb.as_str() {
        "get" => read::get(context, &row).await,
        "list" => read::list(context, &row).await,
        "watch" => watch::watch(context, &row).await,
        "create" => write::create(context, &row, request.into_body()).await,
        "update" => write::update(context, &row, request.into_body()).await,
        "patch" => write::patch(context, &row, request.into_body()).await,
        "delete" => write::delete(context, &row, request.into_body()).await,
        "deletecollection" => write::delete_collection(context, &row, request.into_body()).await,
        verb => Err(Status::method_not_allowed(&row.group_resource(), verb)),
    }
}

/// The row of what is asked for; 404 when nothing serves it.
fn row(context: &Context) -> Result<Arc<Resource>, Status> {
    let what = &context.what;
    let row =
        context.gateway.registry.catalog().get(&what.gvr()).cloned().ok_or_else(Status::no_such_resource)?;
    let known = what.subresource.is_empty() || row.subresource(&what.subresource).is_some();
    let namespace_object = what.resource == "namespaces" && what.group.is_empty();
    let in_scope = row.namespaced || what.namespace.is_empty() || namespace_object;
    let everywhere = row.namespaced && what.namespace.is_empty();
    let needs_namespace = !matches!(what.verb.as_str(), "list" | "watch" | "deletecollection");
    let unplaced = everywhere && (needs_namespace || what.verb == "deletecollection");
    if known && in_scope && !unplaced { Ok(row) } else { Err(Status::no_such_resource()) }
}

/// 405 when the resource exists but does not serve the verb.
fn check_served(context: &Context, row: &Resource) -> Result<(), Status> {
    let what = &context.what;
    let served = match row.subresource(&what.subresource) {
        Some(sub) => sub.verbs.contains(&what.verb),
        None => row.serves(&what.verb),
    };
    let named = !what.name.is_empty() || !matches!(what.verb.as_str(), "update" | "patch");
    let plain_create = what.verb != "create" || what.name.is_empty() || !what.subresource.is_empty();
    if served && named && plain_create {
        return Ok(());
    }
    let mut status = Status::method_not_allowed(&row.group_resource(), &what.verb);
    status.message = "the server does not allow this method on the requested resource".into();
    Err(status)
}
