//! What plugins import: the objects client and the parts a control loop is made of.
//!
//! A plugin (scheduler, controllers, node agent, or somebody else's) sees the cluster only through the trait
//! [`api::objects::Objects`]. It cannot tell whether that is an in-memory channel in one process, TLS across
//! machines ([`grpc::Remote`]), or a test's [`fake::Objects`].
//!
//! ```text
//!   API server --watch--> informer::Informer --keys--> queue::Queue --key--> driver::Reconcile
//!        ^                     | Arc<K> snapshot                                  |
//!        |                     +----------------------------- read --------------+
//!        +---- typed::Client (fenced by election::Elector) <---- writes ----------+
//! ```
//!
//! | module | knows | must not know |
//! |---|---|---|
//! | [`grpc`] | endpoints, failover, status decoding | what the objects mean |
//! | [`typed`] | which resource a Rust type is | caching |
//! | [`informer`] | list, watch, resume, local indexes | who listens |
//! | [`queue`], [`driver`] | keys, back-off, workers | objects |
//! | [`election`] | the Lease and its fence | what leaders do |
//! | [`events`] | aggregation and rate of Events | who reports |
//! | [`fake`] | the verbs in memory, for tests | the real server |
//!
//! Promises: a key that changed is reconciled at least once after the change, never twice at the same time;
//! an informer's store is never older than what it has reported to its handlers; a write made by a leader
//! that lost its Lease is refused (invariant C4); every queue and buffer has a bound (`limits`).

pub mod backoff;
pub mod clock;
pub mod driver;
pub mod election;
pub mod error;
pub mod events;
pub mod fake;
pub mod grpc;
pub mod informer;
pub mod labels;
pub mod limits;
pub mod plugin;
pub mod queue;
pub mod refs;
pub mod typed;

pub use error::Error;
pub use informer::{Informer, Informers, ObjectKey};
pub use plugin::{Context, Plugin};
pub use queue::Queue;
pub use typed::{Client, Object};
