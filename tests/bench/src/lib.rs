//! Programs that measure Kontiki, so that every figure we publish can be had again by anyone.
//!
//! They are not timed tests: nothing fails because it was slow. Each program starts what it measures as real
//! processes in a directory of its own, prints what it ran against and a table, and takes everything down again. It
//! ends by itself: every wait has a bound in [`limits`], and the whole has a deadline.
//!
//! ```text
//!                    start  pod  failover  api  store        one module each
//!                      |     |      |       |     |
//!   cluster  (kontiki up / down / status)   |   store::members (kontiki store, etcd)
//!                      \     |      |       |     |
//!                       wire: one lean HTTP/2 client; grpc: frames on top of it
//!                       load: closed-loop clients      samples, table: what is printed
//! ```
//!
//! Rules that all of them keep:
//!
//! 1. The primary figure is CPU of the server per operation ([`process::cpu`]); operations per second depend on the
//!    generator and are printed beside it.
//! 2. The generator runs in one thread on core 1 and the servers on core 0, when there are two cores and `taskset`.
//! 3. A peer runs the same requests from the same generator, in turns with us, or its absence is said.
//! 4. A figure taken on a busy machine is marked as such ([`machine`]).

pub mod api;
pub mod cluster;
pub mod failover;
pub mod grpc;
pub mod limits;
pub mod load;
pub mod machine;
pub mod pod;
pub mod process;
pub mod samples;
pub mod start;
pub mod store;
pub mod table;
pub mod watch;
pub mod wire;
