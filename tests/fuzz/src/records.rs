//! Records on the disk: the log's, the commands in it, and the tables of the state.

use bytes::Bytes;
use store::auth::password::{self, Hashed};
use store::auth::{Caller, Change, Permission, PermissionKind, token};
use store::machine::{command::Command, response::Response};
use store::mvcc::layout::{self, Before, Done, LeaseRecord, Logged, Version};
use store_client::{
    Compare, KeyRange, KeyValue, LeaseId, Op, OpResult, Order, Range, RangeResult, Revision, Target, Txn,
    TxnResult,
};

/// A sealed entry, a vote, a position and an owner, as the log holds them.
pub fn log_record(bytes: &[u8]) {
    raft::fuzzing::log_record(bytes);
}

/// One of each.
pub fn log_record_seeds() -> Vec<Vec<u8>> {
    raft::fuzzing::log_record_seeds()
}

/// A segment of the log, opened as a start opens it.
pub fn log_segment(bytes: &[u8]) {
    raft::fuzzing::log_segment(bytes);
}

/// Whole logs.
pub fn log_segment_seeds() -> Vec<Vec<u8>> {
    raft::fuzzing::log_segment_seeds()
}

/// A command as it stands in the log, or an answer to one as it crosses the wire.
pub fn command(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    if let Ok(command) = Command::decode(&bytes) {
        let written = command.encode().expect("it was decoded");
        let again = Command::decode(&written).expect("it was encoded");
        assert_eq!(format!("{again:?}"), format!("{command:?}"), "what is understood is written");
        assert_eq!(again.encode().expect("it was decoded"), written, "one command, one encoding of ours");
        assert!(written.len() <= bytes.len(), "ours is the shortest");
    }
    if let Ok((caller, command)) = Command::decode_with_caller(&bytes) {
        let again = command.encode_for(&caller).expect("it was decoded");
        let (same, _) = Command::decode_with_caller(&again).expect("it was encoded");
        assert_eq!(same, caller, "nobody becomes somebody else on the way");
    }
    if let Ok(response) = Response::decode(&bytes) {
        let written = response.encode().expect("it was decoded");
        let again = Response::decode(&written).expect("it was encoded");
        assert_eq!(format!("{again:?}"), format!("{response:?}"), "what is understood is written");
        assert_eq!(again.encode().expect("it was decoded"), written, "one response, one encoding of ours");
        assert!(written.len() <= bytes.len(), "ours is the shortest");
    }
}

/// Commands of every kind, and responses.
pub fn command_seeds() -> Vec<Vec<u8>> {
    let commands = commands().into_iter().map(|command| command.encode());
    let ann = Caller::user("ann", 3);
    let others = [Caller::Nobody, ann].map(|caller| Command::Txn(txn()).encode_for(&caller));
    let responses = responses().into_iter().map(|response| response.encode());
    let records = commands.chain(others).chain(responses);
    records.map(|bytes| bytes.expect("seeds are small").to_vec()).chain([deep()]).collect()
}

/// Transactions inside of each other, many more than any client may ask for and a stack can hold.
fn deep() -> Vec<u8> {
    const DEPTH: usize = 10_000;
    // No comparison; one operation, which is a transaction.
    let level = [&0_u64.to_le_bytes()[..], &1_u64.to_le_bytes(), &3_u32.to_le_bytes()].concat();
    [&b"\x01\0\0\0\0"[..], &level.repeat(DEPTH), &[0; 24], &vec![0; 8 * DEPTH]].concat()
}

/// A command of each kind.
pub fn commands() -> Vec<Command> {
    vec![
        Command::Txn(txn()),
        Command::Txn(Txn { compare: vec![], success: vec![put("a", 0), put("b", 7)], failure: vec![] }),
        Command::Compact(Revision(2)),
        Command::LeaseGrant { id: LeaseId(7), ttl_s: 60 },
        Command::LeaseRenew(vec![LeaseId(7), LeaseId(8)]),
        Command::LeaseExpire { term: 1, leases: vec![(LeaseId(7), 4)] },
        Command::LeaseRevoke(LeaseId(7)),
        Command::Note { unix_ms: 1_700_000_000_000 },
    ]
    .into_iter()
    .chain(changes().into_iter().map(Command::Auth))
    .collect()
}

