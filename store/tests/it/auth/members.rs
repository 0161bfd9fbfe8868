//! Users and tokens on several members, in images and in restored clusters.

use store::{Options, Server};
use store_client::Kv;

use super::{
    BOTH, DENIED, NOBODY, READ, Store, add_role, cheap, get, grant_role, line, login, put, revoke_role, told,
};
use crate::backup::{plan, save};
use crate::cluster::{Cluster, put_surely};

/// A cluster with auth on; ann may do everything with a.
async fn cluster(directory: &std::path::Path) -> Cluster {
    let cluster = Cluster::start_with(directory, |options| Options { bcrypt_cost: 4, ..options }).await;
    let leader = cluster.leader().await;
    // Waits until it can write.
    put_surely(&cluster.handle(&leader), "a", "0").await;
    let nobody = line(&cluster.client_urls[0], None).await;
    super::add_user(&nobody, "root", "root").await;
    grant_role(&nobody, "root", "root").await.unwrap();
    super::add_user(&nobody, "ann", "ann").await;
    add_role(&nobody, "app", &[(BOTH, "a", "")]).await;
    grant_role(&nobody, "ann", "app").await.unwrap();
    let mut auth = proto::etcd::etcdserverpb::auth_client::AuthClient::new(nobody);
    auth.auth_enable(proto::etcd::etcdserverpb::AuthEnableRequest {}).await.unwrap();
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_good_on_every_member_at_once() {
    let scratch = tempfile::tempdir().unwrap();
    let mut cluster = cluster(scratch.path()).await;
    let urls = cluster.client_urls.clone();
    for round in 0..5 {
        let issuer = line(&urls[round % 3], None).await;
        let token = login(issuer, "ann", "ann").await.unwrap();
        for url in &urls {
            let ann = line(url, Some(token.clone())).await;
            put(&ann, "a", "1").await.unwrap();
            assert_eq!(told(&get(&ann, "b").await.unwrap_err()), DENIED);
        }
    }
    let root = login(line(&urls[0], None).await, "root", "root").await.unwrap();
    let token = login(line(&urls[0], None).await, "ann", "ann").await.unwrap();
    // What one member acknowledged is true on all others.
    for round in 0..10 {
        let (here, there) = (&urls[round % 3], &urls[(round + 1) % 3]);
        let root = line(here, Some(root.clone())).await;
        let ann = line(there, Some(token.clone())).await;
        revoke_role(&root, "ann", "app").await.unwrap();
        assert_eq!(
            told(&put(&ann, "a", "no").await.unwrap_err()),
            DENIED,
            "written after the right was lost"
        );
        assert_eq!(told(&get(&ann, "a").await.unwrap_err()), DENIED, "read after the right was lost");
        grant_role(&root, "ann", "app").await.unwrap();
        put(&ann, "a", "yes").await.unwrap();
        assert_eq!(get(&ann, "a").await.unwrap().as_deref(), Some("yes"));
    }

    // The leader goes; tokens do not.
    let leader = cluster.leader().await;
    drop(cluster.servers.remove(&leader));
    let next = cluster.leader().await;
    put_surely(&cluster.handle(&next), "a", "2").await;
    let ann = line(&cluster.options[&next].client_urls[0], Some(token)).await;
    put(&ann, "a", "3").await.unwrap();
    assert_eq!(told(&put(&ann, "b", "3").await.unwrap_err()), DENIED);
    let follower = cluster.follower(&next);
    let nobody = line(&cluster.options[&follower].client_urls[0], None).await;
    assert_eq!(told(&get(&nobody, "a").await.unwrap_err()), NOBODY);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_cluster_has_the_users_and_not_the_tokens() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::start(&scratch.path().join("old")).await;
    store.with_users(&[("ann", &[(BOTH, "a", ""), (READ, "b", "c")])]).await;
    let token = login(store.nobody().await, "ann", "ann").await.unwrap();
    let ann = line(&store.url, Some(token.clone())).await;
    put(&ann, "a", "1").await.unwrap();
    let image = scratch.path().join("image");
    save(&store.server.handle(), &image).await;
    let target = scratch.path().join("new");
    store::backup::restore::run(&plan(&image, target.clone())).unwrap();

    let restored = Store::start_with(cheap(Options::single(&target))).await;
    let old = line(&restored.url, Some(token)).await;
    assert_eq!(told(&get(&old, "a").await.unwrap_err()), super::BAD_TOKEN);
    assert_eq!(told(&get(&restored.nobody().await, "a").await.unwrap_err()), NOBODY);
    let ann = restored.user("ann").await;
    assert_eq!(get(&ann, "a").await.unwrap().as_deref(), Some("1"));
    assert_eq!(get(&ann, "b").await.unwrap(), None);
    assert_eq!(told(&put(&ann, "b", "1").await.unwrap_err()), DENIED);
    restored.user("root").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_gets_an_image_gets_the_users() {
    let scratch = tempfile::tempdir().unwrap();
    // Few entries between snapshots, so that a member that was away needs one.
    let adjust = |options| Options { bcrypt_cost: 4, snapshot_entries: 20, ..options };
    let mut cluster = Cluster::start_with(scratch.path(), adjust).await;
    let leader = cluster.leader().await;
    put_surely(&cluster.handle(&leader), "a", "0").await;
    let away = cluster.follower(&leader);
    let server: Server = cluster.servers.remove(&away).unwrap();
    server.stop().await.unwrap();
    let url = cluster.options[&leader].client_urls[0].clone();
    let nobody = line(&url, None).await;
    super::add_user(&nobody, "root", "root").await;
    grant_role(&nobody, "root", "root").await.unwrap();
    let mut auth = proto::etcd::etcdserverpb::auth_client::AuthClient::new(nobody.clone());
    auth.auth_enable(proto::etcd::etcdserverpb::AuthEnableRequest {}).await.unwrap();
    let token = login(nobody, "root", "root").await.unwrap();
    for number in 0..100 {
        put_surely(&cluster.handle(&leader), "a", &number.to_string()).await;
    }
    cluster.handle(&leader).raft().snapshot().await.unwrap();
    let options = cluster.options[&away].clone();
    cluster.servers.insert(away.clone(), crate::single::restart(options.clone()).await);
    let back = cluster.handle(&away);
    back.read_revision().await.unwrap();
    let root = line(&options.client_urls[0], Some(token)).await;
    assert_eq!(get(&root, "a").await.unwrap().as_deref(), Some("99"));
    let nobody = line(&options.client_urls[0], None).await;
    assert_eq!(told(&get(&nobody, "a").await.unwrap_err()), NOBODY);
}
