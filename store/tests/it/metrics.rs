//! What a member tells of itself: metrics, and which requests were slow.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use proto::etcd::etcdserverpb as pb;
use store::{Listeners, Options, Server};
use tonic::transport::Channel;

use crate::cluster::{Cluster, put_surely, wait_for};
use crate::single::quick;

async fn start(adjust: impl FnOnce(Options) -> Options) -> (Server, SocketAddr, tempfile::TempDir) {
    let scratch = tempfile::tempdir().unwrap();
    let client = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = client.local_addr().unwrap();
    let options = adjust(quick(Options::single(scratch.path())));
    let server = Server::start_on(options, Listeners { peer: vec![], client: vec![client] }).await.unwrap();
    server.handle().raft().read_index().await.unwrap();
    (server, address, scratch)
}

/// All series with their values. Two of the same name would be a mistake.
async fn metrics(address: SocketAddr) -> BTreeMap<String, f64> {
    let asked = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    let answer = asked.await.unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(body.ends_with("# EOF\n"));
    let mut found = BTreeMap::new();
    for line in body.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert_eq!(found.insert(name.to_owned(), value.parse().unwrap()), None, "{name} twice");
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcds_dashboards_find_their_metrics() {
    let (server, address, _scratch) =
        start(|options| Options { warning_apply_duration_ms: 0, ..options }).await;
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let mut kv = pb::kv_client::KvClient::new(channel.clone());
    let put = || pb::PutRequest { key: "k".into(), value: vec![7; 1000].into(), ..Default::default() };
    let mut watch = pb::watch_client::WatchClient::new(channel.clone());
    let create = pb::WatchCreateRequest { key: "k".into(), ..Default::default() };
    let create = pb::watch_request::RequestUnion::CreateRequest(create);
    let (requests, incoming) = tokio::sync::mpsc::channel(1);
    requests.send(pb::WatchRequest { request_union: Some(create) }).await.unwrap();
    let incoming = tokio_stream::wrappers::ReceiverStream::new(incoming);
    let mut changes = watch.watch(incoming).await.unwrap().into_inner();
    assert!(changes.message().await.unwrap().unwrap().created);
    for _ in 0..3 {
        kv.put(put()).await.unwrap();
        changes.message().await.unwrap().unwrap();
    }
    kv.delete_range(pb::DeleteRangeRequest { key: "k".into(), ..Default::default() }).await.unwrap();
    kv.range(pb::RangeRequest { key: "k".into(), revision: 99, ..Default::default() }).await.unwrap_err();
    kv.put(pb::PutRequest { lease: 77, ..put() }).await.unwrap_err();
    let nonsense = "/etcdserverpb.KV/Nonsense".parse().unwrap();
    let mut raw = tonic::client::Grpc::new(channel);
    raw.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<pb::PutRequest, pb::PutResponse>::default();
    raw.unary(tonic::Request::new(put()), nonsense, codec).await.unwrap_err();

    let found = metrics(address).await;
    let grpc = |name: &str, method: &str, kind: &str| {
        format!(r#"{name}{{grpc_method="{method}",grpc_service="etcdserverpb.{}",grpc_type="{kind}"}}"#, "KV")
    };
    let handled = |code: &str, method: &str| {
        format!(
            r#"grpc_server_handled_total{{grpc_code="{code}",grpc_method="{method}",grpc_service="etcdserverpb.KV",grpc_type="unary"}}"#
        )
    };
    let watched = r#"{grpc_method="Watch",grpc_service="etcdserverpb.Watch",grpc_type="bidi_stream"}"#;
    let exact = [
        ("etcd_server_has_leader".to_owned(), 1.0),
        ("etcd_server_leader_changes_seen_total".to_owned(), 1.0),
        ("etcd_server_proposals_pending".to_owned(), 0.0),
        ("etcd_debugging_mvcc_current_revision".to_owned(), 5.0),
        ("etcd_debugging_mvcc_watcher_total".to_owned(), 1.0),
        ("etcd_debugging_mvcc_slow_watcher_total".to_owned(), 0.0),
        ("etcd_mvcc_put_total".to_owned(), 3.0),
        ("etcd_mvcc_delete_total".to_owned(), 1.0),
        (grpc("grpc_server_started_total", "Put", "unary"), 4.0),
        (grpc("grpc_server_msg_received_total", "Put", "unary"), 4.0),
        (grpc("grpc_server_msg_sent_total", "Put", "unary"), 3.0),
        (handled("OK", "Put"), 3.0),
        (handled("NotFound", "Put"), 1.0),
        (handled("OutOfRange", "Range"), 1.0),
        (format!("grpc_server_started_total{watched}"), 1.0),
        (format!("grpc_server_msg_received_total{watched}"), 1.0),
    ];
    for (name, value) in exact {
        assert_eq!(found.get(&name), Some(&value), "{name} in {found:#?}");
    }
    let at_least = [
        ("etcd_server_proposals_committed_total", 5.0),
        ("etcd_server_proposals_applied_total", 5.0),
        ("etcd_server_slow_apply_total", 4.0),
        ("etcd_debugging_mvcc_events_total", 3.0),
        ("etcd_disk_wal_fsync_duration_seconds_count", 4.0),
        ("etcd_disk_wal_fsync_duration_seconds_sum", 0.000_001),
        (r#"etcd_disk_backend_commit_duration_seconds_bucket{le="+Inf"}"#, 4.0),
        ("etcd_mvcc_db_total_size_in_bytes", 0.0),
        ("etcd_network_client_grpc_received_bytes_total", 4000.0),
        ("etcd_network_client_grpc_sent_bytes_total", 3000.0),
        ("process_resident_memory_bytes", 1e6),
        ("process_cpu_seconds_total", 0.0),
    ];
    for (name, least) in at_least {
        assert!(found.get(name).is_some_and(|value| *value >= least), "{name} in {found:#?}");
    }
    assert!(!found.keys().any(|name| name.contains("Nonsense")), "no series for what clients make up");
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_times_the_way_to_the_others() {
    let scratch = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(scratch.path()).await;
    let leader = cluster.leader().await;
    put_surely(&cluster.handle(&leader), "k", "1").await;
    let meters = cluster.handle(&leader).raft().meters().clone();
    let timed = || meters.round_trips().iter().filter(|(_, trips)| trips.count > 0).count();
    wait_for("round trips", || (timed() == 2).then_some(())).await;
}

/// Where a log goes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_slow_request_is_told_of_without_what_it_says() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _here = tracing::subscriber::set_default(subscriber);
    let (server, address, _scratch) =
        start(|options| Options { warning_unary_request_duration_ms: 0, ..options }).await;
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let mut kv = pb::kv_client::KvClient::new(channel);
    for _ in 0..5 {
        let put = pb::PutRequest { key: "whose".into(), value: "secret".into(), ..Default::default() };
        kv.put(put).await.unwrap();
    }
    server.stop().await.unwrap();
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let told: Vec<_> = log.lines().filter(|line| line.contains("a request took long")).collect();
    assert_eq!(told.len(), 1, "one for all within the interval: {log}");
    for part in ["method=\"Put\"", "code=Ok", "request_bytes=20", "revision=2", "sync_ms=", "apply_ms="] {
        assert!(told[0].contains(part), "{part} in {}", told[0]);
    }
    assert!(!log.contains("whose") && !log.contains("secret"), "{log}");
}
