//! The one write path of the API, without HTTP.
//!
//! Transports (REST, gRPC) parse a request, authenticate and authorize it, and then call one of the verbs of
//! [`Registry`]. Everything an object goes through lives here: defaulting, admission, validation, strategy,
//! storage and the watch cache.

pub mod contract;

pub use contract::{
    Caller, Deleted, Encoded, Event, EventKind, FieldValidation, ListOptions, Listed, PatchBody, WatchOptions,
    WatchStream, WriteOptions, Written,
};
