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
    /// Bytes of one segment of the log, if it is to be another size than usual.
    pub log_segment_bytes: Option<u64>,
    /// What time it is for people, if not what the machine's clock says.
    pub clock: Option<Clock>,
}
