//! What Raft replicates for the store.
//!
//! The records mirror the vocabulary of [`store_client`]; they are apart because their bytes are kept for ever.
//! Variants and fields are only ever added at the end.

use bincode::{BorrowDecode, Encode};
use bytes::Bytes;
use store_client::{Compare, KeyRange, LeaseId, Op, Order, Range, Revision, Target, Txn};

use crate::auth::change::ChangeRecord;
use crate::auth::{Caller, Change};
use crate::codec::{self, Nested, Nesting};
use crate::mvcc::alarms::Raised;

/// A command, owned.
#[derive(Clone, Debug)]
pub enum Command {
    /// Run a transaction.
    Txn(Txn),
    /// Forget history before a revision.
    Compact(Revision),
    /// Grant a lease.
    LeaseGrant {
        /// Chosen by the proposer, never 0.
        id: LeaseId,
        /// Time to live in seconds.
        ttl_s: i64,
    },
    /// End a lease.
    LeaseRevoke(LeaseId),
    /// Renew leases.
    LeaseRenew(Vec<LeaseId>),
    /// End leases whose time is up, as the leader of a term sees it. Without effect in any other term.
    LeaseExpire {
        /// The term in which the leader decided.
        term: u64,
        /// The leases, each with the index of its last renewal that the leader knew.
        leases: Vec<(LeaseId, u64)>,
    },
    /// Note that the newest revision is the newest at a time, as the leader's clock has it.
    Note {
        /// Milliseconds since 1970 UTC.
        unix_ms: u64,
    },
    /// Change users, roles or tokens.
    Auth(Change),
    /// Raise or end an alarm.
    Alarm {
        /// Which.
        raised: Raised,
        /// Whether it is raised.
        on: bool,
    },
}

impl Command {
    /// The command's bytes.
    pub fn encode(&self) -> Result<Bytes, codec::Error> {
        codec::encode(&self.record())
    }

    /// The bytes of the command as somebody proposes it, who may be refused.
    pub fn encode_for(&self, caller: &Caller) -> Result<Bytes, codec::Error> {
        let (user, auth_revision) = match (caller, self) {
            (Caller::Trusted, _) => return self.encode(),
            (Caller::Nobody, Self::Txn(txn)) => {
                return codec::encode(&CommandRecord::TxnOfNobody(txn_record(txn)));
            }
            (Caller::Nobody, _) => ("", 0),
            (Caller::User(identity), _) => (identity.name.as_str(), identity.revision),
        };
        codec::encode(&CommandRecord::Of { user, auth_revision, command: &self.encode()? })
    }

    fn record(&self) -> CommandRecord<'_> {
        match self {
            Self::Txn(txn) => CommandRecord::Txn(txn_record(txn)),
            Self::Compact(revision) => CommandRecord::Compact(revision.0),
            Self::LeaseGrant { id, ttl_s } => CommandRecord::LeaseGrant { id: id.0, ttl_s: *ttl_s },
            Self::LeaseRevoke(id) => CommandRecord::LeaseRevoke(id.0),
            Self::LeaseRenew(ids) => CommandRecord::LeaseRenew(ids.iter().map(|id| id.0).collect()),
            Self::LeaseExpire { term, leases } => CommandRecord::LeaseExpire {
                term: *term,
                leases: leases.iter().map(|(id, renewed)| (id.0, *renewed)).collect(),
            },
            Self::Note { unix_ms } => CommandRecord::Note { unix_ms: *unix_ms },
            Self::Auth(change) => CommandRecord::Auth(change.record()),
            Self::Alarm { raised: Raised { member, kind, by_hand }, on } => {
                CommandRecord::Alarm { member: *member, kind: *kind, by_hand: *by_hand, on: *on }
            }
        }
    }

    /// Reads a command and who proposed it; its byte strings are slices of `bytes`.
    pub fn decode_with_caller(bytes: &Bytes) -> Result<(Caller, Self), codec::Error> {
        match codec::decode(bytes)? {
            CommandRecord::TxnOfNobody(record) => Ok((Caller::Nobody, Self::Txn(txn(&record, bytes)?))),
            CommandRecord::Of { user, auth_revision, command } => {
                let caller = match user {
                    "" => Caller::Nobody,
                    user => Caller::user(user, auth_revision),
                };
                Ok((caller, Self::decode(&bytes.slice_ref(command))?))
            }
            record => Ok((Caller::Trusted, Self::of_record(record, bytes)?)),
        }
    }

    /// Reads a command that nobody else proposed; its byte strings are slices of `bytes`.
    pub fn decode(bytes: &Bytes) -> Result<Self, codec::Error> {
        Self::of_record(codec::decode(bytes)?, bytes)
    }

    fn of_record(record: CommandRecord<'_>, bytes: &Bytes) -> Result<Self, codec::Error> {
        Ok(match record {
            CommandRecord::Txn(record) => Self::Txn(txn(&record, bytes)?),
            CommandRecord::Compact(revision) => Self::Compact(Revision(revision)),
            CommandRecord::LeaseGrant { id, ttl_s } => Self::LeaseGrant { id: LeaseId(id), ttl_s },
            CommandRecord::LeaseRevoke(id) => Self::LeaseRevoke(LeaseId(id)),
            CommandRecord::LeaseRenew(ids) => Self::LeaseRenew(ids.into_iter().map(LeaseId).collect()),
            CommandRecord::LeaseExpire { term, leases } => Self::LeaseExpire {
                term,
                leases: leases.into_iter().map(|(id, renewed)| (LeaseId(id), renewed)).collect(),
            },
            CommandRecord::Note { unix_ms } => Self::Note { unix_ms },
            CommandRecord::Alarm { member, kind, by_hand, on } => {
                Self::Alarm { raised: Raised { member, kind, by_hand }, on }
            }
            CommandRecord::Auth(record) => Self::Auth(Change::of_record(&record)?),
            CommandRecord::TxnOfNobody(_) | CommandRecord::Of { .. } => {
                return Err(codec::Error::Malformed("a command within a command".to_owned()));
            }
        })
    }
}

