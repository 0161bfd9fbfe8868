//! The crate `etcd-client` goes through every call it has, against our store, and against etcd where it is installed, so
//! that what is expected here is etcd's word.
#![cfg(feature = "etcd-client")]

use std::time::Duration;

use etcd_client::{
    AlarmAction, AlarmOptions, AlarmType, Client, Compare, CompareOp, ConnectOptions, DeleteOptions, Error,
    EventType, GetOptions, LeaseGrantOptions, LeaseTimeToLiveOptions, LockOptions, MemberAddOptions,
    Permission, PermissionType, ProclaimOptions, PutOptions, ResignOptions, RoleRevokePermissionOptions,
    SortOrder, SortTarget, Txn, TxnOp, TxnOpResponse, UserAddOptions, WatchOptions,
};
use etcd_tests::server::{Running, skipped};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

async fn keys_and_values(client: &mut Client) -> Result<i64, Error> {
    let first = client.put("a", "1", None).await?.header().expect("a header").revision();
    let put = client.put("a", "2", Some(PutOptions::new().with_prev_key())).await?;
    assert_eq!(put.prev_key().expect("the one before").value(), b"1");
    client.put("b", "1", None).await?;
    let found = client.get("a", Some(GetOptions::new().with_revision(first))).await?;
    assert_eq!(found.kvs()[0].value(), b"1");
    let sorted = GetOptions::new()
        .with_all_keys()
        .with_sort(SortTarget::Value, SortOrder::Ascend)
        .with_limit(1)
        .with_keys_only();
    let found = client.get("", Some(sorted)).await?;
    assert_eq!((found.kvs()[0].key(), found.count(), found.more()), (&b"b"[..], 2, true));
    assert_eq!(client.get("", Some(GetOptions::new().with_all_keys().with_count_only())).await?.count(), 2);
    let deleted = client.delete("b", Some(DeleteOptions::new().with_prev_key())).await?;
    assert_eq!((deleted.deleted(), deleted.prev_kvs()[0].value()), (1, &b"1"[..]));
    let txn = Txn::new()
        .when([
            Compare::value("a", CompareOp::Equal, "2"),
            Compare::create_revision("n", CompareOp::Equal, 0),
        ])
        .and_then([
            TxnOp::put("n", "1", None),
            TxnOp::txn(Txn::new().and_then([TxnOp::get("n", None)])),
            TxnOp::delete("a", None),
        ])
        .or_else([TxnOp::get("a", None)]);
    let answer = client.txn(txn).await?;
    assert!(answer.succeeded());
    let nested = answer.op_responses().swap_remove(1);
    let TxnOpResponse::Txn(nested) = nested else { panic!("{nested:?}") };
    let TxnOpResponse::Get(found) = nested.op_responses().swap_remove(0) else { panic!("{nested:?}") };
    assert_eq!(found.kvs()[0].value(), b"1");
    Ok(first)
}

async fn watches(client: &mut Client, since: i64) -> Result<(), Error> {
    let options = WatchOptions::new().with_start_revision(since).with_prev_key();
    let mut stream = client.watch("a", Some(options)).await?;
    let mut kinds = Vec::new();
    while kinds.len() < 3 {
        let answer = timeout(PATIENCE, stream.message()).await.expect("events come")?.expect("it goes on");
        kinds.extend(answer.events().iter().map(|event| event.event_type()));
    }
    assert_eq!(kinds, [EventType::Put, EventType::Put, EventType::Delete]);
    stream.watch("w", Some(WatchOptions::new().with_prefix())).await?;
    let created = timeout(PATIENCE, stream.message()).await.expect("it is created")?.expect("it goes on");
    assert!(created.created());
    client.put("w/1", "1", None).await?;
    let event = timeout(PATIENCE, stream.message()).await.expect("an event comes")?.expect("it goes on");
    assert_eq!((event.watch_id(), event.events().len()), (created.watch_id(), 1));
    stream.request_progress().await?;
    let progress = timeout(PATIENCE, stream.message()).await.expect("it answers")?.expect("it goes on");
    assert!(progress.events().is_empty() && !progress.canceled());
    stream.cancel(created.watch_id()).await?;
    let canceled = timeout(PATIENCE, stream.message()).await.expect("it answers")?.expect("it goes on");
    assert!(canceled.canceled());
    Ok(())
}

