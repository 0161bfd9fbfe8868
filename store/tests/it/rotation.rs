//! Certificates are replaced while everything runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use proto::etcd::etcdserverpb as pb;
use store::{Listeners, Options, Server};
use store_client::Kv;
use tonic::transport::{Channel, Endpoint};

use crate::certificates::{Authority, Files, client_config, der, shown};
use crate::cluster::{Cluster, put_surely, wait_for};
use crate::single::{quick, restart};

/// Puts until told to stop; returns how often.
async fn put_on(channel: Channel, done: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> Result<(), tonic::Status> {
    let mut kv = pb::kv_client::KvClient::new(channel);
    while !stop.load(Ordering::Relaxed) {
        kv.put(pb::PutRequest { key: "k".into(), value: "v".into(), ..Default::default() }).await?;
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_is_shown_to_newcomers_and_disturbs_nobody() {
    let scratch = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let (own, first) = (authority.issue("client"), authority.issue("first"));
    let files = Files::new(&scratch.path().join("tls"));
    files.trust(&[&authority]);
    files.issue(&first);
    let client = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = client.local_addr().unwrap();
    let options = Options { client_tls: Some(files.tls()), ..Options::single(scratch.path().join("data")) };
    let server =
        Server::start_on(quick(options), Listeners { peer: vec![], client: vec![client] }).await.unwrap();
    server.handle().read_revision().await.unwrap();

    let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap();
    let endpoint = endpoint.tls_config(client_config(&authority, &own)).unwrap();
    let (done, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut load = Vec::new();
    for _ in 0..4 {
        let channel = endpoint.connect().await.unwrap();
        load.push(tokio::spawn(put_on(channel, done.clone(), stop.clone())));
    }
    let more = || {
        let done = done.clone();
        let from = done.load(Ordering::Relaxed);
        wait_for("more puts", move || (done.load(Ordering::Relaxed) > from + 20).then_some(()))
    };
    more().await;
    assert_eq!(shown(address, &authority, &own).await, der(&first));

    let second = authority.issue("second");
    files.issue(&second);
    assert_eq!(shown(address, &authority, &own).await, der(&second), "the next handshake has it");
    more().await;

    files.write("cert.pem", "-----BEGIN CERTIFICATE-----\nbm8=\n-----END CERTIFICATE-----\n");
    assert_eq!(shown(address, &authority, &own).await, der(&second), "what cannot be used changes nothing");
    more().await;

    let other = Authority::new("theirs");
    let (third, new_own) = (other.issue("third"), other.issue("client"));
    files.trust(&[&authority, &other]);
    files.issue(&third);
    assert_eq!(shown(address, &other, &new_own).await, der(&third), "authorities are replaced too");
    more().await;

    stop.store(true, Ordering::Relaxed);
    for load in load {
        load.await.unwrap().expect("no request fails on an open connection");
    }
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_change_over_to_another_authority() {
    let scratch = tempfile::tempdir().unwrap();
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let files = Files::new(&scratch.path().join("tls"));
    files.trust(&[&old]);
    files.issue(&old.issue("member"));
    let secure = |options: Options| {
        let https = |url: &String| url.replace("http://", "https://");
        let members = options.members.iter().map(|(name, url)| (name.clone(), https(url))).collect();
        Options { members, peer_url: https(&options.peer_url), peer_tls: Some(files.tls()), ..options }
    };
    let mut cluster = Cluster::start_with(scratch.path(), secure).await;
    put_surely(&cluster.handle("a"), "k", "1").await;

    files.trust(&[&old, &new]);
    files.issue(&new.issue("member"));
    let leader = cluster.leader().await;
    let follower = cluster.follower(&leader);
    // Whoever starts now shows the new certificate, which the others must trust, and meets theirs.
    for name in [&follower, &leader] {
        cluster.servers.remove(name).unwrap().stop().await.unwrap();
        let server = restart(cluster.options[name].clone()).await;
        cluster.servers.insert(name.clone(), server);
        put_surely(&cluster.handle(name), "k", "2").await;
    }
    files.trust(&[&new]);
    let last = cluster.follower(&follower);
    for name in [&follower, &last] {
        cluster.servers.remove(name).unwrap().stop().await.unwrap();
        let server = restart(cluster.options[name].clone()).await;
        cluster.servers.insert(name.clone(), server);
        put_surely(&cluster.handle(name), "k", "3").await;
    }
    cluster.agree().await;
}
