//! Answers without the order of what a sort by something other than keys does not tell apart: the API leaves it open, and etcd's sort is
//! stable or not by how long the range is and which Go compiled it. Ours keeps the order of keys.

use bytes::Bytes;
use proto::etcd::etcdserverpb::{
    RangeRequest, RangeResponse, RequestOp, ResponseOp, TxnRequest, TxnResponse, range_request::SortTarget,
    request_op::Request, response_op::Response,
};
use proto::etcd::mvccpb::KeyValue;

use crate::answers::Answer;
use crate::calls::Call;

/// The answer to a call, with what ties in the order of keys, and without what of that a limit left.
pub fn untied(call: &Call, mut answer: Answer) -> Answer {
    match (call, &mut answer) {
        (Call::Range(asked), Answer::Range(answer)) => untie(asked, answer),
        (Call::Txn(asked), Answer::Txn(answer)) => untie_txn(asked, answer),
        _ => {}
    }
    answer
}

fn untie_txn(asked: &TxnRequest, answer: &mut TxnResponse) {
    let branch = if answer.succeeded { &asked.success } else { &asked.failure };
    for (asked, answer) in branch.iter().zip(&mut answer.responses) {
        let (RequestOp { request: Some(asked) }, ResponseOp { response: Some(answer) }) = (asked, answer)
        else {
            continue;
        };
        match (asked, answer) {
            (Request::RequestRange(asked), Response::ResponseRange(answer)) => untie(asked, answer),
            (Request::RequestTxn(asked), Response::ResponseTxn(answer)) => untie_txn(asked, answer),
            _ => {}
        }
    }
}

fn untie(asked: &RangeRequest, answer: &mut RangeResponse) {
    if asked.sort_target() == SortTarget::Key {
        return;
    }
    let last = answer.more.then(|| answer.kvs.last().map(|kv| rank(asked, kv))).flatten();
    for kvs in answer.kvs.chunk_by_mut(|a, b| rank(asked, a) == rank(asked, b)) {
        kvs.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        // Which of those that tie come before the limit is as open.
        if last == kvs.first().map(|kv| rank(asked, kv)) {
            kvs.fill_with(KeyValue::default);
        }
    }
}

/// What the answer shows of that by which it is sorted.
fn rank(asked: &RangeRequest, kv: &KeyValue) -> (i64, Bytes) {
    match asked.sort_target() {
        SortTarget::Key => (0, kv.key.clone()),
        SortTarget::Version => (kv.version, Bytes::new()),
        SortTarget::Create => (kv.create_revision, Bytes::new()),
        SortTarget::Mod => (kv.mod_revision, Bytes::new()),
        SortTarget::Value => (0, kv.value.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(versions: &[(&'static str, i64)], more: bool) -> Answer {
        let kv = |&(key, version): &(&'static str, i64)| KeyValue {
            key: Bytes::from_static(key.as_bytes()),
            version,
            ..Default::default()
        };
        Answer::Range(RangeResponse { kvs: versions.iter().map(kv).collect(), more, ..Default::default() })
    }

    #[test]
    fn only_what_ties_may_change_places() {
        let by = |target: SortTarget| {
            let range = RangeRequest { sort_target: target.into(), ..Default::default() };
            move |versions: &[(&'static str, i64)], more| {
                untied(&Call::Range(range.clone()), answer(versions, more))
            }
        };
        let by_version = by(SortTarget::Version);
        let sorted = by_version(&[("a", 1), ("b", 2), ("c", 2)], false);
        assert_eq!(sorted, by_version(&[("a", 1), ("c", 2), ("b", 2)], false));
        assert_ne!(sorted, by_version(&[("b", 2), ("a", 1), ("c", 2)], false));
        assert_ne!(sorted, by_version(&[("a", 1), ("d", 2), ("b", 2)], false));
        let cut = by_version(&[("a", 1), ("b", 2)], true);
        assert_eq!(cut, by_version(&[("a", 1), ("c", 2)], true));
        assert_ne!(cut, by_version(&[("d", 1), ("c", 2)], true));
        assert_ne!(cut, by_version(&[("a", 1)], true));
        let by_key = by(SortTarget::Key);
        assert_ne!(by_key(&[("a", 2), ("b", 2)], false), by_key(&[("b", 2), ("a", 2)], false));
    }
}
