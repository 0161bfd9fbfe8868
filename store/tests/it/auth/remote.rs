//! Our own client with a user and a password.

use futures::StreamExt;
use proto::etcd::etcdserverpb as pb;
use proto::etcd::etcdserverpb::auth_client::AuthClient;
use store_client::remote::{Login, Options, RemoteKv};
use store_client::testing::DEADLINE;
use store_client::{
    Denial, Error, KeyRange, Kv, LeaseId, Op, Range, Revision, Txn, Watch, WatchMessage, WatchStream,
};

use super::{BOTH, Line, Store};

fn client(store: &Store, name: &str, password: &str) -> RemoteKv {
    let login = Login { name: name.to_owned(), password: password.to_owned() };
    let options = Options { endpoints: vec![store.url.clone()], login: Some(login), ..Options::default() };
    RemoteKv::new(options).unwrap()
}

async fn put(kv: &RemoteKv, key: &str) -> Result<Revision, Error> {
    let txn = Txn { success: vec![Op::put(key.to_owned(), "v")], ..Txn::default() };
    Ok(kv.txn(txn).await?.revision)
}

async fn watch(kv: &RemoteKv, key: &str, start: Revision) -> WatchStream {
    let keys = KeyRange::prefix(key.to_owned());
    kv.watch(Watch { keys, start, prev_kv: false, progress: false }).await.unwrap()
}

async fn next(stream: &mut WatchStream) -> Result<WatchMessage, Error> {
    tokio::time::timeout(DEADLINE, stream.next()).await.expect("something comes in time").expect("it goes on")
}

/// No token of before is good after this.
async fn switch_off_and_on(root: &Line) {
    AuthClient::new(root.clone()).auth_disable(pb::AuthDisableRequest {}).await.unwrap();
    AuthClient::new(root.clone()).auth_enable(pb::AuthEnableRequest {}).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_logs_in_and_again_when_its_token_has_ended() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::start(scratch.path()).await;
    // Before anybody wants to know.
    let early = client(&store, "ann", "ann");
    let first = put(&early, "a/0").await.unwrap();
    let mut root = store.with_users(&[("ann", &[(BOTH, "a/", "a0")])]).await;
    let ann = client(&store, "ann", "ann");
    for kv in [&early, &ann] {
        put(kv, "a/1").await.unwrap();
    }
    assert!(matches!(put(&ann, "b").await, Err(Error::Denied(Denial::PermissionDenied))));
    let mut events = watch(&ann, "a/", first).await;
    assert!(matches!(next(&mut events).await, Ok(WatchMessage::Created { .. })));
    for _ in 0..2 {
        switch_off_and_on(&root).await;
        root = store.user("root").await;
        let found = ann.range(Range::new(KeyRange::prefix("a/"))).await.unwrap();
        assert_eq!(found.count, 2);
        let lease = ann.lease_grant(LeaseId(0), 60).await.unwrap().id;
        ann.lease_keep_alive(lease).await.unwrap();
        ann.lease_revoke(lease).await.unwrap();
    }
    let last = put(&ann, "a/2").await.unwrap();
    let mut seen = Vec::new();
    while seen.last() != Some(&last) {
        if let WatchMessage::Changes { revision, .. } = next(&mut events).await.unwrap() {
            seen.push(revision);
        }
    }
    assert_eq!((seen.len(), seen[0]), (4, first), "each once, whoever the member thought we were");
    switch_off_and_on(&root).await;
    let mut late = watch(&ann, "a/", last).await;
    assert!(matches!(next(&mut late).await, Ok(WatchMessage::Created { .. })), "a watch logs in, too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_let_in_is_told() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::start(scratch.path()).await;
    let root = store.with_users(&[("ann", &[(BOTH, "a/", "a0")])]).await;
    let login = Login { name: "ann".to_owned(), password: "secret".to_owned() };
    assert!(!format!("{login:?}").contains("secret"), "passwords are not logged");
    let refused = |outcome: Result<Revision, Error>| match outcome {
        Err(Error::Denied(denial)) => Some(denial),
        _ => None,
    };
    assert_eq!(refused(put(&client(&store, "ann", "wrong"), "a/1").await), Some(Denial::Failed));
    let nobody = RemoteKv::new(Options { endpoints: vec![store.url.clone()], ..Options::default() }).unwrap();
    assert_eq!(refused(put(&nobody, "a/1").await), Some(Denial::UserEmpty));
    let ends = [
        (client(&store, "ann", "wrong"), "a/", Denial::Failed),
        (nobody, "a/", Denial::UserEmpty),
        (client(&store, "ann", "ann"), "b", Denial::PermissionDenied),
    ];
    for (kv, key, expected) in ends {
        let end = next(&mut watch(&kv, key, Revision(0)).await).await;
        assert!(matches!(&end, Err(Error::Denied(denial)) if *denial == expected), "{end:?}");
    }
    let ann = client(&store, "ann", "ann");
    put(&ann, "a/1").await.unwrap();
    let request = pb::AuthUserChangePasswordRequest {
        name: "ann".into(),
        password: "new".into(),
        ..Default::default()
    };
    AuthClient::new(root).user_change_password(request).await.unwrap();
    assert_eq!(refused(put(&ann, "a/1").await), Some(Denial::Failed), "the token went with the password");
}
