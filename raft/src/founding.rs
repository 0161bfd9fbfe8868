//! The position of a state that a group begins with, instead of beginning with none.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::codec;
use crate::member::{Member, MemberId};
use crate::record::{self, LogId, Membership, Position};

/// The position to store in a state from which a new group starts: as if the founders had been initialized, and the log
/// up to there were gone. A member whose state has it needs no
/// [`initialize`](crate::Handle::initialize), and one that joins later is sent the state, because no log leads to it.
/// Every founder must start with the same state and the same members.
pub fn founding_position(members: &BTreeMap<MemberId, Member>) -> Bytes {
    let first = LogId { term: 0, index: 0 };
    let described = |(id, member): (&MemberId, &Member)| record::Member {
        id: id.0,
        name: member.name.clone(),
        peer_url: member.peer_url.clone(),
        client_urls: member.client_urls.clone(),
    };
    let membership = Membership {
        voters: vec![members.keys().map(|id| id.0).collect()],
        members: members.iter().map(described).collect(),
    };
    let position = Position { applied: Some(first), membership_id: Some(first), membership };
    Bytes::from(codec::encode(&position))
}
