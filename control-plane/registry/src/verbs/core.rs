//! What every verb holds.

use std::sync::Arc;

use api::{GroupVersionResource, Status, objects::Scope};
use arc_swap::ArcSwap;

use super::ttl::Leases;
use crate::{
    Catalog, Options, Resource, Snapshot,
    catalog::{self, Place},
    storage::{Cache, Commit, Dry, Live, Storage},
};

/// Shared by all verbs.
pub(crate) struct Core {
    pub(crate) storage: Storage,
    pub(crate) options: Options,
    pub(crate) catalog: ArcSwap<Catalog>,
    pub(super) leases: Leases,
}

/// Where node ports are held.
pub(crate) fn ports_place() -> Place {
    let kind = api::GroupVersionKind::new("ranges", "v1", "NodePort");
    Place { kind, prefix: catalog::prefix("ranges", "nodeports") }
}

impl Core {
    pub(crate) fn new(storage: Storage, options: Options) -> Self {
        Self {
            storage,
            options,
            catalog: ArcSwap::from_pointee(Catalog::builtin()),
            leases: Leases::default(),
        }
    }

    /// The row of a resource.
    pub(crate) fn row(&self, scope: &Scope) -> Result<Arc<Resource>, Status> {
        self.catalog.load().get(&scope.resource).cloned().ok_or_else(Status::no_such_resource)
    }

    /// Its place and cache; resources without storage have none.
    pub(crate) fn cache(&self, row: &Resource) -> Result<Arc<Cache>, Status> {
        let place = row
            .place
            .as_ref()
            .ok_or_else(|| Status::method_not_allowed(&row.group_resource(), "this verb"))?;
        Ok(self.storage.cache(place, row.strategy.selectable()))
    }

    /// The cache of a built-in resource.
    pub(crate) fn cache_of(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Cache>> {
        let row = self.catalog.load().get(&GroupVersionResource::new(group, version, plural)).cloned()?;
        self.cache(&row).ok()
    }

    /// The present of a built-in resource, without waiting; `None` while it is being filled.
    pub(crate) fn snapshot_of(&self, group: &str, version: &str, plural: &str) -> Option<Snapshot> {
        let cache = self.cache_of(group, version, plural).filter(|cache| cache.is_filled())?;
        Some(cache.snapshot(self.storage.reached()))
    }

    /// The cache of held node ports.
    pub(crate) fn ports(&self) -> Arc<Cache> {
        self.storage.cache(&ports_place(), &[])
    }

    /// How writes end: for real, or as if.
    pub(crate) fn writer(&self, dry_run: bool) -> Box<dyn Commit + '_> {
        if dry_run { Box::new(Dry(&self.storage)) } else { Box::new(Live(&self.storage)) }
    }
}

/// Namespaces are for namespaced resources only.
pub(super) fn check_scope(row: &Resource, namespace: &str, needs_namespace: bool) -> Result<(), Status> {
    match (row.namespaced, namespace.is_empty()) {
        (false, false) => Err(Status::no_such_resource()),
        (true, true) if needs_namespace => {
            Err(Status::bad_request("an empty namespace may not be set when a resource name is provided"))
        }
        _ => Ok(()),
    }
}
