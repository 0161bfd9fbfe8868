//! X21 and M20: what a role does not allow is denied, in whatever shape it is asked for; and what it allows is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use proto::etcd::etcdserverpb as pb;
use proto::etcd::etcdserverpb::auth_client::AuthClient;
use proto::etcd::etcdserverpb::cluster_client::ClusterClient;
use proto::etcd::etcdserverpb::kv_client::KvClient;
use proto::etcd::etcdserverpb::lease_client::LeaseClient;
use proto::etcd::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcd::v3electionpb::{CampaignRequest, LeaderRequest, election_client::ElectionClient};
use proto::etcd::v3lockpb::{LockRequest, lock_client::LockClient};
use proto::store::history_client::HistoryClient;
use proto::store::{DiffRequest, UndeleteRequest};
use store::auth::{Caller, Change, Permission, PermissionKind};
use store::engine::Pace;
use store::engine::memory::MemoryEngine;
use store::machine::command::Command;
use store::mvcc::draft::Failure;
use store_client::{Denial, Error, Kv, Range, Txn};
use tonic::Status;

use super::{BOTH, DENIED, Line, READ, Store, WRITE, get, grant_role, put, told};
use crate::local::Local;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn put_op(key: &str, lease: i64, prev_kv: bool) -> pb::RequestOp {
    let put = pb::PutRequest { key: bytes(key), value: "v".into(), lease, prev_kv, ..Default::default() };
    pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put)) }
}

fn range_op(key: &str, end: &str) -> pb::RequestOp {
    let range = pb::RangeRequest { key: bytes(key), range_end: bytes(end), ..Default::default() };
    pb::RequestOp { request: Some(pb::request_op::Request::RequestRange(range)) }
}

fn delete_op(key: &str, end: &str, prev_kv: bool) -> pb::RequestOp {
    let delete = pb::DeleteRangeRequest { key: bytes(key), range_end: bytes(end), prev_kv };
    pb::RequestOp { request: Some(pb::request_op::Request::RequestDeleteRange(delete)) }
}

fn nested(success: Vec<pb::RequestOp>, failure: Vec<pb::RequestOp>) -> pb::RequestOp {
    let txn = pb::TxnRequest { success, failure, ..Default::default() };
    pb::RequestOp { request: Some(pb::request_op::Request::RequestTxn(txn)) }
}

fn compare(key: &str, end: &str) -> pb::Compare {
    let target_union = Some(pb::compare::TargetUnion::Version(0));
    pb::Compare { key: bytes(key), range_end: bytes(end), target_union, ..Default::default() }
}

async fn txn(line: &Line, success: Vec<pb::RequestOp>) -> Result<(), Status> {
    let txn = pb::TxnRequest { success, ..Default::default() };
    KvClient::new(line.clone()).txn(txn).await.map(drop)
}

