//! What a transport hands to the registry, and what it gets back.

use std::{pin::Pin, sync::Arc};

use api::{Status, objects::Fence};
use bytes::Bytes;
use futures::Stream;
use serde_json::Value;

/// Who asks, after authentication. Authorization has already happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// User name, such as `system:node:n1`.
    pub user: String,
    /// Stable id of the user, or empty.
    pub uid: String,
    /// Groups the user belongs to.
    pub groups: Vec<String>,
}

/// One object as the watch cache holds it: the wire bytes and what many readers ask of it, parsed once.
#[derive(Debug)]
pub struct Encoded {
    /// The object as JSON in its storage version, resource version included.
    pub json: Bytes,
    /// The store's revision of its last change.
    pub revision: i64,
    /// `metadata.namespace`, or empty.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.labels`, sorted by key.
    pub labels: Vec<(String, String)>,
    /// Selectable fields of the kind, such as `spec.nodeName`, `status.phase`.
    pub fields: Vec<(&'static str, String)>,
}

/// How unknown and duplicate fields are met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Refuse the request.
    Strict,
    /// Drop and warn. The API's default.
    #[default]
    Warn,
    /// Drop silently.
    Ignore,
}

/// Options of the writing verbs.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Go through all rules, answer as if stored, store nothing.
    pub dry_run: bool,
    /// Owner of the fields written; empty lets the transport's user agent decide before it calls.
    pub field_manager: String,
    /// How unknown fields are met.
    pub field_validation: FieldValidation,
    /// Refuse unless the writer still leads (invariant C4).
    pub fence: Option<Fence>,
}

/// A patch, already parsed.
#[derive(Clone, Debug)]
pub enum PatchBody {
    /// RFC 6902.
    Json(Value),
    /// RFC 7396.
    Merge(Value),
    /// Kubernetes strategic merge.
    Strategic(Value),
    /// Server-side apply.
    Apply {
        /// The fields the manager wants.
        object: Value,
        /// Take over conflicting fields.
        force: bool,
    },
}

/// Options of a list.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Label selector as text.
    pub label_selector: String,
    /// Field selector as text.
    pub field_selector: String,
    /// At most this many; 0 for all.
    pub limit: usize,
    /// Where the last page ended.
    pub continue_token: String,
    /// Empty: newest, consistent. `"0"`: any. Else see `resource_version_match`.
    pub resource_version: String,
    /// Empty, `NotOlderThan` or `Exact`.
    pub resource_version_match: String,
}

/// A page of a list, taken from one snapshot.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Revision of the snapshot; goes into `metadata.resourceVersion`.
    pub revision: i64,
    /// Goes into `metadata.continue`.
    pub continue_token: String,
    /// Goes into `metadata.remainingItemCount`, when known.
    pub remaining: Option<usize>,
    /// The objects, shared with the cache.
    pub items: Vec<Arc<Encoded>>,
}

/// Options of a watch.
#[derive(Clone, Debug, Default)]
pub struct WatchOptions {
    /// Label selector as text.
    pub label_selector: String,
    /// Field selector as text.
    pub field_selector: String,
    /// Deliver what happened after this; empty or `"0"` begins with the present objects.
    pub resource_version: String,
    /// Send bookmarks about once a minute.
    pub bookmarks: bool,
    /// Send the present objects, then a bookmark that says they are complete.
    pub send_initial_events: bool,
}

/// What happened to an object, as seen through the selectors of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It appeared or began to match.
    Added,
    /// It changed.
    Modified,
    /// It went away or ceased to match; the object is the last state, at the revision of the change.
    Deleted,
    /// No object: everything up to `revision` was delivered.
    Bookmark,
    /// As `Bookmark`; the objects that existed at the start are complete.
    InitialEventsEnd,
}

/// One event of a watch.
#[derive(Clone, Debug)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The object, but for bookmarks.
    pub object: Option<Arc<Encoded>>,
    /// Revision of the change, or of the bookmark.
    pub revision: i64,
}

/// The stream of a watch; ends after an `Err`.
pub type WatchStream = Pin<Box<dyn Stream<Item = Result<Event, Status>> + Send>>;

/// What a write left behind.
#[derive(Clone, Debug)]
pub struct Written {
    /// The answer as JSON: the object, or what the subresource answers (Scale, Binding status, ...).
    pub json: Bytes,
    /// Goes into `Warning` headers.
    pub warnings: Vec<String>,
    /// Whether the object was created by this call (201, also for an apply).
    pub created: bool,
}

/// What a deletion answered.
#[derive(Clone, Debug)]
pub enum Deleted {
    /// Gone: a `Status` of success.
    Gone(Status),
    /// Marked, waiting for finalizers or a grace period: the object as JSON.
    Terminating(Bytes),
}
