//! What is asked over plain HTTP on the port for clients: health, version and metrics, at etcd's paths and in its words.
//!
//! | path | answers | 200 when |
//! |---|---|---|
//! | `/health` | `{"health":"true","reason":""}` | a linearizable read succeeds; with `?serializable=true` a local one |
//! | `/livez` | `ok` | this member can read |
//! | `/readyz` | `ok` | a linearizable read succeeds and nothing is damaged or full |
//! | `/version` | versions as JSON | always |
//! | `/metrics` | Prometheus' text format | always |
//!
//! `?verbose` lists the checks. Metrics are read off when asked for: they cost nothing otherwise.

use std::convert::Infallible;
use std::fmt::Write;

use http::request::Parts;
use http::{Method, Request, Response, StatusCode, header};
use serde_json::json;
use store_client::{KeyRange, Kv, Range};
use tonic::service::{AxumBody, AxumRouter};
use tower::service_fn;

use super::ETCD_VERSION;
use crate::limits::HEALTH_PATIENCE;
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
        _ => respond(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics(handle)),
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

/// A row of the metrics: name, kind, help, value. The names are etcd's because the meaning is the same.
type Metric = (&'static str, &'static str, &'static str, f64);

fn metrics(handle: &Handle) -> String {
    let status = handle.raft().status();
    let leads = status.leader == Some(status.id);
    let learner = status.members.get(&status.id).is_some_and(|(_, voter)| !voter);
    let facts = handle.machine().facts();
    let flag = |is: bool| f64::from(u8::from(is));
    let rows: [Metric; 14] = [
        ("etcd_server_has_leader", "gauge", "Whether a leader is known.", flag(status.leader.is_some())),
        ("etcd_server_is_leader", "gauge", "Whether this member leads.", flag(leads)),
        ("etcd_server_is_learner", "gauge", "Whether this member does not vote.", flag(learner)),
        (
            "etcd_server_proposals_committed_total",
            "gauge",
            "The newest entry known to be committed.",
            status.committed.0 as f64,
        ),
        (
            "etcd_server_proposals_applied_total",
            "gauge",
            "The newest entry that is applied.",
            status.applied.0 as f64,
        ),
        ("kontiki_raft_term", "gauge", "The newest term seen.", status.term.0 as f64),
        (
            "kontiki_raft_log_purged_index",
            "gauge",
            "The last entry that is gone from the log.",
            status.purged_index.0 as f64,
        ),
        ("kontiki_raft_members", "gauge", "Members, learners included.", status.members.len() as f64),
        ("etcd_debugging_mvcc_current_revision", "gauge", "The newest revision.", facts.revision as f64),
        (
            "etcd_debugging_mvcc_compact_revision",
            "gauge",
            "The oldest readable revision.",
            facts.compacted as f64,
        ),
        (
            "etcd_mvcc_db_total_size_in_bytes",
            "gauge",
            "Bytes of the state on disk.",
            handle.machine().size_bytes() as f64,
        ),
        (
            "etcd_debugging_mvcc_watcher_total",
            "gauge",
            "Open watches.",
            handle.machine().hub().watchers() as f64,
        ),
        (
            "kontiki_no_space",
            "gauge",
            "Whether writes are refused because the disk is nearly full.",
            flag(handle.no_space()),
        ),
        ("process_resident_memory_bytes", "gauge", "Resident memory.", resident_bytes()),
    ];
    let mut text = String::with_capacity(4096);
    for (name, kind, help, value) in rows {
        // Writing to a string cannot fail.
        let _written = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    }
    text
}

/// As the kernel says; 0 where it does not.
fn resident_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.map_or(0.0, |kib| (kib * 1024) as f64)
}
