//! What belongs to HTTP: health, version and metrics as load balancers and Prometheus ask for them, and the time that a call is given.

use std::io::{Read, Write};
use std::net::TcpStream;

use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use proto::etcd::etcdserverpb as pb;
use store::{Listeners, Options, Server};
use store_client::Kv;

use crate::single::quick;

/// Asks with HTTP/1.1 and returns status line and body.
async fn ask(address: std::net::SocketAddr, request: &'static str) -> (String, String) {
    let asked = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address)?;
        write!(stream, "{request} HTTP/1.1\r\nhost: store\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    });
    let answer = asked.await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_tells_how_it_is() {
    let scratch = tempfile::tempdir().unwrap();
    let client = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = client.local_addr().unwrap();
    let options =
        quick(Options { client_urls: vec![format!("http://{address}")], ..Options::single(scratch.path()) });
    let server = Server::start_on(options, Listeners { peer: vec![], client: vec![client] }).await.unwrap();
    server.handle().txn(store_client::Txn::default()).await.unwrap();

    let ok = "HTTP/1.1 200 OK";
    assert_eq!(
        ask(address, "GET /health").await,
        (ok.to_owned(), r#"{"health":"true","reason":""}"#.to_owned())
    );
    assert_eq!(ask(address, "GET /livez").await, (ok.to_owned(), "ok\n".to_owned()));
    let (status, body) = ask(address, "GET /readyz?verbose").await;
    assert_eq!((status.as_str(), body.as_str()), (ok, "[+]linearizable_read ok\n[+]space ok\nok\n"));
    assert!(ask(address, "GET /version").await.1.contains(r#""etcdserver":"3.6.0""#));
    let (_, metrics) = ask(address, "GET /metrics").await;
    for line in [
        "etcd_server_has_leader 1\n",
        "etcd_server_is_leader 1\n",
        "etcd_debugging_mvcc_current_revision 1\n",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    assert_eq!(ask(address, "POST /health").await.0, "HTTP/1.1 405 Method Not Allowed");
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_without_a_quorum_is_not_well() {
    let scratch = tempfile::tempdir().unwrap();
    let client = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = client.local_addr().unwrap();
    let members = [("a", "http://127.0.0.1:1"), ("b", "http://127.0.0.1:2"), ("c", "http://127.0.0.1:3")];
    let members = members.map(|(name, url)| (name.to_owned(), url.to_owned())).into();
    let options = quick(Options::member("a", scratch.path(), members));
    let server = Server::start_on(options, Listeners { peer: vec![], client: vec![client] }).await.unwrap();

    let (status, body) = ask(address, "GET /health").await;
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert_eq!(body, r#"{"health":"false","reason":"RAFT NO LEADER"}"#);
    assert_eq!(ask(address, "GET /health?serializable=true").await.0, "HTTP/1.1 200 OK", "it can still read");
    assert_eq!(ask(address, "GET /livez").await.0, "HTTP/1.1 200 OK");
    let (status, body) = ask(address, "GET /readyz").await;
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert!(body.starts_with("[-]linearizable_read failed"), "{body}");
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_ends_when_the_time_that_its_client_gave_it_is_over() {
    let scratch = tempfile::tempdir().unwrap();
    let client = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let origin: http::Uri = format!("http://{}", client.local_addr().unwrap()).parse().unwrap();
    let members = [("a", "http://127.0.0.1:1"), ("b", "http://127.0.0.1:2"), ("c", "http://127.0.0.1:3")];
    let members = members.map(|(name, url)| (name.to_owned(), url.to_owned())).into();
    let options = quick(Options::member("a", scratch.path(), members));
    let server = Server::start_on(options, Listeners { peer: vec![], client: vec![client] }).await.unwrap();

    // tonic's own client would not wait for the answer.
    let channel = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<tonic::body::Body>();
    let mut keys = pb::kv_client::KvClient::with_origin(channel.clone(), origin.clone());
    let mut leases = pb::lease_client::LeaseClient::with_origin(channel, origin);
    let put = pb::PutRequest { key: "k".into(), value: "v".into(), ..Default::default() };
    let put = keys.put(within("100m", put)).await.unwrap_err();
    let grant =
        leases.lease_grant(within("100000u", pb::LeaseGrantRequest { ttl: 10, id: 0 })).await.unwrap_err();
    for late in [put, grant] {
        assert_eq!(late.code(), tonic::Code::DeadlineExceeded, "{late}");
        assert!(late.message().contains("the time that the client gave"), "{late}");
    }
    server.stop().await.unwrap();
}

fn within<T>(time: &'static str, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("grpc-timeout", tonic::metadata::MetadataValue::from_static(time));
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_have_a_listener_of_their_own() {
    let scratch = tempfile::tempdir().unwrap();
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let options = quick(Options { listen_metrics: vec![address], ..Options::single(scratch.path()) });
    let server = Server::start(options).await.unwrap();
    server.handle().read_revision().await.unwrap();
    assert_eq!(ask(address, "GET /health").await.0, "HTTP/1.1 200 OK");
    assert!(ask(address, "GET /metrics").await.1.contains("etcd_server_has_leader 1\n"));
    let (_, body) = ask(address, "POST /v3/kv/range").await;
    assert_eq!(body, "", "and nothing else");
    server.stop().await.unwrap();
}