/// Ann reads and writes a/, reads r/, writes w/. Keys of all three and of x/ exist; lease 1 holds only keys of a/, lease 2 also one
/// of x/, lease 3 one of r/.
async fn prepared(directory: &std::path::Path) -> (Store, Line, Line) {
    let store = Store::start(directory).await;
    let root =
        store.with_users(&[("ann", &[(BOTH, "a/", "a0"), (READ, "r/", "r0"), (WRITE, "w/", "w0")])]).await;
    for key in ["a/1", "r/1", "w/1", "x/1"] {
        put(&root, key, "v").await.unwrap();
    }
    for (id, keys) in [(1, vec!["a/l"]), (2, vec!["a/m", "x/l"]), (3, vec!["r/l"])] {
        LeaseClient::new(root.clone()).lease_grant(pb::LeaseGrantRequest { id, ttl: 600 }).await.unwrap();
        txn(&root, keys.into_iter().map(|key| put_op(key, id, false)).collect()).await.unwrap();
    }
    let ann = store.user("ann").await;
    (store, root, ann)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_is_denied_if_any_part_of_it_would_be() {
    let scratch = tempfile::tempdir().unwrap();
    let (_store, root, ann) = prepared(scratch.path()).await;
    let table: Vec<(&str, Vec<pb::RequestOp>, bool)> = vec![
        ("read", vec![range_op("r/1", "")], true),
        ("read what may only be written", vec![range_op("w/1", "")], false),
        ("write", vec![put_op("w/1", 0, false)], true),
        ("write what may only be read", vec![put_op("r/1", 0, false)], false),
        ("a range", vec![range_op("a/", "a0")], true),
        ("a range with more", vec![range_op("a/", "a1")], false),
        ("an open end", vec![range_op("a/", "\0")], false),
        ("everything", vec![range_op("\0", "\0")], false),
        ("two granted ranges with a gap", vec![range_op("a/", "r0")], false),
        ("the previous value", vec![put_op("a/1", 0, true)], true),
        ("the previous value of what may only be written", vec![put_op("w/1", 0, true)], false),
        ("delete", vec![delete_op("w/", "w0", false)], true),
        ("delete what may only be read", vec![delete_op("r/1", "", false)], false),
        ("delete with an open end", vec![delete_op("w/", "\0", false)], false),
        ("delete with previous values", vec![delete_op("a/zz", "a/zzz", true)], true),
        ("the same of what may only be written", vec![delete_op("w/", "w0", true)], false),
        ("a lease on own keys", vec![put_op("w/2", 1, false)], true),
        ("a lease on foreign keys", vec![put_op("w/2", 2, false)], false),
        ("a lease on keys that may only be read", vec![put_op("w/2", 3, false)], false),
        ("nested", vec![nested(vec![put_op("a/2", 0, true)], vec![range_op("r/1", "")])], true),
        ("nested in the branch that runs", vec![nested(vec![range_op("x/1", "")], vec![])], false),
        ("nested in the other branch", vec![nested(vec![], vec![range_op("x/1", "")])], false),
        ("nested write", vec![nested(vec![put_op("x/1", 0, false)], vec![])], false),
        ("nested previous value", vec![nested(vec![put_op("w/1", 0, true)], vec![])], false),
        ("nested lease", vec![nested(vec![put_op("w/2", 2, false)], vec![])], false),
        (
            "nested twice",
            vec![nested(vec![nested(vec![], vec![delete_op("x/1", "", false)])], vec![])],
            false,
        ),
    ];
    for (what, ops, allowed) in table {
        // A transaction that could run, and the same where it is the branch that does not.
        let other = pb::TxnRequest { failure: ops.clone(), ..Default::default() };
        let got = [txn(&ann, ops.clone()).await, KvClient::new(ann.clone()).txn(other).await.map(drop)];
        for got in got {
            match allowed {
                true => got.unwrap_or_else(|status| panic!("{what}: {status}")),
                false => assert_eq!(told(&got.expect_err(what)), DENIED, "{what}"),
            }
        }
        let by_root = pb::TxnRequest { failure: ops, ..Default::default() };
        let got = KvClient::new(root.clone()).txn(by_root).await;
        got.unwrap_or_else(|status| panic!("root: {what}: {status}"));
    }
    for (key, end, allowed) in
        [("r/1", "", true), ("r/", "r0", true), ("w/1", "", false), ("r/", "\0", false)]
    {
        let request = pb::TxnRequest { compare: vec![compare(key, end)], ..Default::default() };
        let got = KvClient::new(ann.clone()).txn(request).await;
        assert_eq!(got.is_ok(), allowed, "comparing {key:?} to {end:?}: {got:?}");
    }
    assert_eq!(get(&root, "x/1").await.unwrap().as_deref(), Some("v"), "nothing denied left a trace");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_requests_are_denied_like_transactions() {
    let scratch = tempfile::tempdir().unwrap();
    let (_store, root, ann) = prepared(scratch.path()).await;
    let mut kv = KvClient::new(ann.clone());
    let range = |key: &str, end: &str, serializable| pb::RangeRequest {
        key: bytes(key),
        range_end: bytes(end),
        serializable,
        ..Default::default()
    };
    for serializable in [false, true] {
        for (key, end, allowed) in [
            ("a/1", "", true),
            ("a/", "a0", true),
            ("x/1", "", false),
            ("a/", "\0", false),
            ("\0", "\0", false),
            // An end before the start: as its first key.
            ("a/1", "a", true),
            ("x/1", "a", false),
        ] {
            let got = kv.range(range(key, end, serializable)).await;
            assert_eq!(got.is_ok(), allowed, "{key:?} to {end:?}: {got:?}");
        }
    }
    let counted = pb::RangeRequest { count_only: true, ..range("x/", "x0", false) };
    assert_eq!(told(&kv.range(counted).await.unwrap_err()), DENIED, "how many there are is a secret too");
    let past = pb::RangeRequest { revision: 2, ..range("x/1", "", false) };
    assert_eq!(told(&kv.range(past).await.unwrap_err()), DENIED);
    let mut pages = kv.range_stream(range("a/", "a0", false)).await.unwrap().into_inner();
    assert!(pages.message().await.unwrap().is_some());
    let mut pages = kv.range_stream(range("x/", "x0", false)).await.unwrap().into_inner();
    assert_eq!(told(&pages.message().await.unwrap_err()), DENIED);

    for (prev_kv, allowed) in [(false, true), (true, false)] {
        let delete = pb::DeleteRangeRequest { key: "w/1".into(), prev_kv, ..Default::default() };
        assert_eq!(kv.delete_range(delete).await.is_ok(), allowed);
    }
    // Compaction takes from everybody.
    let compact = |revision| pb::CompactionRequest { revision, physical: false };
    assert_eq!(told(&kv.compact(compact(2)).await.unwrap_err()), DENIED);
    KvClient::new(root).compact(compact(2)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_as_good_as_its_keys() {
    let scratch = tempfile::tempdir().unwrap();
    let (_store, root, ann) = prepared(scratch.path()).await;
    let mut leases = LeaseClient::new(ann.clone());
    for (id, reads, writes) in [(1, true, true), (2, false, false), (3, true, false)] {
        let keys = leases.lease_time_to_live(pb::LeaseTimeToLiveRequest { id, keys: true }).await;
        assert_eq!(keys.is_ok(), reads, "keys of {id}: {keys:?}");
        leases.lease_time_to_live(pb::LeaseTimeToLiveRequest { id, keys: false }).await.unwrap();
        let renewal = futures::stream::iter([pb::LeaseKeepAliveRequest { id }]);
        let renewed = leases.lease_keep_alive(renewal).await.unwrap().into_inner().message().await;
        assert_eq!(renewed.is_ok(), writes, "renewal of {id}: {renewed:?}");
        if !writes {
            assert_eq!(told(&renewed.unwrap_err()), DENIED);
            let revoked = leases.lease_revoke(pb::LeaseRevokeRequest { id }).await.unwrap_err();
            assert_eq!(told(&revoked), DENIED);
        }
    }
    assert_eq!(told(&leases.lease_leases(pb::LeaseLeasesRequest {}).await.unwrap_err()), DENIED);
    leases.lease_revoke(pb::LeaseRevokeRequest { id: 1 }).await.unwrap();
    leases.lease_grant(pb::LeaseGrantRequest { id: 9, ttl: 60 }).await.unwrap();
    let all = LeaseClient::new(root).lease_leases(pb::LeaseLeasesRequest {}).await.unwrap().into_inner();
    assert_eq!(all.leases.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_concerns_all_is_for_root() {
    let scratch = tempfile::tempdir().unwrap();
    let (store, root, ann) = prepared(scratch.path()).await;
    for (line, allowed) in [(&ann, false), (&root, true)] {
        let check = |what: &str, got: Result<(), Status>| match allowed {
            true => got.unwrap_or_else(|status| panic!("{what}: {status}")),
            false => assert_eq!(told(&got.expect_err(what)), DENIED, "{what}"),
        };
        let mut cluster = ClusterClient::new(line.clone());
        check("members", cluster.member_list(pb::MemberListRequest { linearizable: true }).await.map(drop));
        let mut maintenance = MaintenanceClient::new(line.clone());
        check("alarms", maintenance.alarm(pb::AlarmRequest::default()).await.map(drop));
        check("defragment", maintenance.defragment(pb::DefragmentRequest {}).await.map(drop));
        check("hash", maintenance.hash(pb::HashRequest {}).await.map(drop));
        check("hash of keys", maintenance.hash_kv(pb::HashKvRequest { revision: 0 }).await.map(drop));
        check("snapshot", maintenance.snapshot(pb::SnapshotRequest {}).await.map(drop));
        maintenance.status(pb::StatusRequest {}).await.unwrap();
        let target_id = store.server.handle().member_id().0;
        check("leadership", maintenance.move_leader(pb::MoveLeaderRequest { target_id }).await.map(drop));
        let mut auth = AuthClient::new(line.clone());
        check("users", auth.user_list(pb::AuthUserListRequest {}).await.map(drop));
        check("roles", auth.role_list(pb::AuthRoleListRequest {}).await.map(drop));
        check("a user", auth.user_get(pb::AuthUserGetRequest { name: "root".into() }).await.map(drop));
        auth.user_get(pb::AuthUserGetRequest { name: "ann".into() }).await.unwrap();
        auth.role_get(pb::AuthRoleGetRequest { role: "ann".into() }).await.unwrap();
        check("a new role", auth.role_add(pb::AuthRoleAddRequest { name: "new".into() }).await.map(drop));
        check("a role of one's own", grant_role(line, "ann", "new").await);
        let add = pb::AuthUserAddRequest { name: "new".into(), password: "n".into(), ..Default::default() };
        check("a new user", auth.user_add(add).await.map(drop));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_beyond_etcd_is_checked_by_the_same_rules() {
    let scratch = tempfile::tempdir().unwrap();
    let (store, _root, ann) = prepared(scratch.path()).await;
    let mut locks = LockClient::new(ann.clone());
    locks.lock(LockRequest { name: "a/lock".into(), lease: 0 }).await.unwrap();
    let refused = locks.lock(LockRequest { name: "x/lock".into(), lease: 0 }).await.unwrap_err();
    assert_eq!(told(&refused), DENIED);
    let mut elections = ElectionClient::new(ann.clone());
    let campaign = |name: &'static str| CampaignRequest { name: name.into(), lease: 0, value: "v".into() };
    elections.campaign(campaign("a/e")).await.unwrap();
    assert_eq!(told(&elections.campaign(campaign("x/e")).await.unwrap_err()), DENIED);
    elections.leader(LeaderRequest { name: "a/e".into() }).await.unwrap();
    assert_eq!(told(&elections.leader(LeaderRequest { name: "x/e".into() }).await.unwrap_err()), DENIED);

    let mut history = HistoryClient::new(ann.clone());
    let diff = |key: &'static str, end: &'static str| DiffRequest {
        key: key.into(),
        range_end: end.into(),
        ..Default::default()
    };
    assert!(history.diff(diff("r/", "r0")).await.unwrap().into_inner().message().await.unwrap().is_some());
    for (key, end) in [("x/", "x0"), ("r/", "\0"), ("", "\0"), ("w/", "w0")] {
        assert_eq!(told(&history.diff(diff(key, end)).await.unwrap_err()), DENIED, "{key} {end}");
    }
    let kv = store.server.handle();
    for key in ["a/1", "x/1", "r/1"] {
        let delete = store_client::Op::delete(key);
        kv.txn(store_client::Txn { success: vec![delete], ..Default::default() }).await.unwrap();
    }
    let undelete = |key: &'static str| UndeleteRequest { key: key.into(), ..Default::default() };
    history.undelete(undelete("a/1")).await.unwrap();
    for key in ["x/1", "r/1"] {
        assert_eq!(told(&history.undelete(undelete(key)).await.unwrap_err()), DENIED, "{key}");
    }
}

/// A1: users and keys change together for readers too. Every batch changes both, and no moment within one is ever seen.
#[test]
fn a_read_never_shows_what_its_check_did_not_see() {
    const ROUNDS: usize = 2000;
    let local = Local::new(Arc::new(MemoryEngine::new()));
    let put = |value: &'static str| {
        Command::Txn(Txn { success: vec![store_client::Op::put("k", value)], ..Txn::default() })
    };
    let auth = |change: Change| Command::Auth(change);
    let user = |name: &str| auth(Change::UserAdd { name: name.to_owned(), password: None });
    let role = |change: fn(String, String) -> Change, name: &str, role: &str| {
        auth(change(name.to_owned(), role.to_owned()))
    };
    let grant = |name, role| Change::UserGrant { name, role };
    let revoke = |name, role| Change::UserRevoke { name, role };
    let permission = Permission { kind: PermissionKind::Read, key: "k".into(), range_end: Bytes::new() };
    local.apply(&[
        user("root"),
        role(grant, "root", "root"),
        user("ann"),
        auth(Change::RoleAdd("reader".to_owned())),
        auth(Change::RoleGrant { name: "reader".to_owned(), permission }),
        auth(Change::Enable),
        put("secret"),
    ]);
    let done = AtomicBool::new(false);
    let counts = std::thread::scope(|scope| {
        let read = || {
            let (mut seen, mut denied, mut unsettled) = (0, 0, 0);
            while !done.load(Ordering::Relaxed) {
                let caller = Caller::user("ann", local.machine.auth().state().revision);
                let range = Range::new(store_client::KeyRange::Key("k".into()));
                match local.machine.range_as(&caller, &range, Pace::Patient) {
                    Ok(found) => {
                        assert_eq!(found.kvs[0].value, "open");
                        seen += 1;
                    }
                    Err(Failure::Refused(Error::Denied(Denial::PermissionDenied))) => denied += 1,
                    Err(Failure::Refused(Error::Denied(Denial::OldRevision))) => unsettled += 1,
                    Err(other) => panic!("{other:?}"),
                }
            }
            (seen, denied, unsettled)
        };
        let readers = [scope.spawn(read), scope.spawn(read)];
        for _ in 0..ROUNDS {
            local.apply(&[put("open"), role(grant, "ann", "reader")]);
            local.apply(&[role(revoke, "ann", "reader"), put("secret")]);
        }
        done.store(true, Ordering::Relaxed);
        readers.map(|reader| reader.join().unwrap())
    });
    let sum = |of: fn(&(u64, u64, u64)) -> u64| counts.iter().map(of).sum::<u64>();
    assert!(sum(|count| count.0) > 0 && sum(|count| count.1) > 0, "{counts:?}");
}
