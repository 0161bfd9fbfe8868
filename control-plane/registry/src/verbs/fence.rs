//! Writers that must still lead (invariant C4).

use api::{Status, objects::Fence};
use store_client::{Compare, Revision};

use super::Core;
use crate::{
    storage::{Side, codec},
    strategy::rules::text,
};

/// What must hold in the transaction of a fenced write: the lease is as it was when the fence was checked. A
/// renewal in between makes the write try again; a new leader makes it fail.
pub(super) async fn side(core: &Core, fence: Option<&Fence>, fresh: bool) -> Result<Side, Status> {
    let Some(fence) = fence else { return Ok(Side::default()) };
    let lost = || {
        let resource = api::GroupResource { group: "coordination.k8s.io".into(), resource: "leases".into() };
        Status::conflict(&resource, &fence.name, "the writer no longer holds the lease of its election")
    };
    let cache = core.cache_of("coordination.k8s.io", "v1", "leases").ok_or_else(Status::no_such_resource)?;
    let cached = if fresh { None } else { cache.get(&fence.namespace, &fence.name) };
    let found = match cached {
        Some(found) => Some(found),
        None => core.storage.read(&cache, &fence.namespace, &fence.name).await?,
    };
    let found = found.ok_or_else(lost)?;
    let lease = codec::tree(&found.json)?;
    let transitions =
        lease.pointer("/spec/leaseTransitions").and_then(serde_json::Value::as_i64).unwrap_or(0);
    if text(&lease, "/spec/holderIdentity") != fence.holder || transitions != fence.transitions {
        return Err(lost());
    }
    let key = core.storage.key(&cache.place, &fence.namespace, &fence.name);
    Ok(Side { compare: vec![Compare::mod_revision(key, Revision(found.revision))], ops: Vec::new() })
}
