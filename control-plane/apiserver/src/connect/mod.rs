//! Requests that end at a node agent or a pod: logs, exec, attach, port-forward, proxy.
//!
//! The server authorizes, finds the node and the container, and then passes bytes through. What is spoken inside an
//! upgraded connection (WebSocket `v5.channel.k8s.io`, SPDY/3.1, SPDY tunnelled in WebSocket) is between client
//! and agent; to the server it is an opaque tunnel.

pub mod container;
pub mod node;
mod pod;
mod proxy;
mod tunnel;

use api::Status;
use http::Request;
use hyper::body::Incoming;

use crate::{gateway::Context, reply::Response};

/// Whether a subresource ends here.
pub fn handles(resource: &str, subresource: &str) -> bool {
    matches!(
        (resource, subresource),
        ("pods", "log" | "exec" | "attach" | "portforward" | "proxy") | ("services" | "nodes", "proxy")
    )
}

/// Connects.
pub async fn dispatch(context: &Context, request: Request<Incoming>) -> Result<Response, Status> {
    let what = &context.what;
    match (what.resource.as_str(), what.subresource.as_str()) {
        ("pods", "log") => pod::log(context).await,
        ("pods", "exec" | "attach" | "portforward") => {
            require_create(context)?;
            pod::stream(context, request).await
        }
        ("pods", "proxy") => proxy::pod(context, request).await,
        ("services", "proxy") => proxy::service(context, request).await,
        ("nodes", "proxy") => {
            require_create(context)?;
            proxy::node(context, request).await
        }
        _ => Err(Status::no_such_resource()),
    }
}

/// A WebSocket opens with GET, yet running a command is no read: whatever the method, the right to create is
/// needed too.
fn require_create(context: &Context) -> Result<(), Status> {
    if context.what.verb != "get" {
        return Ok(());
    }
    let mut what = context.what.clone();
    what.verb = "create".into();
    context.gateway.authorizer.require(&context.who, &what)
}
