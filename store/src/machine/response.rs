//! What the state machine answers to a command, as bytes.

use bincode::{BorrowDecode, Encode};
use bytes::Bytes;
use store_client::{Denial, Error as Refusal, KeyValue, LeaseId, OpResult, RangeResult, Revision, TxnResult};

use crate::codec::{self, Nested, Nesting};

/// An answer, owned.
#[derive(Clone, Debug)]
pub enum Response {
    /// The command was refused.
    Refused(Refusal),
    /// Of a transaction.
    Txn(TxnResult),
    /// Of everything that only has a revision to report.
    Done(Revision),
    /// Of renewals: granted time to live of each lease in seconds, `None` for those that do not exist.
    Renewed(Vec<Option<i64>>),
}

impl Response {
    /// The answer's bytes.
    pub fn encode(&self) -> Result<Bytes, codec::Error> {
        codec::encode(&match self {
            Self::Refused(refusal) => ResponseRecord::Refused(refusal_record(refusal)),
            Self::Txn(result) => ResponseRecord::Txn(txn_record(result)),
            Self::Done(revision) => ResponseRecord::Done(revision.0),
            Self::Renewed(leases) => ResponseRecord::Renewed(leases.clone()),
        })
    }

    /// Reads an answer; its byte strings are slices of `bytes`.
    pub fn decode(bytes: &Bytes) -> Result<Self, codec::Error> {
        Ok(match codec::decode(bytes)? {
            ResponseRecord::Refused(record) => Self::Refused(refusal(&record)?),
            ResponseRecord::Txn(record) => Self::Txn(txn(&record, bytes)),
            ResponseRecord::Done(revision) => Self::Done(Revision(revision)),
            ResponseRecord::Renewed(leases) => Self::Renewed(leases),
        })
    }
}

