//! The node's heartbeat: a Lease in kube-node-lease, renewed every few seconds.

use std::sync::Arc;

use client::error::chain;
use k8s_openapi::{
    api::{
        coordination::v1::{Lease, LeaseSpec},
        core::v1::Node,
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{limits, shared::Shared};

/// Where the Leases of nodes are.
pub const NAMESPACE: &str = "kube-node-lease";

/// Renews the Lease until shutdown. A renewal that fails is tried again soon, long before the Lease ends.
pub async fn run(shared: Arc<Shared>, shutdown: CancellationToken) {
    let work = async {
        let mut wait = limits::STATUS_RETRY_MIN;
        loop {
            let pause = match renew(&shared).await {
                Ok(()) => {
                    wait = limits::STATUS_RETRY_MIN;
                    shared.options.lease_interval
                }
                Err(error) => {
                    warn!(error = chain(&error), "the node's lease could not be renewed");
                    wait = (wait * 2).min(shared.options.lease_interval);
                    wait
                }
            };
            tokio::time::sleep(pause).await;
        }
    };
    shutdown.run_until_cancelled(work).await;
}

async fn renew(shared: &Shared) -> Result<(), client::Error> {
    let name = &shared.options.node_name;
    let now = MicroTime(shared.clock.now());
    let duration = i32::try_from(shared.options.lease_duration.as_secs()).unwrap_or(i32::MAX);
    let spec = LeaseSpec {
        holder_identity: Some(name.clone()),
        lease_duration_seconds: Some(duration),
        renew_time: Some(now),
        ..LeaseSpec::default()
    };
    match shared.client.merge::<Lease>(NAMESPACE, name, &json!({"spec": spec})).await {
        Err(error) if error.is_not_found() => {}
        other => return other.map(|_| ()),
    }
    let owner = shared.client.get::<Node>("", name).await.ok().and_then(|node| {
        Some(OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: name.clone(),
            uid: node.metadata.uid?,
            ..OwnerReference::default()
        })
    });
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(NAMESPACE.into()),
            owner_references: owner.map(|o| vec![o]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
    };
    shared.client.create(&lease).await.map(|_| ())
}
