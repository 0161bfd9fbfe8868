//! A revisioned, replicated key-value store with watch streams and the etcd v3 API.
//!
//! A service that wants small and precious state, agreed on by several machines and observed by many, has to run a
//! database beside itself. This is that database as a library: start a [`Server`] in each process, and every one of
//! them reads, writes and watches through a [`Handle`], which implements [`store_client::Kv`]. The same server
//! speaks the etcd v3 gRPC API to everybody else.
//!
//! ```text
//!   Handle (Kv) ----+                              +--> lease deadlines
//!   etcd v3 gRPC ---+--> raft::Node --> Machine ---+--> watch hub --> subscriptions
//!                        (log, quorum)     |       +--> facts
//!                                       Engine (RocksDB, or memory)
//! ```
//!
//! **A write** is checked, encoded as a command, agreed on and durable on a quorum, applied in log order together with
//! its neighbours as one engine batch, and answered with its revision. **A read** asks the quorum which index it
//! must not be older than (a burst shares one round), waits until this member has applied it, and reads this
//! member's engine. **A watch** is fed by what is applied here, and by history for what it missed.
//!
//! # Promises
//!
//! | tag | promise | kept by |
//! |---|---|---|
//! | S1 | a revision is assigned once, in log order, one for each mutating transaction | [`mvcc::Draft`] |
//! | S2 | an acknowledged write survives the crash of every member at once | the Raft log; [`machine`] |
//! | S3 | a watcher sees every change from its start exactly once and in order, or is told what was compacted | [`watch`] |
//! | S4 | a linearizable read is never older than any write acknowledged before it began | [`server`] |
//! | S5 | applying is deterministic; members at the same revision have the same hash, and are asked for it | [`mvcc`], [`mvcc::hash`], [`server`] |
//! | S7 | an I/O error stops the member, nothing is retried; a damaged member does not start again | [`engine`], [`server`] |
//! | S8 | everything has a bound | [`limits`], [`store_client::limits`] |
//!
//! (S6, the order of what is durable, is the promise of the Raft log.)
//!
//! # Limits and what is left out on purpose
//!
//! Memory does not grow with the data. There is no defragmentation, because compaction gives space back by itself. Whoever
//! embeds the store is trusted: users and roles are for clients of the API.

pub mod auth;
pub mod backup;
pub mod cli;
mod codec;
pub mod ctl;
pub mod engine;
#[doc(hidden)]
pub mod fuzzing;
pub mod history;
pub mod lease;
pub mod limits;
pub mod machine;
pub mod metrics;
pub mod mvcc;
mod runtime;
pub mod server;
pub mod service;
mod throttle;
pub mod watch;

pub use runtime::runtime;
pub use server::{
    ClusterState, Error, Handle, Listeners, Options, Seams, Server, Sizes, Tls, TlsFiles, TokenKind,
};