#[derive(Encode, BorrowDecode)]
#[bincode(decode_context = "Nesting")]
enum ResponseRecord<'a> {
    Refused(RefusalRecord<'a>),
    Txn(TxnRecord<'a>),
    Done(i64),
    Renewed(Vec<Option<i64>>),
}

#[derive(Encode, BorrowDecode)]
enum RefusalRecord<'a> {
    Compacted(i64),
    Future(i64),
    LeaseNotFound,
    LeaseExists,
    Invalid(&'a str),
    TooLarge(&'a str),
    Internal(&'a str),
    /// Place in [`Denial::ALL`].
    Denied(u8),
    Unavailable(&'a str),
}

#[derive(Encode, BorrowDecode)]
#[bincode(decode_context = "Nesting")]
struct TxnRecord<'a> {
    revision: i64,
    succeeded: bool,
    results: Vec<ResultRecord<'a>>,
}

#[derive(Encode, BorrowDecode)]
#[bincode(decode_context = "Nesting")]
enum ResultRecord<'a> {
    Range { revision: i64, kvs: Vec<KvRecord<'a>>, more: bool, count: i64 },
    Put(Option<KvRecord<'a>>),
    Delete { deleted: i64, prev_kvs: Vec<KvRecord<'a>> },
    Txn(Nested<TxnRecord<'a>>),
}

#[derive(Encode, BorrowDecode)]
struct KvRecord<'a> {
    key: &'a [u8],
    value: &'a [u8],
    create: i64,
    modified: i64,
    version: i64,
    lease: i64,
}

fn refusal_record(refusal: &Refusal) -> RefusalRecord<'_> {
    match refusal {
        Refusal::Compacted { oldest } => RefusalRecord::Compacted(oldest.0),
        Refusal::FutureRevision { newest } => RefusalRecord::Future(newest.0),
        Refusal::LeaseNotFound => RefusalRecord::LeaseNotFound,
        Refusal::LeaseExists => RefusalRecord::LeaseExists,
        Refusal::Invalid(text) => RefusalRecord::Invalid(text),
        Refusal::TooLarge(text) => RefusalRecord::TooLarge(text),
        Refusal::Denied(denial) => {
            let place = Denial::ALL.iter().position(|listed| listed == denial);
            let place = place.and_then(|place| u8::try_from(place).ok());
            RefusalRecord::Denied(place.expect("all denials are listed, and they are few"))
        }
        Refusal::Unavailable(text) => RefusalRecord::Unavailable(text),
        Refusal::NoSpace(text) | Refusal::Timeout(text) | Refusal::Internal(text) => {
            RefusalRecord::Internal(text)
        }
        Refusal::Slow => RefusalRecord::Internal("slow"),
    }
}

fn refusal(record: &RefusalRecord<'_>) -> Result<Refusal, codec::Error> {
    Ok(match record {
        RefusalRecord::Compacted(oldest) => Refusal::Compacted { oldest: Revision(*oldest) },
        RefusalRecord::Future(newest) => Refusal::FutureRevision { newest: Revision(*newest) },
        RefusalRecord::LeaseNotFound => Refusal::LeaseNotFound,
        RefusalRecord::LeaseExists => Refusal::LeaseExists,
        RefusalRecord::Invalid(text) => Refusal::Invalid((*text).to_owned()),
        RefusalRecord::TooLarge(text) => Refusal::TooLarge((*text).to_owned()),
        RefusalRecord::Internal(text) => Refusal::Internal((*text).to_owned()),
        RefusalRecord::Denied(place) => match Denial::ALL.get(usize::from(*place)) {
            Some(denial) => Refusal::Denied(*denial),
            None => return Err(codec::Error::Malformed(format!("denial {place}"))),
        },
        RefusalRecord::Unavailable(text) => Refusal::Unavailable((*text).to_owned()),
    })
}

fn txn_record(result: &TxnResult) -> TxnRecord<'_> {
    TxnRecord {
        revision: result.revision.0,
        succeeded: result.succeeded,
        results: result.results.iter().map(result_record).collect(),
    }
}

fn result_record(result: &OpResult) -> ResultRecord<'_> {
    match result {
        OpResult::Range(range) => ResultRecord::Range {
            revision: range.revision.0,
            kvs: range.kvs.iter().map(kv_record).collect(),
            more: range.more,
            count: range.count,
        },
        OpResult::Put { prev_kv } => ResultRecord::Put(prev_kv.as_ref().map(kv_record)),
        OpResult::Delete { deleted, prev_kvs } => {
            ResultRecord::Delete { deleted: *deleted, prev_kvs: prev_kvs.iter().map(kv_record).collect() }
        }
        OpResult::Txn(nested) => ResultRecord::Txn(Nested(txn_record(nested))),
    }
}

fn kv_record(kv: &KeyValue) -> KvRecord<'_> {
    KvRecord {
        key: &kv.key,
        value: &kv.value,
        create: kv.create_revision.0,
        modified: kv.mod_revision.0,
        version: kv.version,
        lease: kv.lease.0,
    }
}

fn txn(record: &TxnRecord<'_>, source: &Bytes) -> TxnResult {
    TxnResult {
        revision: Revision(record.revision),
        succeeded: record.succeeded,
        results: record.results.iter().map(|record| result(record, source)).collect(),
    }
}

fn result(record: &ResultRecord<'_>, source: &Bytes) -> OpResult {
    match record {
        ResultRecord::Range { revision, kvs, more, count } => OpResult::Range(RangeResult {
            revision: Revision(*revision),
            kvs: kvs.iter().map(|record| kv(record, source)).collect(),
            more: *more,
            count: *count,
        }),
        ResultRecord::Put(prev) => OpResult::Put { prev_kv: prev.as_ref().map(|record| kv(record, source)) },
        ResultRecord::Delete { deleted, prev_kvs } => OpResult::Delete {
            deleted: *deleted,
            prev_kvs: prev_kvs.iter().map(|record| kv(record, source)).collect(),
        },
        ResultRecord::Txn(Nested(nested)) => OpResult::Txn(txn(nested, source)),
    }
}

fn kv(record: &KvRecord<'_>, source: &Bytes) -> KeyValue {
    KeyValue {
        key: source.slice_ref(record.key),
        value: source.slice_ref(record.value),
        create_revision: Revision(record.create),
        mod_revision: Revision(record.modified),
        version: record.version,
        lease: LeaseId(record.lease),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::RECORD_BYTES_MAX;

    #[test]
    fn nesting_is_bounded_by_the_reader() {
        let deep = |depth: usize| {
            let mut bytes = b"\x02\x01".to_vec();
            (0..depth).for_each(|_| bytes.extend([0, 0, 1, 3]));
            bytes.extend([0; 3]);
            Response::decode(&bytes.into())
        };
        assert!(matches!(deep(1), Ok(Response::Txn(result)) if result.results.len() == 1));
        assert!(deep(RECORD_BYTES_MAX / 8).is_err());
    }
}
