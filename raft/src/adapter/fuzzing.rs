//! What peers send, taken as far as the consensus and no further.

use bytes::Bytes;

use super::convert;
use super::task::Task;
use crate::codec;
use crate::record::{
    Answer, Append, Appended, Ballot, BallotAnswer, Entry, Failure, LogId, Member, Membership, Payload,
    Position, Request, SnapshotAnswer, SnapshotHeader, Transfer, TransferAnswer, Vote,
};

/// Reads a frame as each kind of message there is. What is understood must read back the same.
pub(crate) fn frame(bytes: &[u8]) {
    let frame = Bytes::copy_from_slice(bytes);
    if let Ok(append) = codec::decode::<Append<'_>>(&frame)
        && let Ok(request) = convert::append(append.clone(), &frame)
    {
        let again = codec::encode(&convert::append_record(&request));
        let understood = codec::decode::<Append<'_>>(&again).expect("we wrote it");
        assert_eq!(understood.entries.len(), append.entries.len());
    }
    if let Ok(ballot) = codec::decode_owned::<Ballot>(&frame) {
        assert_eq!(convert::ballot_record(&convert::ballot(ballot.clone())), ballot);
    }
    if let Ok(answer) = codec::decode_owned::<BallotAnswer>(&frame) {
        convert::ballot_answer(answer);
    }
    if let Ok(appended) = codec::decode_owned::<Appended>(&frame) {
        let _result = convert::appended(appended);
    }
    if let Ok(transfer) = codec::decode_owned::<Transfer>(&frame) {
        convert::transfer(transfer);
    }
    if let Ok(answer) = codec::decode_owned::<TransferAnswer>(&frame) {
        let _result = convert::transfer_answer(answer);
    }
    if let Ok(header) = codec::decode_owned::<SnapshotHeader>(&frame) {
        let _meta = convert::snapshot_meta(&header.position);
        convert::vote(header.vote);
    }
    let _answer = codec::decode_owned::<SnapshotAnswer>(&frame);
    if let Ok(request) = codec::decode::<Request<'_>>(&frame) {
        let task = Task::from_record(request.clone(), &frame);
        assert_eq!(task.as_record(), request);
    }
    let _answer = codec::decode::<Answer<'_>>(&frame);
}

/// One frame of each kind.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let vote = Vote { term: 3, member: 1, committed: true };
    let id = LogId { term: 3, index: 9 };
    let member = |id| Member {
        id,
        name: format!("m{id}"),
        peer_url: "http://h:1".into(),
        client_urls: vec!["http://h:2".into()],
    };
    let membership =
        Membership { voters: vec![vec![1, 2], vec![1, 3]], members: vec![member(1), member(2), member(3)] };
    let payloads = [Payload::Blank, Payload::Command(b"command"), Payload::Membership(membership.clone())];
    let entries = payloads.into_iter().map(|payload| Entry { id, payload }).collect();
    let position = Position { applied: Some(id), membership_id: Some(id), membership };
    vec![
        codec::encode(&Append { vote, previous: Some(id), committed: None, entries }),
        codec::encode(&Append { vote, previous: None, committed: Some(id), entries: vec![] }),
        codec::encode(&Ballot { vote, last: Some(id), transfer: false }),
        codec::encode(&BallotAnswer { vote, granted: true, last: None }),
        codec::encode(&Appended::Conflict(id)),
        codec::encode(&Transfer { from: vote, to: 2, last: Some(id) }),
        codec::encode(&TransferAnswer::LogNotFlushed { expected: Some(id), actual: None }),
        codec::encode(&SnapshotHeader { vote, position }),
        codec::encode(&SnapshotAnswer { vote }),
        codec::encode(&Request::Propose(b"command")),
        codec::encode(&Request::AddLearner(member(4))),
        codec::encode(&Answer::Applied { id, response: b"response" }),
        codec::encode(&Answer::Failed(Failure::TooLarge { size: 9, limit: 8 })),
    ]
}
