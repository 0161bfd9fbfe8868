//! Other people's clients of the etcd API, and etcd itself, beside our store.
//!
//! Three proofs that a client of etcd may be pointed at `kontiki store`:
//!
//! - `tests/differential.rs`: the same random calls go to our store and to etcd, and the answers are the same ([`calls`] makes
//!   the calls, [`pair`] asks both). `kontiki-etcd --calls N` does it for as long as one likes.
//! - `tests/etcdctl.rs`: command lines of etcdctl with what they print (`tests/etcdctl.txt`).
//! - `tests/python.rs`: a Python client goes through every call it has.
//!
//! A test whose program is missing says so and passes.

pub mod answers;
pub mod calls;
pub mod pair;
pub mod server;