async fn leases(client: &mut Client) -> Result<(), Error> {
    let granted = client.lease_grant(1000, Some(LeaseGrantOptions::new().with_id(9))).await?;
    assert_eq!((granted.id(), granted.ttl()), (9, 1000));
    client.put("leased", "1", Some(PutOptions::new().with_lease(9))).await?;
    let left = client.lease_time_to_live(9, Some(LeaseTimeToLiveOptions::new().with_keys())).await?;
    assert_eq!((left.granted_ttl(), left.keys()), (1000, &[b"leased".to_vec()][..]));
    assert_eq!(client.leases().await?.leases().len(), 1);
    let (mut keeper, mut kept) = client.lease_keep_alive(9).await?;
    keeper.keep_alive().await?;
    assert_eq!(kept.message().await?.expect("it goes on").ttl(), 1000);
    client.lease_revoke(9).await?;
    assert_eq!(client.get("leased", None).await?.count(), 0);
    let refused = client.lease_revoke(9).await.expect_err("it is gone");
    assert!(refused.to_string().contains("etcdserver: requested lease not found"), "{refused}");
    Ok(())
}

async fn locks_and_elections(client: &mut Client) -> Result<(), Error> {
    let lease = client.lease_grant(1000, None).await?.id();
    let held = client.lock("l", Some(LockOptions::new().with_lease(lease))).await?;
    let mut other = client.clone();
    let waiting = tokio::spawn(async move { other.lock("l", None).await });
    client.unlock(held.key()).await?;
    let next = timeout(PATIENCE, waiting).await.expect("its turn comes").expect("it does not panic")?;
    client.unlock(next.key()).await?;
    let leader = client.campaign("e", "one", lease).await?.leader().expect("elected").clone();
    let mut observed = client.observe(leader.name()).await?;
    let seen = timeout(PATIENCE, observed.message()).await.expect("it is told")?.expect("it goes on");
    assert_eq!(seen.kv().expect("a leader").value(), b"one");
    client.proclaim("two", Some(ProclaimOptions::new().with_leader(leader.clone()))).await?;
    assert_eq!(client.leader("e").await?.kv().expect("a leader").value(), b"two");
    client.resign(Some(ResignOptions::new().with_leader(leader))).await?;
    assert!(client.leader("e").await.is_err());
    Ok(())
}

async fn cluster(client: &mut Client) -> Result<(), Error> {
    let me = client.status().await?.leader();
    assert_eq!(client.member_list().await?.members()[0].id(), me);
    let learner = MemberAddOptions::new().with_is_learner();
    let added = client.member_add(["http://127.0.0.1:9"], Some(learner)).await?;
    let id = added.member().expect("the new one").id();
    let refused = client.member_promote(id).await.expect_err("it has not caught up");
    assert!(refused.to_string().contains("can only promote a learner member which is in sync"), "{refused}");
    client.member_update(id, ["http://127.0.0.1:10".to_owned()]).await?;
    client.member_remove(id).await?;
    assert_eq!(client.member_list().await?.members().len(), 1);
    assert!(client.move_leader(id).await.is_err());
    Ok(())
}

async fn maintenance(client: &mut Client, revision: i64) -> Result<(), Error> {
    client.compact(revision + 1, None).await?;
    let past = Some(GetOptions::new().with_revision(revision));
    let refused = client.get("a", past).await.expect_err("it is compacted");
    assert!(refused.to_string().contains("required revision has been compacted"), "{refused}");
    assert_eq!(client.hash_kv(0).await?.hash(), client.hash_kv(0).await?.hash());
    client.hash().await?;
    client.defragment().await?;
    assert!(client.alarm(AlarmAction::Get, AlarmType::None, None).await?.alarms().is_empty());
    let mut image = client.snapshot().await?;
    let mut bytes = 0;
    while let Some(part) = image.message().await? {
        bytes += part.blob().len();
    }
    assert!(bytes > 0);
    Ok(())
}

async fn alarms(client: &mut Client) -> Result<(), Error> {
    let me = client.status().await?.leader();
    let mut of_me = AlarmOptions::new();
    of_me.with_member(me);
    let raised = client.alarm(AlarmAction::Activate, AlarmType::Nospace, Some(of_me.clone())).await?;
    assert_eq!((raised.alarms()[0].member_id(), raised.alarms()[0].alarm()), (me, AlarmType::Nospace));
    refused(client.put("full", "1", None).await, "etcdserver: mvcc: database space exceeded");
    assert_eq!(client.get("full", None).await?.count(), 0);
    assert_eq!(client.alarm(AlarmAction::Get, AlarmType::None, None).await?.alarms().len(), 1);
    client.alarm(AlarmAction::Deactivate, AlarmType::Nospace, Some(of_me)).await?;
    assert!(client.alarm(AlarmAction::Get, AlarmType::None, None).await?.alarms().is_empty());
    client.put("full", "1", None).await?;
    Ok(())
}

#[track_caller]
fn refused<T>(outcome: Result<T, Error>, text: &str) {
    let Err(refused) = outcome else { panic!("not refused: {text}") };
    assert!(refused.to_string().contains(text), "{refused}");
}

