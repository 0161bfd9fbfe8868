//! What this crate writes to disk and sends to peers, as plain data. Field order is the format: see
//! [`codec`](crate::codec). New kinds are added at the end of an enum, never between.

use crate::codec::{BorrowDecode, Decode, Encode};

/// Identity of a log entry: at most one entry ever has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub(crate) struct LogId {
    pub(crate) term: u64,
    pub(crate) index: u64,
}

/// For whom a member voted, and whether a quorum did too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Vote {
    pub(crate) term: u64,
    pub(crate) member: u64,
    pub(crate) committed: bool,
}

/// A member as the membership records it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Member {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) peer_url: String,
    pub(crate) client_urls: Vec<String>,
}

/// Voters (two sets while they change) and everybody who receives the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Membership {
    pub(crate) voters: Vec<Vec<u64>>,
    pub(crate) members: Vec<Member>,
}

/// How far the log was applied, and the membership as of there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Position {
    pub(crate) applied: Option<LogId>,
    pub(crate) membership_id: Option<LogId>,
    pub(crate) membership: Membership,
}

/// What an entry carries.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub(crate) enum Payload<'a> {
    /// A new leader's first entry.
    Blank,
    /// A command of the layer above.
    Command(&'a [u8]),
    /// A change of the membership.
    Membership(Membership),
}

/// A log entry.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub(crate) struct Entry<'a> {
    pub(crate) id: LogId,
    pub(crate) payload: Payload<'a>,
}

/// Whose log it is. Written once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Owner {
    pub(crate) cluster: u64,
    pub(crate) member: u64,
}

/// Entries, or a sign of life, from a leader.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub(crate) struct Append<'a> {
    pub(crate) vote: Vote,
    pub(crate) previous: Option<LogId>,
    pub(crate) committed: Option<LogId>,
    pub(crate) entries: Vec<Entry<'a>>,
}

/// Answer to [`Append`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Appended {
    /// The log agrees up to here, durably.
    Matched(Option<LogId>),
    /// The log does not hold this entry.
    Conflict(LogId),
    /// There is a newer leader or candidate.
    HigherVote(Vote),
}

/// A candidate asks for a vote, or whether it would get one.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Ballot {
    pub(crate) vote: Vote,
    pub(crate) last: Option<LogId>,
    pub(crate) transfer: bool,
}

/// Answer to [`Ballot`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct BallotAnswer {
    pub(crate) vote: Vote,
    pub(crate) granted: bool,
    pub(crate) last: Option<LogId>,
}

/// A leader hands over.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Transfer {
    pub(crate) from: Vote,
    pub(crate) to: u64,
    pub(crate) last: Option<LogId>,
}

/// Answer to [`Transfer`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum TransferAnswer {
    Accepted,
    VoteChanged { expected: Vote, actual: Vote },
    LogNotFlushed { expected: Option<LogId>, actual: Option<LogId> },
}

/// Precedes the files of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct SnapshotHeader {
    pub(crate) vote: Vote,
    pub(crate) position: Position,
}

/// Answer to a snapshot: the receiver's vote.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct SnapshotAnswer {
    pub(crate) vote: Vote,
}

/// What a member asks of the leader on behalf of its caller.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub(crate) enum Request<'a> {
    Propose(&'a [u8]),
    ReadIndex,
    AddLearner(Member),
    Promote(u64),
    Remove(u64),
    Update(Member),
    TransferLeadership(u64),
}

/// Answer to [`Request`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub(crate) enum Answer<'a> {
    Applied { id: LogId, response: &'a [u8] },
    ReadIndex(u64),
    Done,
    NotLeader(Option<u64>),
    Failed(Failure),
}

/// The errors that cross the wire.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Failure {
    Unknown(String),
    ReadNotConfirmed(String),
    Stopped,
    Storage(String),
    Membership(String),
    TooLarge { size: u64, limit: u64 },
    Overloaded,
    NoLeader,
    NoSpace,
}
