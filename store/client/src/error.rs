//! Why the store refused or failed.

use crate::{Denial, Revision};

/// What can go wrong with a request to the store.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The revision asked for is no longer kept.
    #[error("required revision has been compacted (the oldest kept is {})", oldest.0)]
    Compacted {
        /// The oldest revision that can still be read.
        oldest: Revision,
    },
    /// The revision asked for does not exist yet.
    #[error("required revision is a future revision (the newest is {})", newest.0)]
    FutureRevision {
        /// The newest revision.
        newest: Revision,
    },
    /// No such lease.
    #[error("requested lease not found")]
    LeaseNotFound,
    /// A lease of that id exists already.
    #[error("lease already exists")]
    LeaseExists,
    /// The caller is not known, or may not do that.
    #[error("{0}")]
    Denied(Denial),
    /// The request itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The request exceeds a limit.
    #[error("request is too large: {0}")]
    TooLarge(String),
    /// A consumer did not keep up and lost its place.
    #[error("the consumer fell behind and was cut off")]
    Slow,
    /// Disk space is used up; reads go on, writes are refused.
    #[error("no space: {0}")]
    NoSpace(String),
    /// No leader, no connection or shutting down. The outcome of a write is unknown.
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// The request took too long. The outcome of a write is unknown.
    #[error("store timed out: {0}")]
    Timeout(String),
    /// A broken invariant of the store's; an operator must look.
    #[error("store failed: {0}")]
    Internal(String),
}

impl Error {
    /// Whether the same request may succeed later without being changed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Timeout(_) | Self::Slow => true,
            Self::Compacted { .. }
            | Self::FutureRevision { .. }
            | Self::LeaseNotFound
            | Self::LeaseExists
            | Self::Denied(_)
            | Self::Invalid(_)
            | Self::TooLarge(_)
            | Self::NoSpace(_)
            | Self::Internal(_) => false,
        }
    }
}

impl From<Denial> for Error {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}