#[derive(Encode, BorrowDecode)]
#[bincode(decode_context = "Nesting")]
enum CommandRecord<'a> {
    Txn(TxnRecord<'a>),
    Compact(i64),
    LeaseGrant {
        id: i64,
        ttl_s: i64,
    },
    LeaseRevoke(i64),
    LeaseRenew(Vec<i64>),
    LeaseExpire {
        term: u64,
        leases: Vec<(i64, u64)>,
    },
    Note {
        unix_ms: u64,
    },
    Auth(ChangeRecord<'a>),
    /// A transaction of a client that did not say who it is: what most are while auth is off, so it costs nothing.
    TxnOfNobody(TxnRecord<'a>),
    /// A command of a client; no user for one that did not say who it is. The command is one of those above.
    Of {
        user: &'a str,
        auth_revision: u64,
        command: &'a [u8],
    },
    /// An alarm is raised or ended.
    Alarm {
        member: u64,
        kind: u8,
        by_hand: bool,
        on: bool,
    },
}

#[derive(Encode, BorrowDecode)]
#[bincode(decode_context = "Nesting")]
struct TxnRecord<'a> {
    compare: Vec<CompareRecord<'a>>,
    success: Vec<OpRecord<'a>>,
    failure: Vec<OpRecord<'a>>,
}

#[derive(Encode, BorrowDecode)]
enum KeysRecord<'a> {
    Key(&'a [u8]),
    Interval(&'a [u8], &'a [u8]),
    From(&'a [u8]),
}

#[derive(Encode, BorrowDecode)]
struct CompareRecord<'a> {
    keys: KeysRecord<'a>,
    target: TargetRecord<'a>,
    order: u8,
}

#[derive(Encode, BorrowDecode)]
enum TargetRecord<'a> {
    Version(i64),
    Create(i64),
    Mod(i64),
    Value(&'a [u8]),
    Lease(i64),
}

#[derive(Encode, BorrowDecode)]
#[bincode(decode_context = "Nesting")]
enum OpRecord<'a> {
    Range { keys: KeysRecord<'a>, revision: i64, limit: u64, keys_only: bool, count_only: bool },
    Put { key: &'a [u8], value: &'a [u8], lease: i64, prev_kv: bool, ignore_value: bool, ignore_lease: bool },
    Delete { keys: KeysRecord<'a>, prev_kv: bool },
    Txn(Nested<TxnRecord<'a>>),
}

fn txn_record(txn: &Txn) -> TxnRecord<'_> {
    TxnRecord {
        compare: txn.compare.iter().map(compare_record).collect(),
        success: txn.success.iter().map(op_record).collect(),
        failure: txn.failure.iter().map(op_record).collect(),
    }
}

fn keys_record(keys: &KeyRange) -> KeysRecord<'_> {
    match keys {
        KeyRange::Key(key) => KeysRecord::Key(key),
        KeyRange::Interval { start, end } => KeysRecord::Interval(start, end),
        KeyRange::From(start) => KeysRecord::From(start),
    }
}

fn compare_record(compare: &Compare) -> CompareRecord<'_> {
    CompareRecord {
        keys: keys_record(&compare.keys),
        target: match &compare.target {
            Target::Version(version) => TargetRecord::Version(*version),
            Target::CreateRevision(revision) => TargetRecord::Create(revision.0),
            Target::ModRevision(revision) => TargetRecord::Mod(revision.0),
            Target::Value(value) => TargetRecord::Value(value),
            Target::Lease(lease) => TargetRecord::Lease(lease.0),
        },
        order: match compare.order {
            Order::Equal => 0,
            Order::NotEqual => 1,
            Order::Less => 2,
            Order::Greater => 3,
        },
    }
}