async fn log_in(address: &str, name: &str, password: &str) -> Result<Client, Error> {
    let options = ConnectOptions::new().with_user(name, password).with_auto_token_refresh(true);
    Client::connect([address], Some(options)).await
}

/// Users and roles as root makes them before it locks the door.
async fn accounts(client: &mut Client) -> Result<(), Error> {
    refused(client.auth_enable().await, "etcdserver: root user does not exist");
    client.user_add("root", "secret", None).await?;
    refused(client.user_add("root", "secret", None).await, "etcdserver: user name already exists");
    refused(client.auth_enable().await, "etcdserver: root user does not have root role");
    client.role_add("root").await?;
    client.user_grant_role("root", "root").await?;
    client.user_add("ann", "pw", None).await?;
    client.user_add("cert", "", Some(UserAddOptions::new().with_no_pwd())).await?;
    client.role_add("app").await?;
    client.role_grant_permission("app", Permission::read_write("app/").with_prefix()).await?;
    client.role_grant_permission("app", Permission::read("conf")).await?;
    client.user_grant_role("ann", "app").await?;
    client.auth_enable().await?;
    refused(client.get("app/1", None).await, "etcdserver: user name is empty");
    Ok(())
}

async fn users(server: Running) -> Result<(), Error> {
    let address = server.address.as_str();
    let client = &mut Client::connect([address], None).await?;
    accounts(client).await?;
    let wrong = "etcdserver: authentication failed, invalid user ID or password";
    refused(log_in(address, "ann", "wrong").await, wrong);
    let mut root = log_in(address, "root", "secret").await?;
    let mut ann = log_in(address, "ann", "pw").await?;
    ann.put("app/1", "v", None).await?;
    assert_eq!(ann.get("app/", Some(GetOptions::new().with_prefix())).await?.count(), 1);
    let denied = "etcdserver: permission denied";
    refused(ann.put("conf", "v", None).await, denied);
    refused(ann.get("app/", Some(GetOptions::new().with_from_key())).await, denied);
    refused(ann.txn(Txn::new().or_else([TxnOp::put("conf", "v", None)])).await, denied);
    refused(ann.user_list().await, denied);
    let mut watch = ann.watch("app/", Some(WatchOptions::new().with_prefix())).await?;
    let created = timeout(PATIENCE, watch.message()).await.expect("it answers")?.expect("it goes on");
    assert!(created.created() && !created.canceled());
    root.put("app/2", "v", None).await?;
    let event = timeout(PATIENCE, watch.message()).await.expect("an event comes")?.expect("it goes on");
    assert_eq!(event.events().len(), 1);
    assert_eq!(root.user_list().await?.users(), ["ann", "cert", "root"]);
    assert_eq!(root.user_get("ann").await?.roles(), ["app"]);
    assert_eq!(root.role_list().await?.roles(), ["app", "root"]);
    let kinds: Vec<_> = root.role_get("app").await?.permissions().iter().map(|one| one.get_type()).collect();
    assert_eq!(kinds, [PermissionType::Readwrite as i32, PermissionType::Read as i32]);
    // Its token is gone with its password, and with the old one there is no other.
    root.user_change_password("ann", "new").await?;
    refused(ann.get("app/1", None).await, wrong);
    let mut ann = log_in(address, "ann", "new").await?;
    let everything = Some(RoleRevokePermissionOptions::new().with_prefix());
    root.role_revoke_permission("app", "app/", everything).await?;
    refused(ann.get("app/1", None).await, denied);
    root.user_revoke_role("ann", "app").await?;
    refused(ann.get("conf", None).await, denied);
    root.role_delete("app").await?;
    root.user_delete("ann").await?;
    refused(root.user_delete("root").await, "etcdserver: invalid auth management");
    root.auth_disable().await?;
    assert_eq!(client.get("app/1", None).await?.count(), 1);
    Ok(())
}

async fn run(server: Running) -> Result<(), Error> {
    let mut client = Client::connect([&server.address], None).await?;
    let first = keys_and_values(&mut client).await?;
    watches(&mut client, first).await?;
    leases(&mut client).await?;
    locks_and_elections(&mut client).await?;
    cluster(&mut client).await?;
    maintenance(&mut client, first).await?;
    alarms(&mut client).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rust_client_finds_what_it_finds_in_etcd() {
    match Running::etcd().await.expect("etcd starts") {
        Some(etcd) => run(etcd).await.expect("etcd answers"),
        None => skipped("etcd"),
    }
    run(Running::ours().await.expect("our store starts")).await.expect("our store answers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rust_client_logs_in_as_in_etcd() {
    match Running::etcd().await.expect("etcd starts") {
        Some(etcd) => Box::pin(users(etcd)).await.expect("etcd answers"),
        None => skipped("etcd"),
    }
    Box::pin(users(Running::ours().await.expect("our store starts"))).await.expect("our store answers");
}
