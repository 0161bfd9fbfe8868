//! Which API servers are alive: each keeps a Lease, and all of them publish the live ones behind the service
//! `default/kubernetes`, so that pods reach one that answers.

use std::{net::SocketAddr, time::Duration};

use api::{
    GroupVersionResource, Reason, Status,
    objects::{Scope, Target},
};
use jiff::Timestamp;
use registry::{Caller, ListOptions, PatchBody, Registry, WriteOptions};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Where the Leases are.
const NAMESPACE: &str = "kube-system";
/// Label that marks them.
const LABEL: &str = "kontiki.dev/server";
/// Time between renewals.
const RENEW: Duration = Duration::from_secs(10);
/// A server whose Lease is older is not published any more.
const LIFETIME_S: i64 = 30;

/// Keeps our Lease and the published addresses up to date until shutdown, then takes ours away.
pub async fn run(registry: Registry, name: String, address: SocketAddr, shutdown: CancellationToken) {
    let mut published = Vec::new();
    loop {
        if let Err(why) = round(&registry, &name, address, &mut published).await {
            warn!(%why, "cannot publish the addresses of the API servers");
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(RENEW) => {}
        }
    }
}

async fn round(
    registry: &Registry,
    name: &str,
    address: SocketAddr,
    published: &mut Vec<SocketAddr>,
) -> Result<(), Status> {
    let now = Timestamp::now();
    renew(registry, name, address, now).await?;
    let live = live(registry, now).await?;
    if live != *published {
        registry::bootstrap::publish_servers(registry, &live).await?;
        *published = live;
    }
    Ok(())
}

fn resource() -> GroupVersionResource {
    GroupVersionResource::new("coordination.k8s.io", "v1", "leases")
}

/// The server writes for itself, past authorization: it is the authority.
fn ourselves() -> Caller {
    Caller {
        user: "system:apiserver".to_owned(),
        groups: vec!["system:masters".to_owned()],
        ..Caller::default()
    }
}

async fn renew(registry: &Registry, name: &str, address: SocketAddr, now: Timestamp) -> Result<(), Status> {
    let name = format!("kontiki-{name}");
    let spec = json!({
        "holderIdentity": name,
        "leaseDurationSeconds": LIFETIME_S,
        "renewTime": now.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(),
    });
    let annotations = json!({"kontiki.dev/address": address.to_string()});
    let options = WriteOptions { field_manager: "kontiki".to_owned(), ..WriteOptions::default() };
    let target = Target::new(resource(), NAMESPACE, &name);
    let patch = PatchBody::Merge(json!({"metadata": {"annotations": annotations}, "spec": spec}));
    match registry.patch(&ourselves(), &target, patch, &options).await {
        Err(status) if status.is(Reason::NotFound) => {
            let body = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": name, "namespace": NAMESPACE, "labels": {LABEL: "true"}, "annotations": annotations},
                "spec": spec,
            });
            registry.create(&ourselves(), &target, body, &options).await.map(drop)
        }
        other => other.map(drop),
    }
}

async fn live(registry: &Registry, now: Timestamp) -> Result<Vec<SocketAddr>, Status> {
    let scope = Scope { resource: resource(), namespace: NAMESPACE.to_owned() };
    let options = ListOptions { label_selector: format!("{LABEL}=true"), ..ListOptions::default() };
    let leases = registry.list(&scope, &options).await?;
    let mut addresses: Vec<SocketAddr> =
        leases.items.iter().filter_map(|lease| address_if_live(&lease.json, now)).collect();
    addresses.sort();
    addresses.dedup();
    Ok(addresses)
}

fn address_if_live(lease: &[u8], now: Timestamp) -> Option<SocketAddr> {
    let lease: Value = serde_json::from_slice(lease).ok()?;
    let renewed: Timestamp = lease.pointer("/spec/renewTime")?.as_str()?.parse().ok()?;
    let live = now.as_second() - renewed.as_second() <= LIFETIME_S;
    let address = api::meta::annotation(&lease, "kontiki.dev/address")?.parse().ok()?;
    live.then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_stopped_renewing_is_no_longer_live() {
        let lease = json!({
            "metadata": {"annotations": {"kontiki.dev/address": "127.0.0.1:6443"}},
            "spec": {"renewTime": "2026-01-01T00:00:00.000000Z"},
        });
        let at = |text: &str| address_if_live(lease.to_string().as_bytes(), text.parse().unwrap());
        assert_eq!(at("2026-01-01T00:00:30Z"), Some("127.0.0.1:6443".parse().unwrap()));
        assert_eq!(at("2026-01-01T00:00:31Z"), None);
        assert_eq!(address_if_live(b"{", "2026-01-01T00:00:00Z".parse().unwrap()), None);
    }
}