fn op_record(op: &Op) -> OpRecord<'_> {
    match op {
        Op::Range(range) => OpRecord::Range {
            keys: keys_record(&range.keys),
            revision: range.revision.0,
            limit: range.limit as u64,
            keys_only: range.keys_only,
            count_only: range.count_only,
        },
        Op::Put { key, value, lease, prev_kv, ignore_value, ignore_lease } => OpRecord::Put {
            key,
            value,
            lease: lease.0,
            prev_kv: *prev_kv,
            ignore_value: *ignore_value,
            ignore_lease: *ignore_lease,
        },
        Op::Delete { keys, prev_kv } => OpRecord::Delete { keys: keys_record(keys), prev_kv: *prev_kv },
        Op::Txn(nested) => OpRecord::Txn(Nested(txn_record(nested))),
    }
}

fn txn(record: &TxnRecord<'_>, source: &Bytes) -> Result<Txn, codec::Error> {
    let ops = |records: &[OpRecord<'_>]| {
        records.iter().map(|record| op(record, source)).collect::<Result<Vec<_>, codec::Error>>()
    };
    Ok(Txn {
        compare: record.compare.iter().map(|record| compare(record, source)).collect::<Result<_, _>>()?,
        success: ops(&record.success)?,
        failure: ops(&record.failure)?,
    })
}

fn keys(record: &KeysRecord<'_>, source: &Bytes) -> KeyRange {
    match record {
        KeysRecord::Key(key) => KeyRange::Key(source.slice_ref(key)),
        KeysRecord::Interval(start, end) => {
            KeyRange::Interval { start: source.slice_ref(start), end: source.slice_ref(end) }
        }
        KeysRecord::From(start) => KeyRange::From(source.slice_ref(start)),
    }
}

fn compare(record: &CompareRecord<'_>, source: &Bytes) -> Result<Compare, codec::Error> {
    Ok(Compare {
        keys: keys(&record.keys, source),
        target: match &record.target {
            TargetRecord::Version(version) => Target::Version(*version),
            TargetRecord::Create(revision) => Target::CreateRevision(Revision(*revision)),
            TargetRecord::Mod(revision) => Target::ModRevision(Revision(*revision)),
            TargetRecord::Value(value) => Target::Value(source.slice_ref(value)),
            TargetRecord::Lease(lease) => Target::Lease(LeaseId(*lease)),
        },
        order: match record.order {
            0 => Order::Equal,
            1 => Order::NotEqual,
            2 => Order::Less,
            3 => Order::Greater,
            other => return Err(codec::Error::Malformed(format!("comparison {other}"))),
        },
    })
}

fn op(record: &OpRecord<'_>, source: &Bytes) -> Result<Op, codec::Error> {
    Ok(match record {
        OpRecord::Range { keys: range, revision, limit, keys_only, count_only } => Op::Range(Range {
            keys: keys(range, source),
            revision: Revision(*revision),
            limit: usize::try_from(*limit).unwrap_or(usize::MAX),
            keys_only: *keys_only,
            count_only: *count_only,
            serializable: false,
        }),
        OpRecord::Put { key, value, lease, prev_kv, ignore_value, ignore_lease } => Op::Put {
            key: source.slice_ref(key),
            value: source.slice_ref(value),
            lease: LeaseId(*lease),
            prev_kv: *prev_kv,
            ignore_value: *ignore_value,
            ignore_lease: *ignore_lease,
        },
        OpRecord::Delete { keys: range, prev_kv } => {
            Op::Delete { keys: keys(range, source), prev_kv: *prev_kv }
        }
        OpRecord::Txn(Nested(nested)) => Op::Txn(txn(nested, source)?),
    })
}

