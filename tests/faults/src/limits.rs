//! Every bound of these tests, with its reason.

use std::time::Duration;

/// Longest for a member to answer its first read: it may have to replay a log, on a machine that builds meanwhile.
pub const READY: Duration = Duration::from_secs(30);
/// How often a condition is looked at.
pub const POLL: Duration = Duration::from_millis(20);
/// Longest for one call of a client. Beyond it the outcome is unknown.
pub const CALL: Duration = Duration::from_secs(2);
/// Pause of a client between calls: some hundreds of calls a second from all of them.
pub const THINK: Duration = Duration::from_millis(8);
/// Pause after a call that failed: each leaves a call of unknown outcome, and many of those are hard to judge.
pub const AFTER_FAILURE: Duration = Duration::from_millis(100);
/// Acknowledged calls before the fault, and again after it, without which a run says nothing.
pub const CALLS_MIN: usize = 100;
/// Longest for those calls to come.
pub const TRAFFIC: Duration = Duration::from_secs(20);
/// Longest for every watch to reach the head after the load has ended (W13).
pub const WATCHES: Duration = Duration::from_secs(10);
/// Steps of the search for a linearization: some seconds.
pub const STEPS: u64 = 20_000_000;
/// Clients of a run.
pub const CLIENTS: usize = 6;
/// Keys they share: few, so that they meet.
pub const KEYS: usize = 4;
/// Longest for another member to lead when the leader's disk hangs: an election timeout until it is noticed, another
/// and a quarter until somebody stands, and as much again for a machine that is busy.
pub const SUCCESSION: Duration = Duration::from_secs(5);
/// Seconds of the lease that must outlive jumps of a clock.
pub const LEASE: i64 = 60;