/// Changes of users and roles in an order in which they have an effect.
fn changes() -> Vec<Change> {
    let text = |text: &str| text.to_owned();
    let permission =
        Permission { kind: PermissionKind::ReadWrite, key: "a".into(), range_end: Bytes::from_static(b"\0") };
    let token = token::id("secret");
    vec![
        Change::UserAdd { name: text("root"), password: Some(Hashed::of("p", password::steps(4))) },
        Change::UserAdd { name: text("ann"), password: None },
        Change::RoleAdd(text("app")),
        Change::RoleGrant { name: text("app"), permission },
        Change::UserGrant { name: text("ann"), role: text("app") },
        Change::UserGrant { name: text("root"), role: text("root") },
        Change::Enable,
        Change::TokenIssue { user: text("root"), revision: 7, token },
        Change::TokensRenew(vec![token]),
        Change::TokensExpire { term: 1, tokens: vec![(token, 1)] },
        Change::RoleRevoke { name: text("app"), key: "a".into(), range_end: Bytes::from_static(b"\0") },
        Change::UserRevoke { name: text("ann"), role: text("app") },
        Change::RoleDelete(text("app")),
        Change::UserPassword { name: text("ann"), password: Hashed::of("q", password::steps(4)) },
        Change::UserDelete(text("ann")),
        Change::Disable,
    ]
}

fn put(key: &'static str, lease: i64) -> Op {
    Op::Put {
        key: key.into(),
        value: "value".into(),
        lease: LeaseId(lease),
        prev_kv: true,
        ignore_value: false,
        ignore_lease: false,
    }
}

fn txn() -> Txn {
    let compare = Compare {
        keys: KeyRange::Key("a".into()),
        target: Target::ModRevision(Revision(0)),
        order: Order::Equal,
    };
    let nested = Txn { compare: vec![compare.clone()], success: vec![put("c", 0)], failure: vec![] };
    let delete = Op::Delete { keys: KeyRange::prefix(Bytes::from_static(b"b")), prev_kv: true };
    let read = Op::Range(Range::new(KeyRange::From(Bytes::new())));
    Txn { compare: vec![compare], success: vec![put("a", 0), Op::Txn(nested), delete], failure: vec![read] }
}

fn responses() -> Vec<Response> {
    let kv = KeyValue {
        key: "k".into(),
        value: "v".into(),
        create_revision: Revision(2),
        mod_revision: Revision(3),
        version: 2,
        lease: LeaseId(0),
    };
    let read = RangeResult { kvs: vec![kv.clone()], more: false, count: 1, revision: Revision(3) };
    let results = vec![
        OpResult::Range(read),
        OpResult::Put { prev_kv: Some(kv.clone()) },
        OpResult::Delete { deleted: 1, prev_kvs: vec![kv] },
    ];
    vec![
        Response::Txn(TxnResult { succeeded: true, results, revision: Revision(4) }),
        Response::Done(Revision(4)),
        Response::Renewed(vec![Some(60), None]),
        Response::Refused(store_client::Error::LeaseNotFound),
    ]
}

/// Records and keys of the tables in which the state is kept.
pub fn state_record(bytes: &[u8]) {
    if let Ok(version) = Version::decode(bytes) {
        assert_eq!(Version::decode(&version.encode()).expect("we wrote it"), version);
    }
    if let Ok(lease) = LeaseRecord::decode(bytes) {
        assert_eq!(LeaseRecord::decode(&lease.encode()).expect("we wrote it"), lease);
    }
    if let Ok((group, _revision)) = layout::split_version_key(bytes) {
        layout::group_key(group);
    }
    let _revision = layout::log_revision(bytes);
    if let Ok(logged) = Logged::decode(bytes) {
        assert_eq!(Logged::decode(&logged.encode()).expect("we wrote it"), logged);
    }
    let _lease = layout::lease_of(bytes);
    layout::attached_key(bytes);
}

/// One of each.
pub fn state_record_seeds() -> Vec<Vec<u8>> {
    let version = Version::Written { age: 0, version: 1, lease: 7, value: b"value" };
    let before = Before { ago: 300, value_bytes: 5 };
    vec![
        Version::Written { age: 300, version: 2, lease: -1, value: b"value" }.encode().to_vec(),
        Version::Deleted.encode().to_vec(),
        LeaseRecord { granted_ttl_s: 60, renewed: 1000 }.encode().to_vec(),
        layout::version_key(b"a\0b", 77).to_vec(),
        layout::log_key(5, 1).to_vec(),
        Logged { done: Done::Written, before: None, key: b"key" }.encode().to_vec(),
        Logged { done: Done::Deleted, before: Some(before), key: b"key" }.encode().to_vec(),
        Logged { done: Done::Passed(version), before: Some(before), key: b"key" }.encode().to_vec(),
        layout::lease_key(-7).to_vec(),
        layout::attachment_key(7, b"key").to_vec(),
    ]
}
