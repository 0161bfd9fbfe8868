//! Who takes part in the group, and what a member tells about itself.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::state_machine::{LogIndex, Term};

/// Identity of a member. Never used again once its member was removed or lost its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MemberId(pub u64);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// How a member is called and reached. Replicated as part of the membership.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// A name for people.
    pub name: String,
    /// Where the other members reach it: `https://host:port`, or `http://host:port` without TLS.
    pub peer_url: String,
    /// Where clients of the layer above reach it. Not interpreted here.
    pub client_urls: Vec<String>,
}

/// Who leads, as far as this member knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The leader of `term`, if known.
    pub leader: Option<MemberId>,
    /// The newest term this member has seen.
    pub term: Term,
    /// Whether this member leads, and a quorum acknowledged it.
    pub is_self: bool,
}

/// A command that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// Where it stands in the log.
    pub index: LogIndex,
    /// Under which term it was proposed.
    pub term: Term,
    /// What the state machine answered.
    pub response: Bytes,
}

/// A moment in the life of a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// This member.
    pub id: MemberId,
    /// The cluster it belongs to.
    pub cluster_id: u64,
    /// The newest term it has seen.
    pub term: Term,
    /// Who leads, if known.
    pub leader: Option<MemberId>,
    /// The last entry in its log.
    pub last_index: LogIndex,
    /// The last entry it knows to be committed.
    pub committed: LogIndex,
    /// The last entry its state machine has applied.
    pub applied: LogIndex,
    /// The last entry its newest snapshot holds; the log before it may be gone.
    pub snapshot_index: LogIndex,
    /// The last entry that was purged from the log.
    pub purged_index: LogIndex,
    /// All members; `true` marks a voter, `false` a learner.
    pub members: BTreeMap<MemberId, (Member, bool)>,
    /// On the leader, the last entry each member is known to hold. Empty elsewhere.
    pub matched: BTreeMap<MemberId, LogIndex>,
}
