//! One member with everything: Raft, disk, duties.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use store::{Error, Listeners, Options, Seams, Server};
use store_client::testing::{list, put};
use store_client::{Kv, LeaseId, Revision};

/// Small enough to wait for in tests.
pub fn quick(options: Options) -> Options {
    Options { heartbeat_interval_ms: 30, election_timeout_ms: 150, free_bytes_min: 0, ..options }
}

/// A member that clients can reach, and where.
pub async fn serve(directory: &Path) -> (Server, String) {
    let client = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", client.local_addr().unwrap());
    let options = quick(Options { client_urls: vec![url.clone()], ..Options::single(directory) });
    let listeners = Listeners { peer: Vec::new(), client: vec![client] };
    (Server::start_on(options, listeners).await.unwrap(), url)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_member_passes_the_suite() {
    let scratch = tempfile::tempdir().unwrap();
    let mut servers = Vec::new();
    let count = std::sync::atomic::AtomicU32::new(0);
    let started = std::sync::Mutex::new(&mut servers);
    store_client::testing::suite(|| async {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let server =
            Server::start(quick(Options::single(scratch.path().join(number.to_string())))).await.unwrap();
        let handle = server.handle();
        started.lock().unwrap().push(server);
        handle
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_keeps_everything_although_nothing_was_flushed() {
    let scratch = tempfile::tempdir().unwrap();
    let options = quick(Options::single(scratch.path()));
    let server = Server::start(options.clone()).await.unwrap();
    let kv = server.handle();
    for number in 0..50 {
        put(&kv, &format!("k{}", number % 7), &number.to_string()).await;
    }
    kv.compact(Revision(20)).await.unwrap();
    kv.lease_grant(LeaseId(5), 500).await.unwrap();
    let before = (list(&kv, "", 0).await, list(&kv, "", 30).await, kv.hash(Revision(0)).await.unwrap());
    drop(kv);
    drop(server);
    let server = restart(options).await;
    let kv = server.handle();
    assert_eq!(kv.read_revision().await.unwrap(), Revision(51));
    let after = (list(&kv, "", 0).await, list(&kv, "", 30).await, kv.hash(Revision(0)).await.unwrap());
    assert_eq!(after, before);
    let lease = kv.lease_time_to_live(LeaseId(5), false).await.unwrap();
    assert!((490..=500).contains(&lease.ttl_s), "{lease:?}");
    assert_eq!(put(&kv, "next", "1").await, Revision(52));
    server.stop().await.unwrap();
}

/// A member that was dropped lets go of its directory as its tasks end.
pub async fn restart(options: Options) -> Server {
    restart_with(options, Seams::default()).await
}

/// The same, on something else than this machine.
pub async fn restart_with(options: Options, seams: Seams) -> Server {
    let until = tokio::time::Instant::now() + store_client::testing::DEADLINE;
    loop {
        let start =
            async || Server::start_with(options.clone(), Listeners::bind(&options)?, seams.clone()).await;
        match start().await {
            Ok(server) => return server,
            Err(error) if tokio::time::Instant::now() > until => panic!("{error}"),
            Err(_still_in_use) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_work_is_said_at_the_start() {
    let scratch = tempfile::tempdir().unwrap();
    let options = quick(Options::single(scratch.path()));
    let server = Server::start(options.clone()).await.unwrap();
    let second = Server::start(options.clone()).await;
    assert!(
        matches!(&second, Err(Error::Directory { detail, .. }) if detail.contains("another process")),
        "{second:?}"
    );
    server.stop().await.unwrap();
    let other = Options { cluster_token: "another".into(), ..options.clone() };
    let foreign = Server::start(other).await;
    assert!(
        matches!(&foreign, Err(Error::Directory { detail, .. }) if detail.contains("another")),
        "{foreign:?}"
    );

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listening = Options { listen_client: vec![taken.local_addr().unwrap()], ..options };
    let refused = Server::start(listening).await;
    assert!(matches!(&refused, Err(Error::Listen { .. })), "{refused:?}");
}
