//! SPDY/3.1, as far as Kubernetes uses it: the server's side of streams that the client opens.
//!
//! | module | what it knows |
//! |---|---|
//! | [`frame`] | the layout of frames |
//! | [`headers`] | header blocks and their compression with the protocol's dictionary |
//! | [`connection`] | streams over one connection |
//!
//! Not used and not implemented: streams that the server opens, priorities, settings, credentials.

pub mod connection;
pub mod frame;
pub mod headers;

pub use connection::{Incoming, Stream, connect, drive};
