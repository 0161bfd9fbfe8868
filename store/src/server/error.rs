//! Why a member cannot start or had to stop.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::{engine, mvcc};

/// Failure of a whole member. What goes wrong with one request is a [`store_client::Error`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options contradict each other.
    #[error("option {option}: {detail}")]
    Options {
        /// The option at fault.
        option: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// A directory cannot be used.
    #[error("cannot use {path}: {detail}", path = path.display())]
    Directory {
        /// Which directory.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// A listener could not be opened.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The cause; most often somebody else is there already.
        #[source]
        source: std::io::Error,
    },
    /// Keys or certificates cannot be used.
    #[error("TLS: {detail}")]
    Tls {
        /// What is wrong.
        detail: String,
    },
    /// The cluster to join did not let us in.
    #[error("cannot join the cluster: {detail}")]
    Join {
        /// What the members said.
        detail: String,
    },
    /// The member's log, vote or transport failed.
    #[error(transparent)]
    Raft(#[from] raft::Error),
    /// The member's state failed.
    #[error(transparent)]
    State(#[from] mvcc::Error),
    /// A task of the member ended in a way it must not.
    #[error("a task of the member failed: {detail}")]
    Task {
        /// What happened to it.
        detail: String,
    },
}

impl From<engine::Error> for Error {
    fn from(error: engine::Error) -> Self {
        Self::State(error.into())
    }
}
