//! The client's words and etcd's messages for the same things.

use bytes::Bytes;
use proto::etcd::{etcdserverpb as pb, mvccpb};
use tonic::{Code, Status};

use super::{NEWEST_REVISION, OLDEST_REVISION};
use crate::{
    Change, ChangeKind, Compare, Denial, Error, KeyRange, KeyValue, LeaseId, Op, OpResult, Order, Range,
    RangeResult, Revision, Target, Txn, TxnResult,
};

/// First key and end of a range as etcd writes them.
pub(super) fn keys(keys: &KeyRange) -> (Bytes, Bytes) {
    match keys {
        KeyRange::Key(key) => (key.clone(), Bytes::new()),
        // etcd has no empty end and no empty start; the first possible key is one zero byte.
        KeyRange::Interval { start, end } if end.is_empty() => (first(start), first(start)),
        KeyRange::Interval { start, end } => (first(start), end.clone()),
        KeyRange::From(start) => (first(start), Bytes::from_static(&[0])),
    }
}

fn first(start: &Bytes) -> Bytes {
    if start.is_empty() { Bytes::from_static(&[0]) } else { start.clone() }
}

pub(super) fn range_request(range: &Range) -> pb::RangeRequest {
    let (key, range_end) = keys(&range.keys);
    pb::RangeRequest {
        key,
        range_end,
        limit: i64::try_from(range.limit).unwrap_or(i64::MAX),
        revision: range.revision.0,
        serializable: range.serializable,
        keys_only: range.keys_only,
        count_only: range.count_only,
        ..Default::default()
    }
}

pub(super) fn txn_request(txn: &Txn) -> pb::TxnRequest {
    pb::TxnRequest {
        compare: txn.compare.iter().map(compare).collect(),
        success: txn.success.iter().map(op).collect(),
        failure: txn.failure.iter().map(op).collect(),
    }
}

fn compare(compare: &Compare) -> pb::Compare {
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};
    let (key, range_end) = keys(&compare.keys);
    let result = match compare.order {
        Order::Equal => CompareResult::Equal,
        Order::NotEqual => CompareResult::NotEqual,
        Order::Less => CompareResult::Less,
        Order::Greater => CompareResult::Greater,
    };
    let (target, union) = match &compare.target {
        Target::Version(version) => (CompareTarget::Version, TargetUnion::Version(*version)),
        Target::CreateRevision(revision) => (CompareTarget::Create, TargetUnion::CreateRevision(revision.0)),
        Target::ModRevision(revision) => (CompareTarget::Mod, TargetUnion::ModRevision(revision.0)),
        Target::Value(value) => (CompareTarget::Value, TargetUnion::Value(value.clone())),
        Target::Lease(lease) => (CompareTarget::Lease, TargetUnion::Lease(lease.0)),
    };
    pb::Compare { result: result.into(), target: target.into(), key, range_end, target_union: Some(union) }
}

fn op(op: &Op) -> pb::RequestOp {
    use pb::request_op::Request;
    let request = match op {
        Op::Range(range) => Request::RequestRange(range_request(range)),
        Op::Put { key, value, lease, prev_kv, ignore_value, ignore_lease } => {
            Request::RequestPut(pb::PutRequest {
                key: key.clone(),
                value: value.clone(),
                lease: lease.0,
                prev_kv: *prev_kv,
                ignore_value: *ignore_value,
                ignore_lease: *ignore_lease,
            })
        }
        Op::Delete { keys: range, prev_kv } => {
            let (key, range_end) = keys(range);
            Request::RequestDeleteRange(pb::DeleteRangeRequest { key, range_end, prev_kv: *prev_kv })
        }
        Op::Txn(nested) => Request::RequestTxn(txn_request(nested)),
    };
    pb::RequestOp { request: Some(request) }
}

pub(super) fn is_read_only(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).all(|op| match op {
        Op::Range(_) => true,
        Op::Put { .. } | Op::Delete { .. } => false,
        Op::Txn(nested) => is_read_only(nested),
    })
}

pub(super) fn revision(header: &Option<pb::ResponseHeader>) -> Revision {
    Revision(header.as_ref().map_or(0, |header| header.revision))
}

