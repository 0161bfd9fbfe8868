//! Switching auth on and off, logging in, tokens and how they end.

use std::time::Duration;

use proto::etcd::authpb;
use proto::etcd::etcdserverpb as pb;
use proto::etcd::etcdserverpb::auth_client::AuthClient;
use store::Options;
use store_client::{Kv, Op, Txn};
use tonic::Code;

use super::{BAD_TOKEN, NOBODY, Store, add_user, cheap, get, grant_role, line, login, put, told};
use crate::cluster::wait_for;
use crate::single::restart;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn auth_is_switched_on_by_root_alone_and_asks_for_a_token() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::start(scratch.path()).await;
    let nobody = store.nobody().await;
    let mut auth = AuthClient::new(nobody.clone());
    put(&nobody, "a", "1").await.unwrap();
    let early = login(nobody.clone(), "root", "root").await.unwrap_err();
    assert_eq!(told(&early), (Code::FailedPrecondition, "etcdserver: authentication is not enabled"));
    let refused = auth.auth_enable(pb::AuthEnableRequest {}).await.unwrap_err();
    assert_eq!(told(&refused), (Code::FailedPrecondition, "etcdserver: root user does not exist"));
    add_user(&nobody, "root", "secret").await;
    let refused = auth.auth_enable(pb::AuthEnableRequest {}).await.unwrap_err();
    assert_eq!(told(&refused), (Code::FailedPrecondition, "etcdserver: root user does not have root role"));
    grant_role(&nobody, "root", "root").await.unwrap();
    auth.auth_enable(pb::AuthEnableRequest {}).await.unwrap();

    let status = auth.auth_status(pb::AuthStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.enabled, status.auth_revision), (true, 3));
    assert_eq!(told(&put(&nobody, "a", "2").await.unwrap_err()), NOBODY);
    assert_eq!(told(&get(&nobody, "a").await.unwrap_err()), NOBODY);
    let failed = (Code::InvalidArgument, "etcdserver: authentication failed, invalid user ID or password");
    for (name, password) in [("root", "wrong"), ("root", ""), ("nobody", "secret"), ("", "")] {
        assert_eq!(told(&login(nobody.clone(), name, password).await.unwrap_err()), failed, "{name}");
    }
    let token = login(nobody.clone(), "root", "secret").await.unwrap();
    let root = line(&store.url, Some(token.clone())).await;
    put(&root, "a", "2").await.unwrap();
    assert_eq!(get(&root, "a").await.unwrap().as_deref(), Some("2"));

    let (random, index) = token.split_once('.').unwrap();
    let other = format!("{}.{index}", random.chars().rev().collect::<String>());
    let later = format!("{random}.{}", u64::MAX);
    for wrong in [other, later, random.to_owned(), String::new(), "....".to_owned()] {
        let line = line(&store.url, Some(wrong)).await;
        assert_eq!(told(&get(&line, "a").await.unwrap_err()), BAD_TOKEN);
    }
    // Whoever embeds the store needs no token.
    let kv = store.server.handle();
    kv.txn(Txn { success: vec![Op::put("a", "3")], ..Txn::default() }).await.unwrap();
    assert_eq!(store_client::testing::list(&kv, "a", 0).await, ["a=3"]);

    AuthClient::new(root.clone()).auth_disable(pb::AuthDisableRequest {}).await.unwrap();
    put(&nobody, "a", "4").await.unwrap();
    assert_eq!(get(&root, "a").await.unwrap().as_deref(), Some("4"), "a token from before does not hurt");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_ends_with_the_password_it_was_given_for() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::start(scratch.path()).await;
    let root = store.with_users(&[("ann", &[(super::BOTH, "a", "b")])]).await;
    let ann = store.user("ann").await;
    put(&ann, "a", "1").await.unwrap();
    let mut auth = AuthClient::new(root.clone());
    let other = pb::AuthUserChangePasswordRequest {
        name: "ann".into(),
        password: "other".into(),
        ..Default::default()
    };
    auth.user_change_password(other).await.unwrap();
    assert_eq!(told(&put(&ann, "a", "2").await.unwrap_err()), BAD_TOKEN);
    assert!(login(store.nobody().await, "ann", "ann").await.is_err());
    let token = login(store.nobody().await, "ann", "other").await.unwrap();
    let ann = line(&store.url, Some(token)).await;
    put(&ann, "a", "2").await.unwrap();
    auth.user_delete(pb::AuthUserDeleteRequest { name: "ann".into() }).await.unwrap();
    assert_eq!(told(&put(&ann, "a", "3").await.unwrap_err()), BAD_TOKEN);
    // The next of that name is another one.
    add_user(&root, "ann", "other").await;
    assert_eq!(told(&put(&ann, "a", "3").await.unwrap_err()), BAD_TOKEN);
    let again = login(store.nobody().await, "ann", "other").await.unwrap();
    let again = line(&store.url, Some(again)).await;
    assert_eq!(
        told(&put(&again, "a", "3").await.unwrap_err()),
        super::DENIED,
        "without the roles of the first"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_without_password_cannot_log_in() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::start(scratch.path()).await;
    let root = store.with_users(&[]).await;
    let request = pb::AuthUserAddRequest {
        name: "cert".into(),
        password: "p".into(),
        options: Some(authpb::UserAddOptions { no_password: true }),
        ..Default::default()
    };
    AuthClient::new(root).user_add(request).await.unwrap();
    for password in ["p", ""] {
        let refused = login(store.nobody().await, "cert", password).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_and_tokens_outlive_a_restart() {
    let scratch = tempfile::tempdir().unwrap();
    let options = cheap(Options::single(scratch.path()));
    let store = Store::start_with(options.clone()).await;
    store.with_users(&[("ann", &[(super::BOTH, "a", "b")])]).await;
    let token = login(store.nobody().await, "ann", "ann").await.unwrap();
    drop(store.server);
    // Waits until the directory is free.
    restart(options.clone()).await.stop().await.unwrap();
    let store = Store::start_with(options).await;
    let ann = line(&store.url, Some(token)).await;
    put(&ann, "a", "1").await.unwrap();
    assert_eq!(told(&put(&ann, "b", "1").await.unwrap_err()), super::DENIED);
    assert_eq!(told(&put(&store.nobody().await, "a", "1").await.unwrap_err()), NOBODY);
    store.user("root").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_not_used_ends() {
    let scratch = tempfile::tempdir().unwrap();
    let options = Options { auth_token_ttl_s: 1, ..cheap(Options::single(scratch.path())) };
    let store = Store::start_with(options).await;
    store.with_users(&[]).await;
    let (idle, used) = (store.user("root").await, store.user("root").await);
    let until = tokio::time::Instant::now() + store_client::testing::DEADLINE;
    let tokens = || store.server.handle().tokens();
    let before = tokens();
    assert!(before >= 2);
    // Those nobody uses go; the one that is used stays.
    while tokens() > 1 {
        assert!(tokio::time::Instant::now() < until, "{} tokens are left", tokens());
        put(&used, "a", "1").await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    put(&used, "a", "2").await.unwrap();
    assert_eq!(told(&put(&idle, "a", "3").await.unwrap_err()), BAD_TOKEN);
    wait_for("the last token to end", || (tokens() == 0).then_some(())).await;
    assert_eq!(told(&put(&used, "a", "3").await.unwrap_err()), BAD_TOKEN);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_logins_does_not_hold_up_others() {
    let scratch = tempfile::tempdir().unwrap();
    // A login takes some 6 ms of a core.
    let store = Store::start_with(Options { bcrypt_cost: 6, ..cheap(Options::single(scratch.path())) }).await;
    let root = store.with_users(&[]).await;
    let crowd: Vec<_> = (0..300)
        .map(|_| {
            let line = root.clone();
            tokio::spawn(async move { login(line, "root", "wrong").await.unwrap_err() })
        })
        .collect();
    let refused = wait_for("the first to be refused for the crowd", || {
        crowd.iter().any(tokio::task::JoinHandle::is_finished).then_some(())
    });
    refused.await;
    for number in 0..20 {
        put(&root, "a", &number.to_string()).await.unwrap();
    }
    let waiting = crowd.iter().filter(|login| !login.is_finished()).count();
    assert!(waiting > 0, "twenty writes are done before three hundred logins");
    let (mut failed, mut too_many) = (0, 0);
    for login in crowd {
        match login.await.unwrap().code() {
            Code::InvalidArgument => failed += 1,
            Code::ResourceExhausted => too_many += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(failed > 0 && too_many > 0, "{failed} failed, {too_many} were sent away");
}
