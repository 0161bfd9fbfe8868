//! Why a command failed, in words for people and as a number for scripts.
//!
//! | exit code | when |
//! |---|---|
//! | 1 | what was asked for did not happen |
//! | 3 | what standard input says cannot be read as a transaction or a watch |
//! | 4 | the answer has no such format |
//! | 5 | the store ended a watch |
//! | 128 | the arguments make no sense together |
//! | its own | a command under a lock failed |
//!
//! They are etcdctl's. Arguments that cannot even be parsed are clap's 2.

use std::process::ExitStatus;

use super::Format;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
    /// What standard input says makes no sense.
    #[error("{0}")]
    Input(String),
    /// It was understood, and did not happen.
    #[error("{0}")]
    Failed(String),
    /// The store ended what was to go on.
    #[error("{0}")]
    Ended(String),
    /// An answer cannot be printed like that.
    #[error("{} is not supported as output format of this command", .0.name())]
    Format(Format),
    /// A command that was to be run failed.
    #[error("{0}")]
    Child(ExitStatus),
    /// No member could be reached.
    #[error("cannot reach {endpoint}")]
    Connect {
        /// Where.
        endpoint: String,
        /// Why not.
        #[source]
        source: tonic::transport::Error,
    },
    /// The member did not answer within --command-timeout.
    #[error("context deadline exceeded: no answer within --command-timeout")]
    Late,
    /// The member refused.
    #[error("{}", .0.message())]
    Refused(tonic::Status),
    /// Output or a file failed.
    #[error("{0}")]
    File(#[from] std::io::Error),
    /// A backup failed.
    #[error(transparent)]
    Backup(#[from] crate::backup::Error),
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        // What tonic makes of a timeout of ours; a member says it in other words.
        let late = status.code() == tonic::Code::Cancelled && status.message() == "Timeout expired";
        if late { Self::Late } else { Self::Refused(status) }
    }
}

impl Error {
    /// What a program that runs the command should exit with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 128,
            Self::Input(_) => 3,
            Self::Format(_) => 4,
            Self::Ended(_) => 5,
            Self::Child(status) => status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1),
            Self::Failed(_)
            | Self::Connect { .. }
            | Self::Late
            | Self::Refused(_)
            | Self::File(_)
            | Self::Backup(_) => 1,
        }
    }
}
