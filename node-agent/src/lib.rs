//! The node agent: runs the pods bound to its node, as a kubelet does.
//!
//! # The problem
//!
//! The API says which pods a node is to run; a container runtime knows which containers run. The agent makes
//! the second follow the first, for as long as both live, whoever of them (or the agent itself) dies meanwhile.
//!
//! # The promise
//!
//! - What the API wants runs; what it no longer wants is stopped with its grace, cleaned up, and only then
//!   deleted from the API.
//! - **N1**: losing the agent, the runtime or the API stops no running container. A new agent finds everything
//!   it needs on the labels and annotations of what runs ([`cri::labels`]) and adopts it without a restart.
//! - A pod's status is what was observed, in upstream's words, and its phase never goes back.
//! - Pods the API does not have are removed, but never before the API's list was complete.
//!
//! # The picture
//!
//! ```text
//!        API (trait Objects, through the client)                    CRI v1 (a unix socket)
//!   pods of this node      ConfigMaps, Secrets held by pods         sandboxes, containers, images, events
//!          |                          |                                    ^          |
//!          v                          v                                    |          v
//!   pod::supervisor --> pod::worker (one per pod): observe -> plan -> act -+   probe, volume, env
//!          ^                          |
//!          |                          +--> pod::report --> pods/status, in batches
//!   node::register, node::lease --> Node, Lease         server: logs, exec, attach, port-forward, stats
//! ```
//!
//! The life of a pod: volumes are set up, a sandbox gives it its network, init containers run in turn, its
//! containers start, probes say when it is ready. Each step is an action of a plan that is made anew after
//! everything that happens ([`pod::plan`]); no step is remembered but in the runtime.
//!
//! # Limits
//!
//! Every bound is in [`limits`]. Workers never wait for their actions, so the number of tasks of a pod is
//! bounded by its containers, sandboxes and probes.
//!
//! # What is deliberately not done
//!
//! The agent does not know which runtime it speaks to, nor how the network is made. It evicts nothing. It
//! mounts no persistent volume claims, runs no ephemeral containers and reads no static pods yet.

pub mod agent;
pub mod cri;
pub mod env;
pub mod error;
pub mod gc;
pub mod limits;
pub mod node;
pub mod options;
pub mod pod;
pub mod probe;
pub mod references;
pub mod server;
pub mod shared;
pub mod sys;
pub mod volume;

pub use agent::{Agent, Handle};
pub use error::Error;
pub use options::{Options, ServerTls};