#[cfg(test)]
mod tests {
    use store_client::limits::TXN_DEPTH_MAX;

    use super::*;
    use crate::limits::RECORD_BYTES_MAX;

    #[test]
    fn commands_read_back_and_keep_their_bytes() {
        let put = Command::Txn(Txn {
            compare: vec![Compare::mod_revision("k", Revision(3))],
            success: vec![Op::put("k", "v")],
            failure: vec![Op::get("k"), Op::Txn(Txn::default())],
        });
        let bytes = put.encode().unwrap();
        assert_eq!(format!("{:?}", Command::decode(&bytes).unwrap()), format!("{put:?}"));
        let renew = Command::LeaseRenew(vec![LeaseId(7)]);
        assert_eq!(renew.encode().unwrap().as_ref(), b"\x02\x04\x01\x0e");
        let former = Bytes::from_static(b"\x01\x04\0\0\0\x01\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0");
        assert_eq!(format!("{:?}", Command::decode(&former).unwrap()), format!("{renew:?}"));
    }

    #[test]
    fn who_proposed_a_command_is_read_back() {
        let txn = Command::Txn(Txn { success: vec![Op::put("k", "v")], ..Txn::default() });
        let compact = Command::Compact(Revision(7));
        let callers = [Caller::Trusted, Caller::Nobody, Caller::user("ann", 9)];
        for caller in callers {
            for command in [&txn, &compact] {
                let bytes = command.encode_for(&caller).unwrap();
                let (found, read) = Command::decode_with_caller(&bytes).unwrap();
                assert_eq!(found, caller);
                assert_eq!(format!("{read:?}"), format!("{command:?}"));
            }
        }
        let nobody = txn.encode_for(&Caller::Nobody).unwrap();
        assert_eq!(nobody.len(), txn.encode().unwrap().len(), "nothing more to write while auth is off");
        let ann = Caller::user("ann", 9);
        let inner = txn.encode_for(&ann).unwrap();
        let nested = CommandRecord::Of { user: "root", auth_revision: 9, command: &inner };
        let nested = codec::encode(&nested).unwrap();
        assert!(Command::decode_with_caller(&nested).is_err(), "one command, one caller");
        assert!(Command::decode(&inner).is_err());
    }

    /// The bytes of so many transactions inside of each other, as a member would write them that knows no bound.
    fn deep(depth: usize) -> Bytes {
        let mut bytes = b"\x02\0".to_vec();
        (0..depth).for_each(|_| bytes.extend([0, 1, 3]));
        // The innermost has nothing; then each has no failure.
        bytes.extend([0; 3]);
        bytes.extend(vec![0; depth]);
        bytes.into()
    }

    #[test]
    fn nesting_is_bounded_by_the_reader() {
        let mut txn = Txn::default();
        for _ in 0..TXN_DEPTH_MAX {
            assert_eq!(Command::Txn(txn.clone()).encode().unwrap(), deep(depth_of(&txn)));
            txn = Txn { success: vec![Op::Txn(txn)], ..Txn::default() };
        }
        assert!(Command::decode(&deep(TXN_DEPTH_MAX)).is_ok(), "all that a client may ask for");
        for depth in [TXN_DEPTH_MAX + 1, 1000, RECORD_BYTES_MAX / 8] {
            assert!(Command::decode(&deep(depth)).is_err(), "{depth}");
            assert!(Command::decode_with_caller(&deep(depth)).is_err(), "{depth}");
        }
        let side_by_side =
            Txn { success: vec![Op::Txn(Txn::default()); 3 * TXN_DEPTH_MAX], ..Txn::default() };
        assert!(
            Command::decode(&Command::Txn(side_by_side).encode().unwrap()).is_ok(),
            "not depth but width"
        );
    }

    fn depth_of(txn: &Txn) -> usize {
        match txn.success.first() {
            Some(Op::Txn(inner)) => 1 + depth_of(inner),
            _ => 0,
        }
    }

    #[test]
    fn what_is_not_a_command_is_refused() {
        let good = Command::LeaseRevoke(LeaseId(1)).encode().unwrap();
        let mut other_format = good.to_vec();
        other_format[0] = 9;
        let mut longer = good.to_vec();
        longer.push(0);
        let huge = b"\x02\x04\xfd\xff\xff\xff\xff\xff\xff\xff\x7f".to_vec();
        for broken in [Vec::new(), good[..good.len() - 1].to_vec(), other_format, longer, huge] {
            assert!(Command::decode(&broken.clone().into()).is_err(), "{broken:?}");
        }
    }
}
