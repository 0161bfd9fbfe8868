//! The contract between plugins and the API: the verbs on encoded objects.
//!
//! [`Objects`] is implemented by the gRPC client (control-plane/client), which is all a plugin ever sees, and
//! by an in-memory fake for tests. Bodies are JSON. Failures are [`Status`].

use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;

use crate::{resource::GroupVersionResource, status::Status};

/// Which objects: a resource and, for namespaced ones, a namespace. An empty namespace means all of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    /// The resource.
    pub resource: GroupVersionResource,
    /// The namespace, or empty.
    pub namespace: String,
}

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Where.
    pub scope: Scope,
    /// Its name; empty in a create that generates one or takes it from the body.
    pub name: String,
    /// `status`, `scale`, `binding`, ... or empty.
    pub subresource: String,
}

impl Target {
    /// The object itself.
    pub fn new(resource: GroupVersionResource, namespace: &str, name: &str) -> Self {
        let scope = Scope { resource, namespace: namespace.into() };
        Self { scope, name: name.into(), subresource: String::new() }
    }

    /// One of its subresources.
    pub fn subresource(mut self, subresource: &str) -> Self {
        self.subresource = subresource.into();
        self
    }
}

/// Selectors and position of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// As in `kubectl -l`.
    pub label_selector: String,
    /// As in `kubectl --field-selector`.
    pub field_selector: String,
    /// At most this many; 0 for all.
    pub limit: u32,
    /// Where the last page ended.
    pub continue_token: String,
    /// Empty for the newest (consistent), `"0"` for any.
    pub resource_version: String,
}

/// One page of a list.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// To watch from.
    pub resource_version: String,
    /// Where the next page begins; empty at the end.
    pub continue_token: String,
    /// The objects, encoded.
    pub items: Vec<Bytes>,
}

/// Selectors and position of a watch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchOptions {
    /// As in `kubectl -l`.
    pub label_selector: String,
    /// As in `kubectl --field-selector`.
    pub field_selector: String,
    /// Deliver what happened after this; empty or `"0"` begins with the present objects.
    pub resource_version: String,
    /// Send bookmarks.
    pub bookmarks: bool,
    /// Send the present objects first, then [`WatchEvent::Bookmark`] with `initial_events_end`.
    pub send_initial_events: bool,
}

/// One event of a watch.
#[derive(Clone, Debug)]
pub enum WatchEvent {
    /// Appeared, or began to match the selectors.
    Added(Bytes),
    /// Changed.
    Modified(Bytes),
    /// Went away, or ceased to match the selectors. The object is the last one that matched.
    Deleted(Bytes),
    /// Everything up to this resource version has been delivered.
    Bookmark {
        /// The resource version.
        resource_version: String,
        /// The objects that existed at the start are complete.
        initial_events_end: bool,
    },
}

/// The stream of a watch; ends after an `Err`. `Expired` and `Gone` mean: list again.
pub type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchEvent, Status>> + Send>>;

/// The fence of an elected writer: a write is refused with `Conflict` unless the Lease object `name` in
/// `namespace` still has this holder and this `leaseTransitions` (invariant C4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// `spec.holderIdentity`.
    pub holder: String,
    /// `spec.leaseTransitions`.
    pub transitions: i64,
}

/// Options of every write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Go through all rules but do not store.
    pub dry_run: bool,
    /// Who owns the fields written.
    pub field_manager: String,
    /// Refuse unless leadership still holds.
    pub fence: Option<Fence>,
}

/// How a patch is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    /// RFC 6902.
    Json,
    /// RFC 7396.
    Merge,
    /// Kubernetes strategic merge.
    Strategic,
    /// Server-side apply; `force` takes fields over from other managers.
    Apply {
        /// Take over conflicting fields.
        force: bool,
    },
}

/// One write of a batch.
#[derive(Clone, Debug)]
pub enum Write {
    /// See [`Objects::create`].
    Create(Target, Bytes),
    /// See [`Objects::update`].
    Update(Target, Bytes),
    /// See [`Objects::patch`].
    Patch(Target, PatchType, Bytes),
    /// See [`Objects::delete`]; the bytes are `DeleteOptions`, or empty.
    Delete(Target, Bytes),
}

/// The verbs of the API for plugins. Reads without a resource version are consistent.
#[async_trait]
pub trait Objects: Send + Sync + 'static {
    /// Reads one object, or one of its subresources.
    async fn get(&self, target: &Target) -> Result<Bytes, Status>;

    /// Reads many; one consistent page.
    async fn list(&self, scope: &Scope, options: &ListOptions) -> Result<List, Status>;

    /// Watches many.
    async fn watch(&self, scope: &Scope, options: &WatchOptions) -> Result<WatchStream, Status>;

    /// Creates an object, or posts to a subresource (binding, eviction, token).
    async fn create(&self, target: &Target, body: Bytes, options: &WriteOptions) -> Result<Bytes, Status>;

    /// Replaces an object or a subresource. Honours `metadata.resourceVersion` and `metadata.uid` in the body.
    async fn update(&self, target: &Target, body: Bytes, options: &WriteOptions) -> Result<Bytes, Status>;

    /// Patches an object or a subresource.
    async fn patch(
        &self,
        target: &Target,
        kind: PatchType,
        body: Bytes,
        options: &WriteOptions,
    ) -> Result<Bytes, Status>;

    /// Deletes an object; `body` is `DeleteOptions` as JSON, or empty. Answers the object or a `Status`.
    async fn delete(&self, target: &Target, body: Bytes, options: &WriteOptions) -> Result<Bytes, Status>;

    /// Deletes everything that matches.
    async fn delete_collection(
        &self,
        scope: &Scope,
        selectors: &ListOptions,
        body: Bytes,
        options: &WriteOptions,
    ) -> Result<(), Status>;

    /// Performs many writes in one call; each has its own outcome, in order.
    async fn batch(
        &self,
        writes: Vec<Write>,
        options: &WriteOptions,
    ) -> Result<Vec<Result<Bytes, Status>>, Status>;
}
