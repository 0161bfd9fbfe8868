//! Transport of the API: HTTPS REST and gRPC on one port, identity, authorization, discovery, tables and the
//! tunnels to the node agents. What an object goes through once a request is understood and allowed is the
//! registry's affair; nothing here stores anything.
//!
//! ```text
//! TCP ─ TLS ─ h1/h2 ─┐                       ┌─ rest ──────┐
//!                    ├─ gateway: who? may? ──┼─ discovery  ├─ registry::Registry
//! in-memory pipe ────┘   limits, audit       ├─ grpc ──────┘
//!                                            └─ connect ──── node agents (logs, exec, port-forward)
//! ```
//!
//! # A request
//!
//! [`server`] accepts a connection and learns what it says about its peer. [`gateway`] does for every request what
//! must be done exactly once: [`authn`] finds the identity, [`request`] reads method and path into one canonical
//! value, [`authz`] decides about that value, a slot of [`inflight`] is taken, the answer is counted and, if
//! it was a write, recorded by [`audit`]. Then [`rest`], [`grpc`], [`connect`] or [`discovery`] execute the same
//! value that was authorized.
//!
//! # Invariants
//!
//! * C1: every write passes authentication, authorization and audit once, whoever sends it: network, or an
//!   in-memory channel of the same process.
//! * C2: what is authorized is what is executed: [`request::Attributes`] is made once and never read again from
//!   the URL.
//! * S8: every body, stream, queue and wait has a bound in [`limits`].
//!
//! # Not done here
//!
//! Aggregated API servers, and answers in protobuf: clients that prefer it are answered in JSON, which every
//! Kubernetes client accepts too.

#![allow(
    clippy::result_large_err,
    reason = "a Status is built once per refused request and moved, never copied"
)]

pub mod audit;
pub mod authn;
pub mod authz;
pub mod connect;
pub mod discovery;
pub mod gateway;
pub mod grpc;
pub mod inflight;
pub mod limits;
pub mod metrics;
pub mod options;
pub mod pki;
pub mod query;
pub mod reply;
pub mod request;
pub mod rest;
pub mod server;
pub mod tables;

pub use authn::Identity;
pub use options::{ClientCertificate, Options, Pem, StaticToken};
pub use server::{Error, Handle, Server};
