//! What a member stands on and a simulation replaces.

use std::sync::Arc;

use crate::engine::Engine;
use crate::history::Clock;

/// What a member stands on. The default is this machine: RocksDB in the member's directory, threads, sockets.
#[derive(Clone, Default)]
pub struct Seams {
    /// What keeps the state.
    pub engine: Option<Arc<dyn Engine>>,
    /// What the Raft member stands on, and where work is done that waits for a disk.
    pub raft: raft::Seams,
    /// Sizes, if they are to be others than usual.
    pub sizes: Option<Sizes>,
    /// What time it is for people, if not what the machine's clock says.
    pub clock: Option<Clock>,
}

/// Sizes that a simulation makes small, so that what they bound happens often.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Bytes of one segment of the log.
    pub log_segment_bytes: u64,
    /// Bytes of the log that stay although the state holds them durably.
    pub log_keep_bytes: u64,
    /// Bytes of commands after which the state is made durable.
    pub snapshot_bytes: u64,
}
