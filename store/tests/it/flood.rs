//! Those who only take up room do not keep out those who work.

use std::time::Duration;

use proto::etcd::etcdserverpb as pb;
use store::{Listeners, Options, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::certificates::{Authority, Files, client_config};
use crate::single::quick;

const SILENT: usize = 2000;

async fn start(
    options: impl FnOnce(Options) -> Options,
) -> (Server, std::net::SocketAddr, tempfile::TempDir) {
    let scratch = tempfile::tempdir().unwrap();
    let client = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = client.local_addr().unwrap();
    let options = options(quick(Options::single(scratch.path())));
    let server = Server::start_on(options, Listeners { peer: vec![], client: vec![client] }).await.unwrap();
    (server, address, scratch)
}

fn files_for(connections: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let current = limit.maximum.map_or(connections, |maximum| maximum.min(connections));
    setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum: limit.maximum }).unwrap();
}

/// Returns how long the slowest of some puts took.
async fn slowest_put(channel: &Channel) -> Duration {
    let mut kv = pb::kv_client::KvClient::new(channel.clone());
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let begun = Instant::now();
        kv.put(pb::PutRequest { key: "k".into(), value: "v".into(), ..Default::default() }).await.unwrap();
        slowest = slowest.max(begun.elapsed());
    }
    slowest
}

/// Waits for the other side to hang up.
async fn hung_up(mut stream: TcpStream) {
    let mut rest = Vec::new();
    // However it ends: closed or reset.
    drop(stream.read_to_end(&mut rest).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_say_nothing_are_closed_in_time() {
    files_for(8192);
    let (_server, address, _scratch) =
        start(|options| Options { greeting_timeout_ms: 3000, ..options }).await;
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    slowest_put(&channel).await;
    let begun = Instant::now();
    let mut silent = JoinSet::new();
    for number in 0..SILENT {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // Some begin, and never finish their header.
        if number % 3 == 0 {
            stream.write_all(b"GET /health HTTP/1.1\r\nhost: ").await.unwrap();
        }
        silent.spawn(hung_up(stream));
    }
    assert!(slowest_put(&channel).await < Duration::from_secs(1), "others are served as before");
    let newcomer = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    assert!(slowest_put(&newcomer).await < Duration::from_secs(1), "newcomers are let in");
    let closed =
        tokio::time::timeout(Duration::from_secs(10), async { while silent.join_next().await.is_some() {} });
    closed.await.expect("all are closed");
    assert!(begun.elapsed() >= Duration::from_secs(3), "none of them earlier: there is room for all");
    slowest_put(&channel).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_places_are_taken_the_silent_leave_first() {
    let authority = Authority::new("ours");
    let scratch = tempfile::tempdir().unwrap();
    let files = Files::new(scratch.path());
    files.trust(&[&authority]);
    files.issue(&authority.issue("server"));
    let tls = files.tls();
    let (_server, address, _data) =
        start(|options| Options { client_tls: Some(tls), connections_max: 10, ..options }).await;
    let own = authority.issue("client");
    let connect = || {
        let endpoint = Channel::from_shared(format!("https://{address}")).unwrap();
        let endpoint = endpoint.tls_config(client_config(&authority, &own)).unwrap();
        async move { endpoint.connect().await }
    };
    let first = connect().await.unwrap();
    slowest_put(&first).await;
    let mut silent = JoinSet::new();
    for _ in 0..30 {
        // Not even a handshake.
        silent.spawn(hung_up(TcpStream::connect(address).await.unwrap()));
    }
    let mut speaking = vec![first];
    for _ in 0..9 {
        let channel = connect().await.expect("whoever speaks gets a place");
        slowest_put(&channel).await;
        speaking.push(channel);
    }
    let everybody_left = async { while silent.join_next().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(5), everybody_left).await.expect("their places were needed");
    let refused = match connect().await {
        Ok(channel) => pb::kv_client::KvClient::new(channel).put(pb::PutRequest::default()).await.is_err(),
        Err(_) => true,
    };
    assert!(refused, "there are ten places");
    for channel in &speaking {
        slowest_put(channel).await;
    }
}
