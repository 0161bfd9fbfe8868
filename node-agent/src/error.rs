//! Why the agent as a whole gave up.

use std::{io, path::PathBuf};

/// A failure of the agent itself. Failures of pods are statuses and events, never this.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options make no sense.
    #[error("options: {0}")]
    Options(String),
    /// A directory could not be made.
    #[error("create {path}")]
    CreateDir {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server's port could not be taken.
    #[error("listen on {addr}")]
    Listen {
        /// Where.
        addr: std::net::SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server's certificates are unusable.
    #[error("server certificates: {0}")]
    Certificates(String),
    /// The runtime's socket cannot be used.
    #[error("runtime: {0}")]
    Runtime(#[from] crate::cri::Error),
    /// A part that runs as long as the agent ended.
    #[error("task {0} ended")]
    TaskEnded(&'static str),
}
