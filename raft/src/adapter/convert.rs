//! openraft's types to our records and back. Total in one direction; in the other, foreign bytes may make no sense.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use openraft::alias::{EntryOf, LogIdOf, SnapshotMetaOf, StoredMembershipOf, VoteOf};
use openraft::entry::RaftEntry;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderError, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{EntryPayload, Membership, StoredMembership, Vote};

use super::{Command, Types};
use crate::entry::{Entry, Payload};
use crate::member::Member;
use crate::record;

type OpenMembership = Membership<u64, Member>;

pub(super) fn log_id(id: record::LogId) -> LogIdOf<Types> {
    LogIdOf::<Types>::new_term_index(id.term, id.index)
}

pub(super) fn log_id_record(id: &LogIdOf<Types>) -> record::LogId {
    record::LogId { term: id.committed_leader_id().term, index: id.index() }
}

pub(super) fn log_id_option(id: Option<record::LogId>) -> Option<LogIdOf<Types>> {
    id.map(log_id)
}

pub(super) fn log_id_option_record(id: &Option<LogIdOf<Types>>) -> Option<record::LogId> {
    id.as_ref().map(log_id_record)
}

pub(super) fn vote(vote: record::Vote) -> VoteOf<Types> {
    match vote.committed {
        true => Vote::new_committed(vote.term, vote.member),
        false => Vote::new(vote.term, vote.member),
    }
}

pub(super) fn vote_record(vote: &VoteOf<Types>) -> record::Vote {
    record::Vote { term: vote.leader_id.term, member: vote.leader_id.voted_for, committed: vote.committed }
}

pub(super) fn member_record(id: u64, member: &Member) -> record::Member {
    record::Member {
        id,
        name: member.name.clone(),
        peer_url: member.peer_url.clone(),
        client_urls: member.client_urls.clone(),
    }
}

pub(super) fn member(record: record::Member) -> (u64, Member) {
    let member = Member { name: record.name, peer_url: record.peer_url, client_urls: record.client_urls };
    (record.id, member)
}

pub(super) fn membership(record: record::Membership) -> Result<OpenMembership, String> {
    if record == record::Membership::default() {
        return Ok(OpenMembership::default());
    }
    let voters: Vec<BTreeSet<u64>> = record.voters.into_iter().map(|set| set.into_iter().collect()).collect();
    let members: BTreeMap<u64, Member> = record.members.into_iter().map(member).collect();
    OpenMembership::new(voters, members).map_err(|error| format!("impossible membership: {error}"))
}

pub(super) fn membership_record(membership: &OpenMembership) -> record::Membership {
    let voters = membership.get_joint_config().iter().map(|set| set.iter().copied().collect()).collect();
    let members = membership.nodes().map(|(id, member)| member_record(*id, member)).collect();
    record::Membership { voters, members }
}

pub(super) fn stored_membership(position: &record::Position) -> Result<StoredMembershipOf<Types>, String> {
    let membership = membership(position.membership.clone())?;
    Ok(StoredMembership::new(log_id_option(position.membership_id), membership))
}

pub(super) fn snapshot_meta(position: &record::Position) -> Result<SnapshotMetaOf<Types>, String> {
    Ok(SnapshotMetaOf::<Types> {
        last_log_id: log_id_option(position.applied),
        last_membership: stored_membership(position)?,
    })
}

pub(super) fn position(meta: &SnapshotMetaOf<Types>) -> record::Position {
    record::Position {
        applied: log_id_option_record(&meta.last_log_id),
        membership_id: log_id_option_record(meta.last_membership.log_id()),
        membership: membership_record(meta.last_membership.membership()),
    }
}

pub(super) fn entry(entry: Entry) -> Result<EntryOf<Types>, String> {
    let payload = match entry.payload {
        Payload::Blank => EntryPayload::Blank,
        Payload::Command(command) => EntryPayload::Normal(Command(command)),
        Payload::Membership(record) => EntryPayload::Membership(membership(record)?),
    };
    Ok(EntryOf::<Types> { log_id: log_id(entry.id), payload })
}

pub(super) fn entry_back(entry: EntryOf<Types>) -> Entry {
    let id = log_id_record(&entry.log_id());
    let payload = match entry.payload {
        EntryPayload::Blank => Payload::Blank,
        EntryPayload::Normal(Command(command)) => Payload::Command(command),
        EntryPayload::Membership(membership) => Payload::Membership(membership_record(&membership)),
    };
    Entry { id, payload }
}

fn entry_record(entry: &EntryOf<Types>) -> record::Entry<'_> {
    let payload = match &entry.payload {
        EntryPayload::Blank => record::Payload::Blank,
        EntryPayload::Normal(Command(command)) => record::Payload::Command(command),
        EntryPayload::Membership(membership) => record::Payload::Membership(membership_record(membership)),
    };
    record::Entry { id: log_id_record(&entry.log_id), payload }
}

