//! Whole clusters of the store in one process, on one thread, from one seed.
//!
//! ```text
//!  seed ──► plan: how many members, which faults when
//!             │
//!             ▼
//!  run: turmoil steps every host by a millisecond ──► strike, mend, restart
//!    hosts m1..m7: Server on SimDisk, MemoryEngine, simulated connections ──► witness ──┐
//!    host clients: puts, swaps, deletes, ranges, leases, watches, compactions, orders ──┤
//!                                                                                      ▼
//!                                         ledger: trace, coverage, invariants (one file each)
//! ```
//!
//! The product runs as it is: the gRPC of members and clients, openraft, the log, the state machine, the watches. Replaced are the
//! disk of the log, the engine below the state, connections, threads that may block, clocks and randomness (the crate `mad-turmoil`
//! stands in for the system's). So the same seed gives the same run: the same trace, hashed, which a test compares.
//!
//! A failing seed names the command that replays it. A run in which too few calls were answered says nothing and is counted as
//! invalid.
//!
//! What is not simulated: RocksDB itself; the files of images on their way between members, and who a member is, which lie on
//! a real disk; time lost by a member that stands still (its timers go on, though it neither reads, writes nor hears); the retransmission
//! of TCP, in whose place a link either delivers late or breaks the connection.

pub mod apart;
pub mod bugs;
pub mod clock;
pub mod cluster;
pub mod coverage;
pub mod invariants;
pub mod ledger;
pub mod limits;
pub mod load;
pub mod plan;
pub mod run;
pub mod site;
pub mod strike;
pub mod trace;
pub mod wire;

/// Seeds that every run of the tests tries.
pub const SEEDS: u64 = 128;

/// The command that replays a seed.
pub fn replay(seed: u64) -> String {
    format!("cargo xtask simulate --seed {seed} --loud")
}
