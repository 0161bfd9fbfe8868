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

/// Frames of HTTP/2, as RFC 9113 lays them out: length, kind, flags, stream, payload.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// POST http://a/ in HPACK, by the static table.
const REQUEST: &[u8] = &[0x83, 0x86, 0x84, 0x41, 0x01, b'a'];

/// Sends what a flood consists of until the other side has enough of it, or all is sent. Returns whether it hung up.
async fn flooded(address: std::net::SocketAddr, flood: Vec<u8>) -> bool {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    hello.extend(frame(SETTINGS, 0, 0, &[]));
    stream.write_all(&hello).await.unwrap();
    let (mut read, mut write) = stream.split();
    let mut answers = Vec::new();
    let reading = async { drop(read.read_to_end(&mut answers).await) };
    let writing = async {
        if write.write_all(&flood).await.is_ok() {
            std::future::pending::<()>().await;
        }
    };
    let ended = async {
        tokio::select! {
            () = reading => {}
            () = writing => {}
        }
    };
    tokio::time::timeout(Duration::from_secs(5), ended).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_abuses_http2_is_hung_up_on() {
    let (_server, address, _scratch) = start(|options| options).await;
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    slowest_put(&channel).await;
    // Requests that are taken back at once, of which each has cost us something.
    let resets = (0..20_000_u32).flat_map(|number| {
        let stream = 2 * number + 1;
        let mut pair = frame(HEADERS, END_HEADERS, stream, REQUEST);
        pair.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        pair
    });
    // A header that never ends.
    let mut endless = frame(HEADERS, 0, 1, REQUEST);
    let piece = [&[0x40, 0x01, b'x', 0x7f, 0x81, 0x0f][..], &[b'y'; 2048]].concat();
    (0..2000).for_each(|_| endless.extend(frame(CONTINUATION, 0, 1, &piece)));
    let floods = [("rapid reset", resets.collect::<Vec<u8>>()), ("continuation", endless)];
    for (name, flood) in floods {
        let (hung_up, slowest) = tokio::join!(flooded(address, flood), slowest_put(&channel));
        assert!(hung_up, "{name}");
        assert!(slowest < Duration::from_secs(1), "{name}: {slowest:?}");
    }
    // Pings are answered one by one, and cost no memory.
    let pings = (0..100_000).flat_map(|_| frame(PING, 0, 0, &[7; 8])).collect();
    let slowest = tokio::select! {
        _ = flooded(address, pings) => Duration::ZERO,
        slowest = slowest_put(&channel) => slowest,
    };
    assert!(slowest < Duration::from_secs(1), "pings: {slowest:?}");
    slowest_put(&channel).await;
}
