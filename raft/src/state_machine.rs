//! What a replicated state machine must provide: bytes in, bytes out, in log order.
//!
//! This module knows commands and positions in the log. It must not know keys, values or openraft.

use std::path::Path;

use bytes::Bytes;

/// Position of an entry in the Raft log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogIndex(pub u64);

/// A leader's term of office.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u64);

/// One committed command.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Where it stands in the log.
    pub index: LogIndex,
    /// The term under which it was proposed.
    pub term: Term,
    /// What was proposed.
    pub command: Bytes,
}

/// A run of committed commands, contiguous but for entries that Raft keeps to itself (blank, membership).
#[derive(Clone, Debug)]
pub struct Batch {
    /// The commands in log order; may be empty when only Raft's own entries were committed.
    pub commands: Vec<Committed>,
    /// Opaque record of how far the log has been applied, at most 64 KiB. It must be stored atomically with
    /// the effects of `commands` and returned by [`StateMachine::position`] ever after.
    pub position: Bytes,
}

/// Why a state machine could not go on. Any of these stops the member (invariant S7): a command that
/// merely fails is not an error, it is a response.
#[derive(Debug, thiserror::Error)]
pub enum StateMachineError {
    /// The storage below failed.
    #[error("{action} failed")]
    Storage {
        /// What was being done.
        action: &'static str,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Bytes on disk or in the log are not what this version wrote.
    #[error("corrupt {what}: {detail}")]
    Corrupt {
        /// Which record.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
}

/// Bytes in, bytes out. Calls come from one thread at a time, except `checkpoint`, which may run beside
/// `apply` and must then describe some position between the two.
///
/// Deterministic (invariant S5): no clock, no randomness, no map order. The same commands give the same
/// state and the same responses on every member.
pub trait StateMachine: Send + Sync + 'static {
    /// Applies the batch and returns one response for each command, in order. Effects and `position` become
    /// visible, and later durable, together.
    fn apply(&self, batch: Batch) -> Result<Vec<Bytes>, StateMachineError>;

    /// Does what [`apply`](Self::apply) does, unless that could wait for a disk or take long: then nothing is changed and the answer is
    /// `None`. Asked for small batches, on a thread that others need.
    fn apply_at_once(&self, _batch: &Batch) -> Option<Result<Vec<Bytes>, StateMachineError>> {
        None
    }

    /// The position stored by the last durable `apply`, or `None` for an empty state.
    fn position(&self) -> Result<Option<Bytes>, StateMachineError>;

    /// Makes everything applied so far durable, so that the log before it may be purged. `false` when there is no space for
    /// that now: nothing was changed, the log stays, and it is asked again later.
    fn flush(&self) -> Result<bool, StateMachineError>;

    /// Writes a consistent image of the state into the directory `into`, which does not exist yet and is on
    /// the same file system. Returns the position the image holds.
    fn checkpoint(&self, into: &Path) -> Result<Option<Bytes>, StateMachineError>;

    /// Replaces the whole state by the image in `from`, which may be consumed. Atomic: after a crash either
    /// the old or the new state is there.
    fn restore(&self, from: &Path) -> Result<(), StateMachineError>;
}
