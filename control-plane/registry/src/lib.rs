//! The one write path of the API, without HTTP.
//!
//! Transports (REST, gRPC) parse a request, authenticate and authorize it, and then call one of the verbs of
//! [`Registry`]. Everything an object goes through lives here: defaulting, admission, validation, strategy,
//! storage and the watch cache.

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
