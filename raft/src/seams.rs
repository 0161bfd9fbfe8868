//! What a member stands on and a simulation replaces: the disk of the log, and threads that may block.

use std::sync::Arc;

use crate::disk::{Disk, RealDisk};

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
    /// Does work that may block.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, tokio::task::JoinError> {
        match self {
            Self::Threads => tokio::task::spawn_blocking(work).await,
            Self::Inline => Ok(work()),
        }
    }
}

/// What a member stands on. The default is this machine.
#[derive(Clone)]
pub struct Seams {
    /// The disk of the log.
    pub disk: Arc<dyn Disk>,
    /// Where work is done that waits for a disk.
    pub work: Work,
}

impl Default for Seams {
    fn default() -> Self {
        Self { disk: Arc::new(RealDisk), work: Work::default() }
    }
}
