//! Other people's clients of the etcd API, and etcd itself, beside our store.
//!
//! Proofs that a client of etcd may be pointed at `kontiki store`:
//!
//! - `tests/differential.rs`: the same random calls go to our store and to etcd, and the answers are the same ([`calls`] makes
//!   the calls, [`pair`] asks both). `kontiki-etcd --calls N` does it for as long as one likes.
//!   Users, roles and what they may do have random calls of their own ([`accounts`] makes them, [`guarded`] asks both).
//! - `tests/etcdctl.rs`: command lines of etcdctl with what they print (`tests/etcdctl.txt`, `tests/auth.txt`).
//! - `tests/python.rs`, `tests/rust.rs`: clients for Python and Rust go through every call they have.
//!
//! A test whose program is missing says so and passes.

pub mod accounts;
pub mod answers;
pub mod calls;
pub mod guarded;
pub mod pair;
pub mod server;
pub mod ties;
