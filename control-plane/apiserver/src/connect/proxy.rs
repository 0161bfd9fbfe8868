//! The `proxy` subresources: plain HTTP to a pod, a service's endpoint or a node agent.

use std::net::IpAddr;

use api::{
    GroupVersionResource, Reason, Status,
    objects::{Scope, Target},
};
use http::{HeaderName, Request, header};
use http_body_util::BodyExt;
use hyper::{body::Incoming, client::conn::http1::SendRequest};
use registry::ListOptions;
use serde_json::Value;

use super::{node, tunnel};
use crate::{
    gateway::Context,
    reply::{Body, BoxError, Response},
};

/// `[scheme:]name[:port]`.
struct Named<'a> {
    scheme: &'a str,
    name: &'a str,
    port: &'a str,
}

fn parse(text: &str) -> Result<Named<'_>, Status> {
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        [name] => Ok(Named { scheme: "", name, port: "" }),
        [name, port] => Ok(Named { scheme: "", name, port }),
        [scheme @ ("" | "http" | "https"), name, port] => Ok(Named { scheme, name, port }),
        _ => Err(Status::bad_request(format!("invalid proxy request {text:?}"))),
    }
}

/// Proxies to a pod.
pub async fn pod(context: &Context, request: Request<Incoming>) -> Result<Response, Status> {
    let named = parse(&context.what.name)?;
    plain_only(&named)?;
    let pod = get(context, "pods", named.name).await?;
    let ip = pod.pointer("/status/podIP").and_then(Value::as_str).unwrap_or_default();
    let ip = ip.parse().map_err(|_| Status::bad_request(format!("pod {} has no address", named.name)))?;
    let port = match named.port {
        "" => first_container_port(&pod).unwrap_or(80),
        text => text.parse().map_err(|_| Status::bad_request(format!("invalid port {text:?}")))?,
    };
    to_pod(context, request, ip, port).await
}

fn plain_only(named: &Named<'_>) -> Result<(), Status> {
    if named.scheme == "https" {
        return Err(Status::bad_request("https is not supported for the proxy of pods and services"));
    }
    Ok(())
}

fn first_container_port(pod: &Value) -> Option<u16> {
    let containers = pod.pointer("/spec/containers")?.as_array()?;
    let port = containers.iter().find_map(|c| c.pointer("/ports/0/containerPort")?.as_u64())?;
    u16::try_from(port).ok()
}

/// Proxies to an endpoint of a service that is ready.
pub async fn service(context: &Context, request: Request<Incoming>) -> Result<Response, Status> {
    let named = parse(&context.what.name)?;
    plain_only(&named)?;
    let service = get(context, "services", named.name).await?;
    let ports = service.pointer("/spec/ports").and_then(Value::as_array).cloned().unwrap_or_default();
    let wanted = ports.iter().find(|p| {
        named.port.is_empty()
            || p.get("name").and_then(Value::as_str) == Some(named.port)
            || p.get("port").and_then(Value::as_u64).is_some_and(|n| n.to_string() == named.port)
    });
    let wanted = wanted.ok_or_else(|| {
        Status::unavailable(format!("no service port {:?} found for service {:?}", named.port, named.name))
    })?;
    let port_name = wanted.get("name").and_then(Value::as_str).unwrap_or_default();
    let (ip, port) = endpoint(context, named.name, port_name).await?;
    to_pod(context, request, ip, port).await
}

async fn endpoint(context: &Context, service: &str, port_name: &str) -> Result<(IpAddr, u16), Status> {
    let scope = Scope {
        resource: GroupVersionResource::new("discovery.k8s.io", "v1", "endpointslices"),
        namespace: context.what.namespace.clone(),
    };
    let options = ListOptions {
        label_selector: format!("kubernetes.io/service-name={service}"),
        ..ListOptions::default()
    };
    let listed = context.gateway.registry.list(&scope, &options).await?;
    for slice in &listed.items {
        let slice: Value = serde_json::from_slice(&slice.json).map_err(Status::internal)?;
        if let Some(found) = ready_endpoint(&slice, port_name) {
            return Ok(found);
        }
    }
    Err(Status::unavailable(format!("no endpoints available for service {service:?}")))
}

