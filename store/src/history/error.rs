//! Why the past could not be read or brought back.

use store_client::Error as Refusal;

use super::time::show;
use crate::mvcc::times::Noted;

/// What can go wrong with a question to history.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The time is before all that is kept.
    #[error("nothing is kept of {}: {}", show(*asked_unix_ms), oldest_in_words(*oldest))]
    Before {
        /// The time that was asked for.
        asked_unix_ms: u64,
        /// The oldest moment that can be read.
        oldest: Option<Noted>,
    },
    /// An undelete would replace what was written since.
    #[error("{count} of the keys have been written since, among them {}; force replaces them", examples.join(", "))]
    Newer {
        /// How many.
        count: u64,
        /// Some of them, in readable form.
        examples: Vec<String>,
    },
    /// There is nothing to bring back.
    #[error(
        "nothing to bring back: no key of the range was deleted, as far as history reaches (revision {oldest})"
    )]
    NothingDeleted {
        /// The oldest revision of which deletions can be taken back.
        oldest: i64,
    },
    /// Somebody wrote to the keys at the same time.
    #[error("the keys were changed at the same time: {restored} were brought back before; try again")]
    Changed {
        /// Keys brought back by the transactions before.
        restored: u64,
    },
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] Refusal),
}

fn oldest_in_words(oldest: Option<Noted>) -> String {
    match oldest {
        Some(Noted { unix_ms, revision }) => {
            format!("the oldest readable moment is {} (revision {revision})", show(unix_ms))
        }
        None => "no moment is readable yet".to_owned(),
    }
}
