//! Every bound of the programs, with unit and reason.

use std::time::Duration;

/// Longest that one program may run. The longest, `store --full` with a peer, needs some hours.
pub const PROGRAM_MAX: Duration = Duration::from_secs(8 * 60 * 60);
/// Longest that a cluster may take to come up or go down: ten times what a loaded machine needs.
pub const CLUSTER_MAX: Duration = Duration::from_secs(120);
/// Longest that a thing asked of a running cluster may take.
pub const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Longest that one write is waited for while a leader is being replaced; then it counts as not acknowledged.
pub const WRITE_MAX: Duration = Duration::from_secs(10);
/// How often a starting server is asked whether it is ready: also the error of that figure.
pub const READY_POLL: Duration = Duration::from_millis(2);
/// Distance of two writes while a leader is being replaced: also the error of that figure.
pub const WRITE_EVERY: Duration = Duration::from_millis(5);
/// Writes under way at most: what `WRITE_EVERY` starts in five seconds.
pub const WRITES_IN_FLIGHT_MAX: usize = 1000;
/// Connections of the generator to a store at most, as in the peer's own tool; clients share them.
pub const STORE_CONNECTIONS_MAX: usize = 100;
/// Bytes of one change of a watch at most: the largest object a server takes (3 MiB), and its frame.
pub const CHANGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Receive window of a stream and of a connection in bytes, so that a large list does not wait for our credit.
pub const WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Bytes of one answer at most: a range of 100,000 keys of 1 KiB, and room.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;
/// How long a process is left alone before its memory is read.
pub const SETTLE: Duration = Duration::from_secs(2);
/// How far a floor may move during a run, as a part of it, before the run is to be discarded.
pub const FLOOR_DRIFT_MAX: f64 = 0.2;
