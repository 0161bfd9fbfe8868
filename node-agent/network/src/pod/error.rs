//! What can go wrong in the pod network.

use std::io;
use std::path::PathBuf;

/// Result of a pod network operation.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the pod network could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// The node has no pod CIDR yet.
    #[error("network is not ready: {0}")]
    NotReady(String),
    /// Every address of the node is taken.
    #[error("no free address in {cidr}: {taken} are taken")]
    Exhausted {
        /// The node's pod CIDR.
        cidr: String,
        /// How many addresses are reserved.
        taken: usize,
    },
    /// A file could not be used.
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
    /// The kernel refused a change of links, addresses or routes.
    #[error("{action}")]
    Netlink {
        /// What was being done, in the gerund.
        action: String,
        /// What the kernel said.
        #[source]
        source: Box<rtnetlink::Error>,
    },
    /// A program failed.
    #[error("{program}: {reason}")]
    Program {
        /// `nft` or a CNI plugin.
        program: String,
        /// What it said.
        reason: String,
    },
}

impl Error {
    /// For `map_err` on file operations.
    pub(super) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    /// For `map_err` on netlink requests.
    pub(super) fn netlink(action: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> Self {
        let action = action.into();
        move |source| Self::Netlink { action, source: Box::new(source) }
    }
}
