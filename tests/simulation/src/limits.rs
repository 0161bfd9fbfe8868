//! Every bound of the simulation, with its reason. Times are simulated.

use std::time::Duration;

use store::Sizes;

/// One step of the simulation: nothing that matters to Raft is shorter.
pub const TICK: Duration = Duration::from_millis(1);
/// Longest for a new cluster to answer: an election or two.
pub const BOOT_MS: u64 = 10_000;
/// Longest for the cluster to answer and agree once nothing is broken any more: connections that lost a segment take three
/// seconds to be given up, and a member that was refused is to be removed first.
pub const CONVERGE_MS: u64 = 40_000;
/// Milliseconds between two looks at the members' states.
pub const SAMPLE_MS: u64 = 250;
/// Milliseconds between two signs of life of a leader: small against the time of a run, large against a message's.
pub const HEARTBEAT_MS: u64 = 50;
/// Silence of the leader, in milliseconds, that starts an election.
pub const ELECTION_MS: u64 = 300;
/// Longest time a message takes on a healthy network, in milliseconds.
pub const LATENCY_MS: u64 = 4;
/// Longest until the power is back, in milliseconds.
pub const POWER_BACK_MS: u64 = 200;
/// Segments in flight on one simulated connection.
pub const SEGMENTS: usize = 4096;
/// Sizes with which it is the number of entries that has the state made durable.
pub const BY_ENTRIES: Sizes =
    Sizes { log_segment_bytes: 64 << 10, log_keep_bytes: 64 << 20, snapshot_bytes: 64 << 20 };
/// Sizes with which it is their bytes, and with which the log keeps few.
pub const BY_BYTES: Sizes =
    Sizes { log_segment_bytes: 8 << 10, log_keep_bytes: 16 << 10, snapshot_bytes: 8 << 10 };
/// Clients of a run that put, delete, swap and get.
pub const CLIENTS: usize = 5;
/// Clients that hold leases. One: leases that end together end at one revision, and the checkers know one change for each.
pub const LESSEES: usize = 1;
/// Answered calls without which a run says nothing.
pub const CALLS_MIN: usize = 60;
/// Steps of the search for a linearization. All outcomes are settled before, so it hardly ever has to look back.
pub const STEPS: u64 = 3_000_000;
/// Longest for an operator's order, tried again and again.
pub const ORDER: Duration = Duration::from_secs(15);
/// Pause between two attempts at an order.
pub const ORDER_PAUSE: Duration = Duration::from_millis(150);
/// Reads from a leader that hands over, and the pause between two: about as long as a new leader needs to be found out about.
pub const HAND_OVER_READS: usize = 12;
/// See there. Longer than a question and its answer take.
pub const HAND_OVER_PAUSE: Duration = Duration::from_millis(20);
/// Real time in which a simulation takes at least one step, or it stands still. A whole run takes some tenths of a second, and without
/// optimisation ten times as much.
pub const STEP_MAX: Duration = Duration::from_secs(60);
/// Lines of the trace that a failure shows.
pub const TRACE_TAIL: usize = 60;
