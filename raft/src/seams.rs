//! What a member stands on and a simulation replaces: the disk of the log, threads that may block, connections. And who is
//! told what the member does, so that a simulation can hold it against the invariants.

use std::sync::Arc;

use tonic::transport::{Channel, Endpoint};

use crate::disk::{Disk, RealDisk};
use crate::state_machine::{LogIndex, Term};

/// Where work is done that waits for a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Work {
    /// On threads that may block; the log has a writer thread of its own.
    #[default]
    Threads,
    /// In place, in tasks of the caller's runtime: for simulations, where nothing blocks and one seed must give one order.
    Inline,
}

impl Work {
    /// Does work that may block. An error means that the work panicked, or that the runtime ends.
    pub async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, tokio::task::JoinError> {
        match self {
            Self::Threads => tokio::task::spawn_blocking(work).await,
            Self::Inline => Ok(work()),
        }
    }
}

/// Makes a connection that is opened when it is first used.
pub type Dial = fn(Endpoint) -> Channel;

/// An entry as a [`Witness`] is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its index.
    pub index: LogIndex,
    /// Its term.
    pub term: Term,
    /// A checksum of what it carries.
    pub digest: u32,
}

/// A vote as a [`Witness`] is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Voted {
    /// The term.
    pub term: Term,
    /// Whom the vote is for.
    pub candidate: u64,
    /// Whether a quorum voted so: then that member leads.
    pub leads: bool,
}

/// Is told what a member does, in the order it does it. Must return at once.
pub trait Witness: Send + Sync + 'static {
    /// It votes, or accepts a leader. Not durable yet.
    fn voted(&self, vote: Voted);
    /// It takes an entry into its log. Not durable yet.
    fn appended(&self, entry: Seen);
    /// It drops everything from this index on.
    fn truncated(&self, from: LogIndex);
    /// It applies a command, which is committed.
    fn applied(&self, command: Seen);
}

/// What a member stands on. The default is this machine, and nobody is told.
#[derive(Clone)]
pub struct Seams {
    /// The disk of the log.
    pub disk: Arc<dyn Disk>,
    /// Where work is done that waits for a disk.
    pub work: Work,
    /// How other members are reached.
    pub dial: Dial,
    /// Who is told what the member does.
    pub witness: Option<Arc<dyn Witness>>,
}

impl Default for Seams {
    fn default() -> Self {
        let dial: Dial = |endpoint| endpoint.connect_lazy();
        Self { disk: Arc::new(RealDisk), work: Work::default(), dial, witness: None }
    }
}
