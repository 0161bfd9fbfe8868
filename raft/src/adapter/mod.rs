//! The only place that names openraft. Its types go no further than this folder, and never to disk or wire.
//!
//! | module | adapts |
//! |---|---|
//! | [`convert`] | openraft's types to our records and back |
//! | [`log`] | our log to its log storage |
//! | [`machine`] | the caller's state machine to its state machine |
//! | [`outbound`] | our connections to its network |
//! | [`inbound`] | what peers send to its interface |
//! | [`proposals`] | many callers to few appends |
//! | [`task`] | what a leader is asked to what travels between members |
//! | [`group`] | its interface to what a [`Handle`](crate::Handle) needs |

mod convert;
mod flight;
pub(crate) mod fuzzing;
pub(crate) mod group;
#[cfg(feature = "known-bugs")]
mod hearsay;
mod inbound;
mod log;
pub(crate) mod machine;
mod outbound;
mod proposals;
pub(crate) mod task;

#[cfg(test)]
mod suite;

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A command as openraft carries it. Shared, never copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Command(pub(crate) Bytes);

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

openraft::declare_raft_types!(
    /// One leader per term, as in the thesis: a term and an index identify an entry.
    pub(crate) Types:
        D = Command,
        R = Bytes,
        NodeId = u64,
        Node = crate::member::Member,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>,
);
