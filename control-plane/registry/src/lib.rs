//! The one write path of the API, without HTTP.
//!
//! Transports (REST, gRPC) parse a request, authenticate and authorize it, and then call one of the verbs of
//! [`Registry`]. Everything an object goes through lives here, once for all kinds and all callers; a kind adds
//! a row to the [`catalog`] and, where it is particular, a [`strategy`].
//!
//! ```text
//!  transport --> verbs --> decode, default --> admission::mutate --> ownership, validation, claims
//!                  |                                                     |
//!                  |                      admission::validate --> Admitted --> storage::commit --txn--> Kv
//!                  |                                                                                  |
//!                  '-- get, list, watch <-- snapshots and watchers <-- cache <-- feed <--one watch----'
//! ```
//!
//! # The life of a write
//!
//! The current object is taken from the watch cache, changed, defaulted, admitted, validated, encoded once and
//! committed in a transaction that compares its revision, and whatever must hold with it: that an address is
//! free, that a leader still leads. If somebody was faster the transaction answers with what is there, and the
//! change is made again on that. An error found on a state from the cache is checked on a fresh one before the
//! caller hears of it.
//!
//! # The life of a read
//!
//! One watch of the store feeds the caches of all resources, so the cache knows the revision up to which it is
//! complete. A consistent read asks the store for its revision, waits until the cache has reached it, and
//! takes a snapshot: shared bytes, no copies, no decoding. Pages of a list come from one snapshot.
//!
//! # Invariants
//!
//! - C1: storage takes only `Admitted` objects, and only `admission` makes them.
//! - C3: an unknown field is kept or reported, by the schema check at the entrance.
//! - C4: a fenced write carries the revision of the lease that was checked.
//! - S3: a cache applies changes and registers watchers under one lock; a watcher that falls behind its bound
//!   is cut off and told so.
//! - S4: a read without a resource version is not older than any write acknowledged before it.
//! - S8: the bounds are in [`limits`].
//!
//! # Not here
//!
//! Authentication, authorization, audit, HTTP, discovery and tables are the transport's. Objects that need a
//! controller (endpoints, tokens, the contents of a namespace that goes) are made by controllers.

mod admission;
pub mod bootstrap;
pub mod catalog;
mod clock;
pub mod contract;
pub mod limits;
mod options;
mod registry;
mod storage;
pub mod strategy;
mod tree;
mod verbs;

pub use catalog::{Catalog, Resource, Subresource};
pub use contract::{
    Caller, Deleted, Encoded, Event, EventKind, FieldValidation, ListOptions, Listed, PatchBody,
    WatchOptions, WatchStream, WriteOptions, Written,
};
pub use options::Options;
pub use registry::Registry;
pub use storage::Snapshot;
