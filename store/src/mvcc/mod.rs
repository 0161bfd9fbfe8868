//! Keys with all their versions, on an engine.
//!
//! | table | key | value |
//! |---|---|---|
//! | versions | `k`, escaped key, `!revision` u64 BE | see [`layout::Version`] |
//! | log | `r`, revision u64 BE, number within the revision u32 BE | see [`layout::Logged`] |
//! | leases | `l`, lease u64 BE | granted time to live, index of the last renewal |
//! | attachments | `a`, lease u64 BE, key | nothing |
//! | times | `t`, moment u64 BE | revision, see [`times`] |
//! | users | `u`, kind, name | see [`auth::record`](crate::auth::record) |
//! | alarms | `w`, member u64 BE, kind, by whom | nothing, see [`alarms`] |
//! | facts | `m`, name | see [`facts`] |
//!
//! The newest version of a key is the first entry of its group, so a read at any revision is one seek. Memory is not
//! kept per key, but for a bounded number of those written lately (see [`recent`]): the store needs the same for a million
//! keys and for a hundred million. The log table is what watches read history from, and what compaction walks.
//!
//! Invariants: S1, a [`Draft`] gives all changes of a transaction one revision and the next transaction the next. S5, nothing here
//! looks at a clock, at random numbers or at the order of a hash map.
//!
//! This module knows revisions and leases' attachments. It must not know Raft, time, or who is watching.

pub mod alarms;
pub mod diff;
pub mod draft;
pub mod entry;
pub mod facts;
pub mod hash;
pub mod history;
pub mod layout;
pub mod overlay;
pub mod recent;
pub mod scan;
pub mod scrub;
mod sum;
pub mod times;
pub mod txn;

pub use draft::Draft;
pub use facts::Facts;

use crate::engine;

/// Why the data could not be read or written. All mean that this member must stop (invariant S7).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// A record is not what this version writes.
    #[error("corrupt {what}: {detail}")]
    Corrupt {
        /// Which record.
        what: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// The records are those of another version, and whole as far as we can tell.
    #[error(
        "the state is in format {found}, this version reads and writes format {}: go on with the version that wrote it, \
         or copy its keys to a new cluster, with both versions running (kontiki make-mirror)",
        facts::FORMAT
    )]
    Format {
        /// The format found.
        found: u8,
    },
}

impl Error {
    /// Whether it is that of something that was to be done at once: nothing was done, and it may be done with patience.
    pub fn is_impatience(&self) -> bool {
        matches!(self, Self::Engine(error) if error.is_impatience())
    }

    pub(crate) fn corrupt(what: &'static str, detail: impl Into<String>) -> Self {
        Self::Corrupt { what, detail: detail.into() }
    }
}
