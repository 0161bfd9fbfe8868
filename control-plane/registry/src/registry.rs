//! The handle that transports hold.

use std::sync::Arc;

use api::{
    GroupVersionResource, Status,
    objects::{Scope, Target},
};
use bytes::Bytes;
use serde_json::Value;
use store_client::Kv;
use tokio_util::sync::CancellationToken;

use crate::{
    Catalog, Deleted, ListOptions, Listed, Options, PatchBody, Resource, Snapshot, WatchOptions, WatchStream,
    WriteOptions, Written,
    contract::Caller,
    limits,
    storage::Storage,
    verbs::{self, Core},
};

/// What admission, authorization and authentication look at with every request.
const WARM: [(&str, &str, &str); 13] = [
    ("", "v1", "namespaces"),
    ("", "v1", "serviceaccounts"),
    ("", "v1", "secrets"),
    ("", "v1", "nodes"),
    ("", "v1", "pods"),
    ("", "v1", "limitranges"),
    ("networking.k8s.io", "v1", "ipaddresses"),
    ("coordination.k8s.io", "v1", "leases"),
    ("scheduling.k8s.io", "v1", "priorityclasses"),
    ("rbac.authorization.k8s.io", "v1", "roles"),
    ("rbac.authorization.k8s.io", "v1", "rolebindings"),
    ("rbac.authorization.k8s.io", "v1", "clusterroles"),
    ("rbac.authorization.k8s.io", "v1", "clusterrolebindings"),
];

/// The one write path, and the reads. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    core: Arc<Core>,
}

impl Registry {
    /// Begins to follow the store. Returns at once; [`Registry::ready`] waits.
    pub async fn start(
        kv: Arc<dyn Kv>,
        options: Options,
        shutdown: CancellationToken,
    ) -> Result<Self, Status> {
        options.validate().map_err(Status::internal)?;
        let core = Core::new(Storage::start(kv, shutdown), options);
        for (group, version, plural) in WARM {
            core.cache_of(group, version, plural);
        }
        core.ports();
        Ok(Self { core: Arc::new(core) })
    }

    /// Waits until the caches that admission and authorization need are filled, and a majority of the store answers.
    pub async fn ready(&self) -> Result<(), Status> {
        for (group, version, plural) in WARM {
            if let Some(cache) = self.core.cache_of(group, version, plural) {
                cache.wait_filled(limits::CACHE_FILL_MAX).await?;
            }
        }
        self.core.ports().wait_filled(limits::CACHE_FILL_MAX).await?;
        self.core.storage.catch_up().await
    }

    /// Every resource that is served now.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.core.catalog.load_full()
    }

    /// Reads one object or subresource. `resource_version`: empty for the newest (linearizable), `"0"` for
    /// whatever the cache has, `"N"` for something at least as new.
    pub async fn get(&self, target: &Target, resource_version: &str) -> Result<Bytes, Status> {
        verbs::get::get(&self.core, target, resource_version).await
    }

    /// Reads many from one snapshot.
    pub async fn list(&self, scope: &Scope, options: &ListOptions) -> Result<Listed, Status> {
        verbs::list::list(&self.core, scope, options).await
    }

    /// Watches many.
    pub async fn watch(&self, scope: &Scope, options: &WatchOptions) -> Result<WatchStream, Status> {
        verbs::watch::watch(&self.core, scope, options).await
    }

    /// Creates an object, or posts to a subresource (`binding`, `eviction`).
    pub async fn create(
        &self,
        caller: &Caller,
        target: &Target,
        body: Value,
        options: &WriteOptions,
    ) -> Result<Written, Status> {
        Box::pin(verbs::create::create(&self.core, caller, target, body, options)).await
    }

    /// Replaces an object or a subresource; creates it where the kind allows that.
    pub async fn update(
        &self,
        caller: &Caller,
        target: &Target,
        body: Value,
        options: &WriteOptions,
    ) -> Result<Written, Status> {
        Box::pin(verbs::update::update(&self.core, caller, target, body, options)).await
    }

    /// Patches an object or a subresource. Tries again on conflict unless the patch names a resource version.
    pub async fn patch(
        &self,
        caller: &Caller,
        target: &Target,
        patch: PatchBody,
        options: &WriteOptions,
    ) -> Result<Written, Status> {
        Box::pin(verbs::patch::patch(&self.core, caller, target, patch, options)).await
    }

    /// Deletes an object. `delete_options` is a `DeleteOptions` as JSON, or null.
    pub async fn delete(
        &self,
        caller: &Caller,
        target: &Target,
        delete_options: Value,
        options: &WriteOptions,
    ) -> Result<Deleted, Status> {
        Box::pin(verbs::delete::delete(&self.core, caller, target, delete_options, options)).await
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
        Box::pin(verbs::delete_collection::delete_collection(
            &self.core,
            caller,
            scope,
            options,
            delete_options,
            write,
        ))
        .await
    }

    /// The watch cache of a resource, without waiting. `None` while it was never filled; the caches of RBAC,
    /// service accounts, secrets, namespaces, nodes and pods are filled from the start.
    pub fn cached(&self, resource: &GroupVersionResource) -> Option<Snapshot> {
        let row = self.core.catalog.load().get(resource).cloned()?;
        let cache = self.core.cache(&row).ok().filter(|cache| cache.is_filled())?;
        Some(cache.snapshot(self.core.storage.reached()))
    }

    /// Takes for Services what they say they hold, and gives back what no Service holds: after somebody
    /// edited addresses by hand.
    pub async fn repair_claims(&self) -> Result<(), Status> {
        self.core.repair_claims().await
    }

    /// The options it was started with.
    pub fn options(&self) -> &Options {
        &self.core.options
    }

    /// Serves one more resource, or serves it anew: a custom resource was defined.
    pub fn serve(&self, row: Resource) {
        let row = Arc::new(row);
        self.core.catalog.rcu(|catalog| catalog.with(Arc::clone(&row)));
    }

    /// Serves a resource no longer. Its objects stay in the store.
    pub fn withdraw(&self, resource: &GroupVersionResource) {
        self.core.catalog.rcu(|catalog| catalog.without(resource));
    }
}
