//! Passing an upgraded connection through: once both sides have agreed to switch protocols, bytes go both ways until
//! one side closes.

use api::{Reason, Status};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, client::conn::http1::SendRequest, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;

use super::node;
use crate::{
    gateway::Context,
    limits,
    reply::{self, Body, BoxError, Response},
};

/// Headers that end at this server: credentials, identities and the connection's own.
const OURS: [HeaderName; 4] = [header::AUTHORIZATION, header::COOKIE, header::HOST, header::CONTENT_LENGTH];

/// A request without a body.
pub fn request(method: Method, uri: &str, host: &str) -> Result<Request<Body>, Status> {
    Request::builder()
        .method(method)
        .uri(uri)
        .header(header::HOST, host)
        .body(Empty::new().map_err(|never| match never {}).boxed_unsync())
        .map_err(|e| Status::bad_request(format!("the request cannot be passed on: {e}")))
}

/// The headers that are passed on.
pub fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut out = HeaderMap::new();
    for (name, value) in headers {
        let lower = name.as_str();
        if OURS.contains(name) || lower.starts_with("impersonate-") || lower.starts_with("x-remote-") {
            continue;
        }
        if *name == header::SEC_WEBSOCKET_PROTOCOL {
            if let Some(kept) = without_bearer(value) {
                out.append(name, kept);
            }
            continue;
        }
        out.append(name, value.clone());
    }
    out
}

/// The offered sub-protocols but the one that carries a token.
fn without_bearer(value: &HeaderValue) -> Option<HeaderValue> {
    let offered = value.to_str().ok()?.split(',').map(str::trim);
    let kept: Vec<&str> =
        offered.filter(|p| !p.starts_with("base64url.bearer.authorization.k8s.io.")).collect();
    if kept.is_empty() { None } else { HeaderValue::from_str(&kept.join(", ")).ok() }
}

/// Whether a client asks to switch protocols.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    let wants = |v: &HeaderValue| v.to_str().is_ok_and(|v| v.to_ascii_lowercase().contains("upgrade"));
    headers.contains_key(header::UPGRADE) && headers.get_all(header::CONNECTION).iter().any(wants)
}

/// Passes an upgrade request on to `uri` and, when it is accepted, joins the two connections.
pub async fn upgrade(
    context: &Context,
    mut request: Request<Incoming>,
    mut sender: SendRequest<Body>,
    uri: &str,
    host: &str,
) -> Result<Response, Status> {
    if !is_upgrade(request.headers()) {
        return Err(Status::bad_request("Upgrade request required"));
    }
    let client = hyper::upgrade::on(&mut request);
    let mut onward = self::request(request.method().clone(), uri, host)?;
    let headers = passed_on(request.headers());
    onward.headers_mut().extend(headers);
    let mut answer = node::send(&mut sender, onward).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return refused(answer).await;
    }
    let backend = hyper::upgrade::on(&mut answer);
    let mut response = reply::empty(101);
    *response.headers_mut() = answer.headers().clone();
    let closed = context.gateway.closed.clone();
    context.gateway.tasks.spawn(async move {
        tokio::select! {
            () = closed.cancelled() => {}
            () = join(client, backend) => {}
        }
    });
    Ok(response)
}

async fn join(client: OnUpgrade, backend: OnUpgrade) {
    let (client, backend) = match tokio::try_join!(client, backend) {
        Ok(both) => both,
        Err(error) => return tracing::debug!(%error, "an upgrade was not completed"),
    };
    let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
    let size = limits::TUNNEL_BUFFER_BYTES;
    if let Err(error) = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut backend, size, size).await
    {
        tracing::debug!(%error, "a tunnel ended");
    }
}

/// An upgrade that the agent refused: its answer, never its connection. Redirects are not followed.
async fn refused(answer: http::Response<Incoming>) -> Result<Response, Status> {
    let code = answer.status().as_u16();
    if (300..400).contains(&code) {
        return Err(Status::failure(Reason::InternalError, "the node answered with a redirect"));
    }
    let body =
        http_body_util::Limited::new(answer.into_body(), limits::NODE_ANSWER_BYTES_MAX).collect().await;
    let bytes = body.map(|b| b.to_bytes()).map_err(|e: BoxError| Status::internal(e))?;
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    match serde_json::from_slice::<Status>(&bytes) {
        Ok(status) => Err(status),
        Err(_) if code == 400 => Err(Status::bad_request(text)),
        Err(_) if code == 404 => Err(Status::failure(Reason::NotFound, text)),
        Err(_) => Err(Status::internal(format!("the node answered {code}: {text}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_stay_here_and_upgrades_go_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer x"),
            ("impersonate-user", "root"),
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-protocol", "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.eA"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        assert!(is_upgrade(&headers));
        let passed = passed_on(&headers);
        assert_eq!(passed.len(), 3);
        assert_eq!(passed["sec-websocket-protocol"], "v5.channel.k8s.io");
    }
}
