//! The handle that transports hold.

use std::{ops::Bound, sync::Arc};

use api::{
    GroupVersionResource, Status,
    objects::{Scope, Target},
};
use bytes::Bytes;
use serde_json::Value;
use store_client::Kv;
use tokio_util::sync::CancellationToken;

use crate::{
    Catalog, Deleted, ListOptions, Listed, Options, PatchBody, WatchOptions, WatchStream, WriteOptions,
    Written,
    contract::{Caller, Encoded},
};

/// The one write path, and the reads. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    catalog: arc_swap::ArcSwap<Catalog>,
}

/// A consistent moment of the watch cache of one resource. Cheap to take and to keep for a short while.
#[derive(Clone)]
pub struct Snapshot {
    revision: i64,
    objects: imbl::OrdMap<Arc<str>, Arc<Encoded>>,
}

impl Snapshot {
    /// The store's revision of this moment.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// One object; `namespace` is empty for resources without namespaces.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Encoded>> {
        let key = if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") };
        self.objects.get(key.as_str())
    }

    /// Every object, by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Encoded>> {
        self.objects.values()
    }

    /// The objects of one namespace, by name.
    pub fn in_namespace<'a>(&'a self, namespace: &str) -> impl Iterator<Item = &'a Arc<Encoded>> + use<'a> {
        let (from, to) = (format!("{namespace}/"), format!("{namespace}0"));
        let bounds = (Bound::Included(from.as_str()), Bound::Excluded(to.as_str()));
        self.objects.range::<_, str>(bounds).map(|(_, object)| object)
    }
}

impl Registry {
    /// Begins to follow the store. Returns at once; [`Registry::ready`] waits.
    pub async fn start(
        kv: Arc<dyn Kv>,
        options: Options,
        shutdown: CancellationToken,
    ) -> Result<Self, Status> {
        let _ = (kv, shutdown);
        options.validate().map_err(Status::internal)?;
        Ok(Self { inner: Arc::new(Inner { catalog: arc_swap::ArcSwap::from_pointee(Catalog::builtin()) }) })
    }

    /// Waits until the store answers and the caches that admission and authorization need are filled.
    pub async fn ready(&self) -> Result<(), Status> {
        Ok(())
    }

    /// Every resource that is served now.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.inner.catalog.load_full()
    }

    /// Reads one object or subresource. `resource_version`: empty for the newest (linearizable), `"0"` for
    /// whatever the cache has, `"N"` for something at least as new.
    pub async fn get(&self, target: &Target, resource_version: &str) -> Result<Bytes, Status> {
        let _ = (target, resource_version);
        Err(Status::unavailable("starting"))
    }

    /// Reads many from one snapshot.
    pub async fn list(&self, scope: &Scope, options: &ListOptions) -> Result<Listed, Status> {
        let _ = (scope, options);
        Err(Status::unavailable("starting"))
    }

    /// Watches many.
    pub async fn watch(&self, scope: &Scope, options: &WatchOptions) -> Result<WatchStream, Status> {
        let _ = (scope, options);
        Err(Status::unavailable("starting"))
    }

    /// Creates an object, or posts to a subresource (`binding`, `eviction`).
    pub async fn create(
        &self,
        caller: &Caller,
        target: &Target,
        body: Value,
        options: &WriteOptions,
    ) -> Result<Written, Status> {
        let _ = (caller, target, body, options);
        Err(Status::unavailable("starting"))
    }

    /// Replaces an object or a subresource; creates it where the kind allows that.
    pub async fn update(
        &self,
        caller: &Caller,
        target: &Target,
        body: Value,
        options: &WriteOptions,
    ) -> Result<Written, Status> {
        let _ = (caller, target, body, options);
        Err(Status::unavailable("starting"))
    }

    /// Patches an object or a subresource. Tries again on conflict unless the patch names a resource version.
    pub async fn patch(
        &self,
        caller: &Caller,
        target: &Target,
        patch: PatchBody,
        options: &WriteOptions,
    ) -> Result<Written, Status> {
        let _ = (caller, target, patch, options);
        Err(Status::unavailable("starting"))
    }

    /// Deletes an object. `delete_options` is a `DeleteOptions` as JSON, or null.
    pub async fn delete(
        &self,
        caller: &Caller,
        target: &Target,
        delete_options: Value,
        options: &WriteOptions,
    ) -> Result<Deleted, Status> {
        let _ = (caller, target, delete_options, options);
        Err(Status::unavailable("starting"))
    }

    /// Deletes everything that matches; answers what was there.
    pub async fn delete_collection(
        &self,
        caller: &Caller,
        scope: &Scope,
        options: &ListOptions,
        delete_options: Value,
        write: &WriteOptions,
    ) -> Result<Listed, Status> {
        let _ = (caller, scope, options, delete_options, write);
        Err(Status::unavailable("starting"))
    }

    /// The watch cache of a resource, without waiting. `None` while it was never filled; the caches of RBAC,
    /// service accounts, secrets, namespaces, nodes and pods are filled from the start.
    pub fn cached(&self, resource: &GroupVersionResource) -> Option<Snapshot> {
        let _ = resource;
        None
    }
}
