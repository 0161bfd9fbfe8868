//! One line per write and per refusal, under the tracing target `audit`: who, what, outcome. No bodies, so no
//! secrets.

use std::{net::SocketAddr, time::Duration};

use crate::{authn::Identity, query::Query, request::Attributes};

/// Records a finished request, unless it was a read that was allowed.
pub fn record(
    who: &Identity,
    what: &Attributes,
    query: &Query,
    remote: Option<SocketAddr>,
    code: u16,
    took: Duration,
) {
    let refused = matches!(code, 401 | 403);
    let tunnel = matches!(what.subresource.as_str(), "exec" | "attach" | "portforward" | "proxy");
    if what.is_read_only() && !refused && !tunnel {
        return;
    }
    tracing::info!(
        target: "audit",
        user = %who.caller.user,
        groups = ?who.caller.groups,
        verb = %what.verb,
        group = %what.group,
        resource = %what.qualified_resource(),
        namespace = %what.namespace,
        name = %what.name,
        path = %what.path,
        dry_run = query.get("dryRun").is_some(),
        remote = ?remote,
        code,
        took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    );
}
