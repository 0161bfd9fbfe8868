//! Why a copy could not be made, read or restored.

use std::io;
use std::path::{Path, PathBuf};

use crate::{engine, mvcc};

/// Failure of a backup or of a restore.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be written or read.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The image is not what was written once.
    #[error("the image is damaged at byte {offset}: {detail}")]
    Damaged {
        /// Where.
        offset: u64,
        /// What is wrong.
        detail: String,
    },
    /// What was asked for cannot be done.
    #[error("{0}")]
    Refused(String),
    /// The state could not be read or written.
    #[error(transparent)]
    State(#[from] mvcc::Error),
}

impl Error {
    /// An error with its file, for `map_err`.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}

impl From<engine::Error> for Error {
    fn from(error: engine::Error) -> Self {
        Self::State(error.into())
    }
}
