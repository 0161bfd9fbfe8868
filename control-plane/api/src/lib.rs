//! Vocabulary and contracts of the Kubernetes API; no I/O.
//!
//! Everything above the store speaks in these words: what a resource is called, what an object looks like
//! ([`meta`]), what went wrong ([`status`]), and how a plugin asks for objects ([`objects`]). The schema
//! table and the patches that it drives live here too, because they are pure functions of data.

pub mod apply;
pub mod meta;
pub mod objects;
pub mod openapi;
pub mod patch;
pub mod protobuf;
pub mod quantity;
pub mod resource;
pub mod schema;
pub mod selector;
pub mod status;

pub use resource::{GroupResource, GroupVersionKind, GroupVersionResource};
pub use status::{Reason, Status};
