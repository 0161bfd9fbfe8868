//! Objects in the store and in memory: key layout, codec, the watch cache, commits.
//!
//! ```text
//!   verbs --Admitted--> commit --txn--> Kv ----one watch----> feed --decode once--> cache (per resource)
//!     ^                                                                              |      |
//!     '----------------- get, list: snapshot of the cache, waited for ---------------'      '--> watchers
//! ```
//!
//! Nothing here knows what a kind means, beyond the paths of its selectable fields.

mod cache;
pub(crate) mod codec;
pub(crate) mod commit;
mod error;
mod feed;
mod history;
mod project;
pub(crate) mod selection;
mod snapshot;
mod store;
pub(crate) mod token;
mod watchers;

pub(crate) use cache::{Begin, Cache, Subscription};
pub(crate) use commit::{Commit, Dry, Live, Outcome, Side};
pub(crate) use error::status as store_status;
pub(crate) use history::Change;
pub use snapshot::Snapshot;
pub(crate) use store::Storage;
