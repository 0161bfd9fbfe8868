//! What the server says about itself: health, version, the groups and resources it serves, their schemas.

pub mod aggregated;
pub mod groups;
pub mod health;
pub mod openapi;

use api::{Reason, Status};
use http::{HeaderValue, header};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{
    gateway::Context,
    reply::{self, Response},
};

/// Kubernetes version this server is compatible with.
pub const KUBERNETES_VERSION: &str = "1.36.0";

/// Answers a path that names no resource.
pub async fn serve(context: &Context) -> Result<Response, Status> {
    let path = context.what.path.trim_end_matches('/');
    if context.what.verb != "get" && context.what.verb != "head" {
        let message = "the server does not allow this method on the requested resource";
        return Err(Status::failure(Reason::MethodNotAllowed, message));
    }
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    match segments.as_slice() {
        [] | [""] => Ok(reply::json(200, &json!({"paths": paths(context)}))),
        ["healthz" | "livez" | "readyz", ..] => Ok(health::serve(context).await),
        ["version"] => Ok(reply::json(200, &version())),
        ["metrics"] => Ok(metrics(context)),
        ["api"] => aggregated::or(context, groups::core_versions, true),
        ["apis"] => aggregated::or(context, groups::group_list, false),
        ["api", "v1"] => groups::resources(context, "", "v1"),
        ["apis", group] => groups::group(context, group),
        ["apis", group, version] => groups::resources(context, group, version),
        ["openapi", "v2"] => openapi::v2(context).await,
        ["openapi", "v3"] => openapi::v3_index(context).await,
        ["openapi", "v3", "api", version] => openapi::v3(context, "", version).await,
        ["openapi", "v3", "apis", group, version] => openapi::v3(context, group, version).await,
        [".well-known", "openid-configuration"] => {
            issuer(context, |issuer| reply::json(200, &issuer.discovery()))
        }
        ["openid", "v1", "jwks"] => issuer(context, |issuer| reply::json(200, &issuer.jwks())),
        _ => Err(Status::no_such_resource()),
    }
}

fn paths(context: &Context) -> Vec<String> {
    let mut paths: Vec<String> =
        ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v2"]
            .into_iter()
            .chain([
                "/openapi/v3",
                "/openid/v1/jwks",
                "/readyz",
                "/version",
                "/.well-known/openid-configuration",
            ])
            .map(str::to_owned)
            .collect();
    for row in context.gateway.registry.catalog().rows().iter().filter(|row| !row.group.is_empty()) {
        paths.push(format!("/apis/{}", row.group));
        paths.push(format!("/apis/{}/{}", row.group, row.version));
    }
    paths.sort();
    paths.dedup();
    paths
}

fn issuer(
    context: &Context,
    answer: impl FnOnce(&crate::authn::token::Issuer) -> Response,
) -> Result<Response, Status> {
    context.gateway.authenticator.issuer().map(answer).ok_or_else(Status::no_such_resource)
}

fn version() -> serde_json::Value {
    let mut numbers = KUBERNETES_VERSION.split('.');
    json!({
        "major": numbers.next(),
        "minor": numbers.next(),
        "gitVersion": format!("v{KUBERNETES_VERSION}+kontiki{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, platform()),
    })
}

fn platform() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn metrics(context: &Context) -> Response {
    let text = context.gateway.metrics.text(context.gateway.inflight.occupancy());
    reply::bytes(200, "application/openmetrics-text; version=1.0.0; charset=utf-8", text)
}

/// A tag that changes with the document: its SHA-256 in upper-case hexadecimal.
pub fn digest(document: &[u8]) -> String {
    Sha256::digest(document).iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Answers with a document, or 304 when the client has it.
pub fn tagged(context: &Context, content_type: &'static str, document: bytes::Bytes, tag: &str) -> Response {
    let quoted = format!("\"{tag}\"");
    let sent = context.headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let known = sent.split(',').any(|t| t.trim() == quoted || t.trim() == tag);
    let mut response = if known { reply::empty(304) } else { reply::bytes(200, content_type, document) };
    if known {
        // A client puts the headers of a 304 over those it has kept.
        response.headers_mut().remove(header::CONTENT_TYPE);
    }
    if let Ok(value) = HeaderValue::from_str(&quoted) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}
