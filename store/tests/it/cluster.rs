//! Three members in one process.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use futures::StreamExt;
use store::{Handle, Listeners, Options, Server};
use store_client::remote::{self, RemoteKv};
use store_client::testing::{DEADLINE, list, next_changes, watch_prefix};
use store_client::{Kv, LeaseId, Op, Revision, Txn};
use tokio::time::Instant;

use crate::single::quick;

const NAMES: [&str; 3] = ["a", "b", "c"];

pub struct Cluster {
    pub options: BTreeMap<String, Options>,
    pub servers: BTreeMap<String, Server>,
    pub client_urls: Vec<String>,
}

pub fn bind() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

impl Cluster {
    pub async fn start(directory: &Path) -> Self {
        Self::start_with(directory, |options| options).await
    }

    pub async fn start_with(directory: &Path, adjust: impl Fn(Options) -> Options) -> Self {
        let mut members = BTreeMap::new();
        let mut sockets = Vec::new();
        for name in NAMES {
            let (peer, url) = bind();
            members.insert(name.to_owned(), url);
            sockets.push((name, peer, bind()));
        }
        let mut cluster =
            Self { options: BTreeMap::new(), servers: BTreeMap::new(), client_urls: Vec::new() };
        for (name, peer, (client, client_url)) in sockets {
            let options = Options {
                listen_peer: vec![peer.local_addr().unwrap()],
                listen_client: vec![client.local_addr().unwrap()],
                client_urls: vec![client_url.clone()],
                ..adjust(quick(Options::member(name, directory.join(name), members.clone())))
            };
            let listeners = Listeners { peer: vec![peer], client: vec![client] };
            let server = Server::start_on(options.clone(), listeners).await.unwrap();
            cluster.options.insert(name.to_owned(), options);
            cluster.servers.insert(name.to_owned(), server);
            cluster.client_urls.push(client_url);
        }
        cluster
    }

    pub fn handle(&self, name: &str) -> Handle {
        self.servers[name].handle()
    }

    pub async fn leader(&self) -> String {
        wait_for("a leader", || {
            let leads = |server: &&Server| server.handle().leadership_now().is_self;
            let mut leaders = self.servers.iter().filter(|(_, server)| leads(server));
            leaders.next().map(|(name, _)| name.clone())
        })
        .await
    }

    pub fn follower(&self, leader: &str) -> String {
        self.servers.keys().find(|name| *name != leader).unwrap().clone()
    }

    pub async fn agree(&self) {
        let newest = self.servers.values().next().unwrap().handle().read_revision().await.unwrap();
        let mut hashes = Vec::new();
        for server in self.servers.values() {
            let handle = server.handle();
            wait_for("the members to catch up", || (handle.revision() >= newest).then_some(())).await;
            hashes.push(handle.hash(newest).await.unwrap());
        }
        assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]), "S5: {hashes:?}");
    }
}

pub async fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < until, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Writes until it is acknowledged; a write whose answer was lost may have happened, so it is idempotent.
pub async fn put_surely(kv: &impl Kv, key: &str, value: &str) -> Revision {
    let until = Instant::now() + DEADLINE;
    loop {
        match kv.txn(Txn { success: vec![Op::put(key.to_owned(), value.to_owned())], ..Txn::default() }).await
        {
            Ok(done) => return done.revision,
            Err(error) => assert!(error.is_retryable() && Instant::now() < until, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_member_reads_and_writes() {
    let scratch = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(scratch.path()).await;
    for round in 0..5 {
        for name in NAMES {
            put_surely(&cluster.handle(name), &format!("k/{name}"), &round.to_string()).await;
            for reader in NAMES {
                let seen = list(&cluster.handle(reader), &format!("k/{name}"), 0).await;
                assert_eq!(seen, [format!("k/{name}={round}")], "S4: {reader} after a write by {name}");
            }
        }
    }
    cluster.agree().await;
    let announced = wait_for("all members to announce their client URLs", || {
        let members = cluster.handle("a").raft().status().members;
        members.values().all(|(member, _)| !member.client_urls.is_empty()).then_some(members)
    })
    .await;
    assert_eq!(announced.len(), 3);
    let status = cluster.handle("b").raft().status();
    assert!(status.members.values().all(|(_, voter)| *voter));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_on_a_follower_outlives_the_leader_without_a_gap() {
    let scratch = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(scratch.path()).await;
    let leader = cluster.leader().await;
    let follower = cluster.handle(&cluster.follower(&leader));
    let mut stream = follower.watch(watch_prefix("k", 1)).await.unwrap();
    let mut acknowledged = Vec::new();
    for number in 0..100 {
        if number == 30 {
            drop(cluster.servers.remove(&leader));
        }
        let value = number.to_string();
        let revision = put_surely(&follower, "k", &value).await;
        acknowledged.push(format!("{}:k={value}", revision.0));
    }
    let mut seen = Vec::new();
    while seen.last() != acknowledged.last() {
        seen.extend(next_changes(&mut stream).await);
    }
    let revision = |change: &String| change.split(':').next().unwrap().parse::<i64>().unwrap();
    let revisions: Vec<i64> = seen.iter().map(revision).collect();
    assert_eq!(
        revisions,
        (2..2 + seen.len() as i64).collect::<Vec<_>>(),
        "S3: every revision once and in order"
    );
    assert!(acknowledged.iter().all(|change| seen.contains(change)), "S2: nothing acknowledged is lost");

    // The lost member comes back and catches up.
    let options = cluster.options[&leader].clone();
    cluster.servers.insert(leader.clone(), crate::single::restart(options).await);
    put_surely(&cluster.handle(&leader), "back", "1").await;
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_outlive_the_leader_and_then_end() {
    let scratch = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(scratch.path()).await;
    let leader = cluster.leader().await;
    let kv = cluster.handle(&cluster.follower(&leader));
    kv.lease_grant(LeaseId(3), 2).await.unwrap();
    let attached = Op::Put {
        key: "l".into(),
        value: "1".into(),
        lease: LeaseId(3),
        prev_kv: false,
        ignore_value: false,
        ignore_lease: false,
    };
    kv.txn(Txn { success: vec![attached], ..Txn::default() }).await.unwrap();
    assert_eq!(kv.lease_keep_alive(LeaseId(3)).await.unwrap().ttl_s, 2);
    let mut stream = kv.watch(watch_prefix("l", 0)).await.unwrap();
    drop(cluster.servers.remove(&leader));
    let ended = next_changes(&mut stream).await;
    assert!(ended[0].ends_with(":-l"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remote_watch_resumes_on_another_member() {
    let scratch = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(scratch.path()).await;
    let leader = cluster.leader().await;
    let kv = RemoteKv::new(remote::Options { endpoints: cluster.client_urls.clone(), ..Default::default() })
        .unwrap();
    put_surely(&kv, "k", "first").await;
    let mut streams: Vec<_> = futures::stream::iter(0..3)
        .then(|_| async { kv.watch(watch_prefix("k", 1)).await.unwrap() })
        .collect()
        .await;
    for stream in &mut streams {
        assert_eq!(next_changes(stream).await, ["2:k=first"]);
    }
    drop(cluster.servers.remove(&leader));
    let revision = put_surely(&kv, "k", "second").await;
    for stream in &mut streams {
        let mut seen = next_changes(stream).await;
        // An attempt whose answer was lost may have happened as well; it is seen before.
        while !seen.last().unwrap().starts_with(&format!("{}:", revision.0)) {
            seen.extend(next_changes(stream).await);
        }
        assert!(seen.iter().all(|change| change.ends_with(":k=second")), "{seen:?}");
    }
}
