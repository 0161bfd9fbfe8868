//! What can go wrong in the runtime, and the one translation to gRPC status codes.

use std::io;
use std::path::PathBuf;

use tonic::{Code, Status};

/// Result of a runtime operation.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a runtime operation failed. Each variant says what was being done, and to what.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory could not be used.
    #[error("{action} {}", path.display())]
    File {
        /// What was being done, in the gerund.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A kernel call that is not about one file.
    #[error("{action}")]
    System {
        /// What was being done, in the gerund.
        action: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A document did not parse.
    #[error("reading {what}")]
    Parse {
        /// Which document.
        what: String,
        /// Where it is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// The caller named something that is not there.
    #[error("{kind} {id:?} not found")]
    NotFound {
        /// "container", "sandbox" or "image".
        kind: &'static str,
        /// The name that was given.
        id: String,
    },
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The object is in a state in which this cannot be done.
    #[error("{0}")]
    State(String),
    /// An image could not be read or fetched.
    #[error("{0}")]
    Image(String),
    /// The registry refused us.
    #[error("{0}")]
    Unauthorized(String),
    /// The registry could not be reached.
    #[error("{0}")]
    RegistryUnavailable(String),
    /// The shim answered with an error.
    #[error("{0}")]
    Shim(String),
    /// The shim did not answer.
    #[error("shim of sandbox {sandbox}: {reason}")]
    ShimGone {
        /// Whose shim.
        sandbox: String,
        /// What happened instead of an answer.
        reason: String,
    },
    /// A command ran past its time.
    #[error("{0}")]
    Timeout(String),
    /// The pod network could not be changed.
    #[error("pod network")]
    Network(#[from] network::pod::Error),
}

impl Error {
    /// For `map_err` on file operations.
    pub fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    /// For `map_err` on kernel calls through rustix or nix.
    pub fn system<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::System { action, source: source.into() }
    }

    /// For `map_err` on documents.
    pub fn parse(what: impl Into<String>) -> impl FnOnce(serde_json::Error) -> Self {
        let what = what.into();
        move |source| Self::Parse { what, source }
    }

    /// The message with all its causes, for people and for CRI.
    pub fn chain(&self) -> String {
        chain(self)
    }
}

/// An error with all its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::NotFound { .. } => Code::NotFound,
            Error::Invalid(_) => Code::InvalidArgument,
            Error::State(_) => Code::FailedPrecondition,
            Error::Timeout(_) => Code::DeadlineExceeded,
            Error::Unauthorized(_) => Code::PermissionDenied,
            Error::RegistryUnavailable(_) | Error::ShimGone { .. } => Code::Unavailable,
            Error::File { .. }
            | Error::System { .. }
            | Error::Parse { .. }
            | Error::Image(_)
            | Error::Shim(_)
            | Error::Network(_) => Code::Unknown,
        };
        Self::new(code, error.chain())
    }
}
