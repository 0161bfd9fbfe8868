//! `/healthz`, `/livez`, `/readyz`: open to everybody, like `/version`.

use std::time::Duration;

use crate::{
    gateway::Context,
    reply::{self, Response},
    request::Attributes,
};

/// How long a readiness check may take before it counts as failed.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// Whether a path is answered without credentials.
pub fn is_open(what: &Attributes) -> bool {
    let path = what.path.trim_end_matches('/');
    let health = ["/healthz", "/livez", "/readyz"]
        .iter()
        .any(|open| path.strip_prefix(open).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
    matches!(what.verb.as_str(), "get" | "head") && !what.is_resource() && (health || path == "/version")
}

/// Runs the checks. `/livez` asks only whether the process answers.
pub async fn serve(context: &Context) -> Response {
    let path = context.what.path.trim_end_matches('/').trim_start_matches('/');
    let (endpoint, single) = path.split_once('/').unwrap_or((path, ""));
    let mut checks = vec![("ping", true)];
    if endpoint != "livez" {
        let store = tokio::time::timeout(CHECK_TIMEOUT, context.gateway.registry.ready()).await;
        checks.push(("store", matches!(store, Ok(Ok(())))));
        checks.push(("poststarthook/rbac/rules", context.gateway.rules_known()));
    }
    if endpoint == "readyz" {
        checks.push(("shutdown", !context.gateway.closing.is_cancelled()));
    }
    if !single.is_empty() {
        checks.retain(|(name, _)| *name == single);
        if checks.is_empty() {
            return reply::text(404, "404 page not found\n");
        }
    }
    let excluded: Vec<&str> = context.query.all("exclude").collect();
    checks.retain(|(name, _)| !excluded.contains(name));
    let failed = checks.iter().any(|(_, ok)| !ok);
    if !failed && context.query.get("verbose").is_none() {
        return reply::text(200, "ok");
    }
    let line = |(name, ok): &(&str, bool)| {
        if *ok { format!("[+]{name} ok\n") } else { format!("[-]{name} failed: reason withheld\n") }
    };
    let lines: String = checks.iter().map(line).collect();
    match failed {
        true => reply::text(500, format!("{lines}{endpoint} check failed\n")),
        false => reply::text(200, format!("{lines}{endpoint} check passed\n")),
    }
}