fn ready_endpoint(slice: &Value, port_name: &str) -> Option<(IpAddr, u16)> {
    let port = slice
        .get("ports")?
        .as_array()?
        .iter()
        .find(|p| p.get("name").and_then(Value::as_str).unwrap_or_default() == port_name)?;
    let port = u16::try_from(port.get("port")?.as_u64()?).ok()?;
    let ready = |e: &&Value| e.pointer("/conditions/ready").and_then(Value::as_bool).unwrap_or(true);
    let endpoint = slice.get("endpoints")?.as_array()?.iter().find(ready)?;
    Some((endpoint.pointer("/addresses/0")?.as_str()?.parse().ok()?, port))
}

/// Proxies to a node agent.
pub async fn node(context: &Context, request: Request<Incoming>) -> Result<Response, Status> {
    let named = parse(&context.what.name)?;
    let address = node::locate(&context.gateway.registry, named.name).await?;
    if !named.port.is_empty() && named.port != address.port.to_string() {
        return Err(Status::bad_request("only the agent's own port of a node can be reached"));
    }
    let sender = context.gateway.nodes.connect(address).await?;
    forward(context, request, sender, &address.ip.to_string()).await
}

async fn to_pod(
    context: &Context,
    request: Request<Incoming>,
    ip: IpAddr,
    port: u16,
) -> Result<Response, Status> {
    if is_local(ip) {
        return Err(Status::failure(Reason::Forbidden, "address not allowed"));
    }
    let sender = context.gateway.nodes.connect_plain(ip, port).await?;
    forward(context, request, sender, &format!("{ip}:{port}")).await
}

/// Addresses that lead back to this machine or to a cloud's metadata, never to a pod.
fn is_local(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || v4.is_multicast(),
        IpAddr::V6(v6) => {
            v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast()
        }
    }
}

async fn get(context: &Context, resource: &str, name: &str) -> Result<Value, Status> {
    let target = Target::new(GroupVersionResource::new("", "v1", resource), &context.what.namespace, name);
    let json = context.gateway.registry.get(&target, "").await?;
    serde_json::from_slice(&json).map_err(Status::internal)
}

async fn forward(
    context: &Context,
    request: Request<Incoming>,
    mut sender: SendRequest<Body>,
    host: &str,
) -> Result<Response, Status> {
    let query = request.uri().query().map(|q| format!("?{q}")).unwrap_or_default();
    let uri = format!("/{}{query}", context.what.rest);
    if tunnel::is_upgrade(request.headers()) {
        return tunnel::upgrade(context, request, sender, &uri, host).await;
    }
    let mut onward = tunnel::request(request.method().clone(), &uri, host)?;
    let headers = without_hop_headers(tunnel::passed_on(request.headers()));
    onward.headers_mut().extend(headers);
    *onward.body_mut() = request.into_body().map_err(BoxError::from).boxed_unsync();
    let answer = node::send(&mut sender, onward).await?;
    if answer.status().is_redirection() {
        return Err(Status::failure(Reason::InternalError, "the backend attempted to redirect this request"));
    }
    let (mut parts, body) = answer.into_parts();
    parts.headers = without_hop_headers(parts.headers);
    Ok(Response::from_parts(parts, body.map_err(BoxError::from).boxed_unsync()))
}

fn without_hop_headers(mut headers: http::HeaderMap) -> http::HeaderMap {
    let keep_alive = HeaderName::from_static("keep-alive");
    for name in [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::TE,
        header::TRAILER,
        keep_alive,
    ] {
        headers.remove(name);
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_carry_scheme_and_port() {
        let read = |text| parse(text).map(|n| format!("{}|{}|{}", n.scheme, n.name, n.port)).ok();
        assert_eq!(read("web").as_deref(), Some("|web|"));
        assert_eq!(read("web:80").as_deref(), Some("|web|80"));
        assert_eq!(read("https:web:tls").as_deref(), Some("https|web|tls"));
        assert_eq!(read("ftp:web:1"), None);
    }

    #[test]
    fn addresses_of_this_machine_are_refused() {
        for ip in ["127.0.0.1", "169.254.169.254", "::1", "fe80::1", "0.0.0.0", "::ffff:127.0.0.1"] {
            assert!(is_local(ip.parse().unwrap()), "{ip}");
        }
        assert!(!is_local("10.244.0.7".parse().unwrap()));
    }
}