fn key_value(kv: mvccpb::KeyValue) -> KeyValue {
    KeyValue {
        key: kv.key,
        value: kv.value,
        create_revision: Revision(kv.create_revision),
        mod_revision: Revision(kv.mod_revision),
        version: kv.version,
        lease: LeaseId(kv.lease),
    }
}

pub(super) fn range_result(response: pb::RangeResponse) -> RangeResult {
    RangeResult {
        revision: revision(&response.header),
        kvs: response.kvs.into_iter().map(key_value).collect(),
        more: response.more,
        count: response.count,
    }
}

pub(super) fn txn_result(response: pb::TxnResponse) -> Result<TxnResult, Error> {
    Ok(TxnResult {
        revision: revision(&response.header),
        succeeded: response.succeeded,
        results: response.responses.into_iter().map(op_result).collect::<Result<_, _>>()?,
    })
}

fn op_result(response: pb::ResponseOp) -> Result<OpResult, Error> {
    use pb::response_op::Response;
    Ok(match response.response {
        Some(Response::ResponseRange(range)) => OpResult::Range(range_result(range)),
        Some(Response::ResponsePut(put)) => OpResult::Put { prev_kv: put.prev_kv.map(key_value) },
        Some(Response::ResponseDeleteRange(delete)) => OpResult::Delete {
            deleted: delete.deleted,
            prev_kvs: delete.prev_kvs.into_iter().map(key_value).collect(),
        },
        Some(Response::ResponseTxn(nested)) => OpResult::Txn(txn_result(nested)?),
        None => return Err(Error::Internal("an operation was answered with nothing".to_owned())),
    })
}

pub(super) fn change(event: mvccpb::Event) -> Change {
    let kind = if event.r#type == i32::from(mvccpb::event::EventType::Delete) {
        ChangeKind::Delete
    } else {
        ChangeKind::Put
    };
    Change { kind, kv: event.kv.map(key_value).unwrap_or_default(), prev_kv: event.prev_kv.map(key_value) }
}

/// Whether a failed request certainly had no effect: it never reached a member, or the member had nobody to ask.
pub(super) fn was_not_received(status: &Status) -> bool {
    if status.message() == "etcdserver: no leader" {
        return true;
    }
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Whether the connection broke before a member answered: only a status made on this side has a cause.
pub(super) fn was_cut_off(status: &Status) -> bool {
    status.code() == Code::Unavailable
        || status.code() == Code::Unknown && std::error::Error::source(status).is_some()
}

/// What a status means.
pub(super) fn error(status: &Status) -> Error {
    let text = status.message().strip_prefix("etcdserver: ").unwrap_or(status.message());
    let told = |name| {
        let value = status.metadata().get(name).and_then(|value| value.to_str().ok());
        Revision(value.and_then(|value| value.parse().ok()).unwrap_or(0))
    };
    if let Some(denial) = Denial::of_text(text) {
        return Error::Denied(denial);
    }
    match (status.code(), text) {
        (_, "mvcc: required revision has been compacted") => {
            Error::Compacted { oldest: told(OLDEST_REVISION) }
        }
        (_, "mvcc: required revision is a future revision") => {
            Error::FutureRevision { newest: told(NEWEST_REVISION) }
        }
        (_, "requested lease not found") => Error::LeaseNotFound,
        (_, "lease already exists") => Error::LeaseExists,
        (_, "mvcc: database space exceeded") => Error::NoSpace(text.to_owned()),
        (_, "request is too large") => Error::TooLarge(text.to_owned()),
        (_, "request timed out") | (Code::DeadlineExceeded | Code::Cancelled, _) => {
            Error::Timeout(text.to_owned())
        }
        (Code::InvalidArgument | Code::OutOfRange | Code::FailedPrecondition | Code::NotFound, _) => {
            Error::Invalid(text.to_owned())
        }
        _ if was_cut_off(status) => Error::Unavailable(text.to_owned()),
        (Code::ResourceExhausted, _) => Error::TooLarge(text.to_owned()),
        (code, _) => Error::Internal(format!("{code:?}: {text}")),
    }
}
