//! The verbs, each written once for every kind.

mod binding;
pub(crate) mod claims;
mod commit;
pub(crate) mod core;
pub(crate) mod create;
mod decode;
pub(crate) mod delete;
pub(crate) mod delete_collection;
mod eviction;
mod facet;
mod fence;
pub(crate) mod get;
pub(crate) mod list;
mod metadata;
mod modify;
pub(crate) mod patch;
mod ttl;
pub(crate) mod update;
pub(crate) mod watch;

pub(crate) use self::core::Core;
