//! What can go wrong when a member is asked to replicate, read or change the membership.
//!
//! The one question every caller has is: may I send it again? [`Error::is_retryable`] answers it.

use std::path::PathBuf;
use std::sync::Arc;

use crate::member::MemberId;

/// Failure of an operation on a member.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// No leader was known for as long as the caller was prepared to wait. The command was not proposed.
    #[error("the group has no leader")]
    NoLeader,
    /// The leader could not be reached. The command was not proposed.
    #[error("could not reach member {to}: {detail}")]
    NotSent {
        /// The member that was tried last.
        to: MemberId,
        /// What the transport said.
        detail: String,
    },
    /// The command may or may not have been, or may yet be, applied.
    #[error("outcome of {action} is unknown: {detail}")]
    Unknown {
        /// What was being done.
        action: &'static str,
        /// Why its outcome was lost.
        detail: String,
    },
    /// A read could not be confirmed in time. Nothing changed.
    #[error("could not confirm a read: {detail}")]
    ReadNotConfirmed {
        /// What was missing.
        detail: String,
    },
    /// The member was stopped.
    #[error("the member has stopped")]
    Stopped,
    /// The disk below the log or the state failed, or holds what we did not write (invariant S7).
    #[error("{action} failed: {detail}")]
    Storage {
        /// What was being done.
        action: &'static str,
        /// What is wrong.
        detail: String,
        /// The cause, where there is one.
        #[source]
        source: Option<Arc<dyn std::error::Error + Send + Sync>>,
    },
    /// The other side belongs to another cluster, or is not who it was taken for.
    #[error("foreign member: {detail}")]
    ForeignCluster {
        /// Who met whom.
        detail: String,
    },
    /// The group already has members.
    #[error("the group is already initialized")]
    AlreadyInitialized,
    /// The membership cannot be changed in this way, or not now.
    #[error("membership: {0}")]
    Membership(String),
    /// A command is larger than the log accepts.
    #[error("command of {size} bytes exceeds the limit of {limit} bytes")]
    TooLarge {
        /// Size of the command in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Too much is in flight. The command was not proposed.
    #[error("too many {what} in flight")]
    Overloaded {
        /// What there is too much of.
        what: &'static str,
    },
    /// The disk of the leader's log is full. The command was not proposed.
    #[error("no space is left for the log")]
    NoSpace,
    /// The options contradict each other.
    #[error("option {option}: {detail}")]
    Options {
        /// The option at fault.
        option: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// A directory of the member cannot be used.
    #[error("cannot use {path}: {detail}")]
    Directory {
        /// Which directory.
        path: PathBuf,
        /// What the system said.
        detail: String,
    },
    /// The peer connection cannot be set up with the given keys.
    #[error("peer TLS: {detail}")]
    Tls {
        /// What is wrong with the keys.
        detail: String,
    },
}

impl Error {
    /// Whether the same command may be sent again at once, without the risk of applying it twice.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NoLeader
            | Self::NotSent { .. }
            | Self::Overloaded { .. }
            | Self::ReadNotConfirmed { .. } => true,
            Self::Unknown { .. }
            | Self::Stopped
            | Self::NoSpace
            | Self::Storage { .. }
            | Self::ForeignCluster { .. }
            | Self::AlreadyInitialized
            | Self::Membership(_)
            | Self::TooLarge { .. }
            | Self::Options { .. }
            | Self::Directory { .. }
            | Self::Tls { .. } => false,
        }
    }

    /// A storage failure with a cause.
    pub(crate) fn storage(
        action: &'static str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Storage { action, detail: source.to_string(), source: Some(Arc::new(source)) }
    }

    /// A storage failure that we detected ourselves.
    pub(crate) fn damaged(action: &'static str, detail: impl Into<String>) -> Self {
        Self::Storage { action, detail: detail.into(), source: None }
    }
}
