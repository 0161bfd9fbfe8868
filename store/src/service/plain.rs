//! What is asked over plain HTTP on the port for clients: health, version and metrics, at etcd's paths and in its words.
//!
//! | path | answers | 200 when |
//! |---|---|---|
//! | `/health` | `{"health":"true","reason":""}` | a linearizable read succeeds; with `?serializable=true` a local one |
//! | `/livez` | `ok` | this member can read |
//! | `/readyz` | `ok` | a linearizable read succeeds and nothing is damaged or full |
//! | `/version` | versions as JSON | always |
//! | `/metrics` | metrics as Prometheus reads them | always |
//!
//! `?verbose` lists the checks.

use std::convert::Infallible;

use http::request::Parts;
use http::{Method, Request, Response, StatusCode, header};
use serde_json::json;
use store_client::{KeyRange, Kv, Range};
use tonic::service::{AxumBody, AxumRouter};
use tower::service_fn;

use super::ETCD_VERSION;
use crate::limits::HEALTH_PATIENCE;
use crate::metrics::report;
use crate::server::Handle;

/// Adds the paths to a router.
pub fn add(router: AxumRouter, handle: &Handle) -> AxumRouter {
    const PATHS: [&str; 5] = ["/health", "/livez", "/readyz", "/version", "/metrics"];
    PATHS.into_iter().fold(router, |router, path| {
        let handle = handle.clone();
        let service = service_fn(move |request: Request<AxumBody>| {
            let handle = handle.clone();
            let (parts, _body) = request.into_parts();
            async move { Ok::<_, Infallible>(answer(&handle, &parts).await) }
        });
        router.route_service(path, service)
    })
}

async fn answer(handle: &Handle, request: &Parts) -> Response<AxumBody> {
    if request.method != Method::GET && request.method != Method::HEAD {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n".to_owned());
        refused.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    let query = request.uri.query().unwrap_or_default();
    let asked = |name: &str| query.split('&').any(|pair| pair == name || pair == format!("{name}=true"));
    match request.uri.path() {
        "/health" => health(handle, asked("serializable")).await,
        "/livez" => checks(&[("serializable_read", read(handle, true).await)], asked("verbose")),
        "/readyz" => {
            let space = if handle.no_space() { Err("out of space".to_owned()) } else { Ok(()) };
            let done = [("linearizable_read", read(handle, false).await), ("space", space)];
            checks(&done, asked("verbose"))
        }
        "/version" => {
            let versions =
                json!({ "etcdserver": ETCD_VERSION, "etcdcluster": ETCD_VERSION, "storage": ETCD_VERSION });
            respond(StatusCode::OK, "application/json", versions.to_string())
        }
        _ => respond(StatusCode::OK, report::CONTENT_TYPE, report::text(handle)),
    }
}

/// One key, so that it costs nothing; the key need not be there.
async fn read(handle: &Handle, serializable: bool) -> Result<(), String> {
    let range = Range { serializable, ..Range::new(KeyRange::Key("health".into())) };
    match tokio::time::timeout(HEALTH_PATIENCE, handle.range(range)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("it takes too long".to_owned()),
    }
}

async fn health(handle: &Handle, serializable: bool) -> Response<AxumBody> {
    let space = if handle.no_space() { Err("ALARM NOSPACE".to_owned()) } else { Ok(()) };
    let leader = match handle.leadership_now().leader {
        None if !serializable => Err("RAFT NO LEADER".to_owned()),
        Some(_) | None => Ok(()),
    };
    let result = match space.and(leader) {
        Ok(()) => read(handle, serializable).await.map_err(|reason| format!("RANGE ERROR:{reason}")),
        refused => refused,
    };
    let (status, healthy) = match result {
        Ok(()) => (StatusCode::OK, "true"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "false"),
    };
    let reason = result.err().unwrap_or_default();
    respond(status, "application/json", json!({ "health": healthy, "reason": reason }).to_string())
}

fn checks(done: &[(&str, Result<(), String>)], verbose: bool) -> Response<AxumBody> {
    let passed = done.iter().all(|(_, result)| result.is_ok());
    let mut body = String::new();
    if verbose || !passed {
        for (name, result) in done {
            let line = match result {
                Ok(()) => format!("[+]{name} ok\n"),
                Err(reason) => format!("[-]{name} failed: {reason}\n"),
            };
            body += &line;
        }
    }
    body += if passed { "ok\n" } else { "failed\n" };
    text(if passed { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, body)
}

fn text(status: StatusCode, body: String) -> Response<AxumBody> {
    respond(status, "text/plain; charset=utf-8", body)
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<AxumBody> {
    let mut response = Response::new(AxumBody::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}