/// The entry at which a message ends: its last one, or the one it follows.
pub(super) fn end(request: &AppendEntriesRequest<Types>) -> Option<record::LogId> {
    let last = request.entries.last().map(|entry| &entry.log_id);
    last.or(request.prev_log_id.as_ref()).map(log_id_record)
}

pub(super) fn append_record(request: &AppendEntriesRequest<Types>) -> record::Append<'_> {
    record::Append {
        vote: vote_record(&request.vote),
        previous: log_id_option_record(&request.prev_log_id),
        committed: log_id_option_record(&request.leader_commit),
        entries: request.entries.iter().map(entry_record).collect(),
    }
}

/// `record` borrows from `buffer`; the commands will share it.
pub(super) fn append(
    record: record::Append<'_>,
    buffer: &Bytes,
) -> Result<AppendEntriesRequest<Types>, String> {
    let entries = record.entries.into_iter().map(|item| entry(Entry::from_record(item, buffer)));
    Ok(AppendEntriesRequest {
        vote: vote(record.vote),
        prev_log_id: log_id_option(record.previous),
        entries: entries.collect::<Result<_, _>>()?,
        leader_commit: log_id_option(record.committed),
    })
}

pub(super) fn appended_record(result: &StreamAppendResult<Types>) -> record::Appended {
    match result {
        Ok(matched) => record::Appended::Matched(log_id_option_record(matched)),
        Err(StreamAppendError::Conflict(id)) => record::Appended::Conflict(log_id_record(id)),
        Err(StreamAppendError::HigherVote(vote)) => record::Appended::HigherVote(vote_record(vote)),
    }
}

pub(super) fn appended(record: record::Appended) -> StreamAppendResult<Types> {
    match record {
        record::Appended::Matched(matched) => Ok(log_id_option(matched)),
        record::Appended::Conflict(id) => Err(StreamAppendError::Conflict(log_id(id))),
        record::Appended::HigherVote(higher) => Err(StreamAppendError::HigherVote(vote(higher))),
    }
}

pub(super) fn ballot_record(request: &VoteRequest<Types>) -> record::Ballot {
    record::Ballot {
        vote: vote_record(&request.vote),
        last: log_id_option_record(&request.last_log_id),
        transfer: request.leadership_transfer,
    }
}

pub(super) fn ballot(record: record::Ballot) -> VoteRequest<Types> {
    VoteRequest {
        vote: vote(record.vote),
        last_log_id: log_id_option(record.last),
        leadership_transfer: record.transfer,
    }
}

pub(super) fn ballot_answer_record(answer: &VoteResponse<Types>) -> record::BallotAnswer {
    record::BallotAnswer {
        vote: vote_record(&answer.vote),
        granted: answer.vote_granted,
        last: log_id_option_record(&answer.last_log_id),
    }
}

pub(super) fn ballot_answer(record: record::BallotAnswer) -> VoteResponse<Types> {
    VoteResponse {
        vote: vote(record.vote),
        vote_granted: record.granted,
        last_log_id: log_id_option(record.last),
    }
}

pub(super) fn transfer_record(request: &TransferLeaderRequest<Types>) -> record::Transfer {
    record::Transfer {
        from: vote_record(request.from_leader()),
        to: *request.to_node_id(),
        last: request.last_log_id().map(log_id_record),
    }
}

pub(super) fn transfer(record: record::Transfer) -> TransferLeaderRequest<Types> {
    TransferLeaderRequest::new(vote(record.from), record.to, log_id_option(record.last))
}

pub(super) fn transfer_answer_record(answer: &TransferLeaderResponse<Types>) -> record::TransferAnswer {
    match answer {
        Ok(()) => record::TransferAnswer::Accepted,
        Err(TransferLeaderError::VoteChanged { expected, actual }) => record::TransferAnswer::VoteChanged {
            expected: vote_record(expected),
            actual: vote_record(actual),
        },
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
            record::TransferAnswer::LogNotFlushed {
                expected: log_id_option_record(expected),
                actual: log_id_option_record(actual),
            }
        }
    }
}

pub(super) fn transfer_answer(record: record::TransferAnswer) -> TransferLeaderResponse<Types> {
    match record {
        record::TransferAnswer::Accepted => Ok(()),
        record::TransferAnswer::VoteChanged { expected, actual } => {
            Err(TransferLeaderError::VoteChanged { expected: vote(expected), actual: vote(actual) })
        }
        record::TransferAnswer::LogNotFlushed { expected, actual } => {
            Err(TransferLeaderError::LogNotFlushed {
                expected: log_id_option(expected),
                actual: log_id_option(actual),
            })
        }
    }
}
