//! The API as JSON over HTTP, asked as with curl, and compared with etcd where it is installed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use store::{Listeners, Options, Server};

use crate::single::quick;

async fn start() -> (Server, SocketAddr, tempfile::TempDir) {
    let scratch = tempfile::tempdir().unwrap();
    let client = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = client.local_addr().unwrap();
    let options = quick(Options::single(scratch.path()));
    let options = Options { client_urls: vec![format!("http://{address}")], ..options };
    let server = Server::start_on(options, Listeners { peer: vec![], client: vec![client] }).await.unwrap();
    server.handle().raft().read_index().await.unwrap();
    (server, address, scratch)
}

/// Sends a request; HTTP/1.0, so that the answer ends with the connection.
fn open(address: SocketAddr, method: &str, path: &str, body: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let length = body.len();
    // At once: etcd resets a connection when a body comes after it has answered.
    let request =
        format!("{method} {path} HTTP/1.0\r\nhost: store\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
    BufReader::new(stream)
}

/// Reads up to the body; returns the status.
fn head(answer: &mut impl BufRead) -> u16 {
    let mut lines = answer.lines().map(Result::unwrap);
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    assert!(lines.any(|line| line.is_empty()));
    status
}

fn ask(address: SocketAddr, path: &str, body: &str) -> (u16, Value) {
    let mut answer = open(address, "POST", path, body);
    let status = head(&mut answer);
    let mut text = String::new();
    answer.read_to_string(&mut text).unwrap();
    (status, serde_json::from_str(text.trim()).unwrap_or_else(|_| json!(text)))
}

async fn post(address: SocketAddr, path: &'static str, body: &'static str) -> (u16, Value) {
    tokio::task::spawn_blocking(move || ask(address, path, body)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_written_and_read_as_json() {
    let (server, address, _scratch) = start().await;
    let (status, put) = post(address, "/v3/kv/put", r#"{"key":"Zm9v","value":"YmFy"}"#).await;
    assert_eq!((status, &put["header"]["revision"]), (200, &json!("2")));
    assert_eq!(put["header"]["member_id"], json!(server.handle().member_id().0.to_string()));
    let (_, range) = post(address, "/v3/kv/range", r#"{"key":"Zm9v"}"#).await;
    let kv =
        json!({"key": "Zm9v", "value": "YmFy", "create_revision": "2", "mod_revision": "2", "version": "1"});
    assert_eq!((&range["kvs"], &range["count"]), (&json!([kv]), &json!("1")));
    let (status, refused) = post(address, "/v3/kv/range", r#"{"key":"Zm9v","revision":"99"}"#).await;
    let text = "etcdserver: mvcc: required revision is a future revision";
    assert_eq!((status, refused), (400, json!({"error": text, "message": text, "code": 11})));
    let (status, refused) = post(address, "/v3/kv/range", r#"{"key":5}"#).await;
    assert_eq!((status, &refused["code"]), (400, &json!(3)));
    assert_eq!(post(address, "/v3/kv/range", r#"{"key""#).await.0, 400);
    assert_eq!(post(address, "/v3/nothing", "{}").await.0, 404);
    let got = tokio::task::spawn_blocking(move || head(&mut open(address, "GET", "/v3/kv/range", "")));
    assert_eq!(got.await.unwrap(), 405);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_has_a_bound() {
    let (server, address, _scratch) = start().await;
    let asked = tokio::task::spawn_blocking(move || {
        let value = "A".repeat(4 << 20);
        let mut stream = TcpStream::connect(address).unwrap();
        let body = format!(r#"{{"key":"Zm9v","value":"{value}"}}"#);
        let head = format!("POST /v3/kv/put HTTP/1.0\r\ncontent-length: {}\r\n\r\n", body.len());
        // It may be refused before it is all sent.
        drop(stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())));
        let mut answer = vec![0; 12];
        stream.read_exact(&mut answer).map(|()| String::from_utf8(answer).unwrap())
    });
    assert_eq!(asked.await.unwrap().unwrap(), "HTTP/1.0 400");
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_is_a_line_for_each_message() {
    let (server, address, _scratch) = start().await;
    let watching = tokio::task::spawn_blocking(move || {
        let mut answer = open(address, "POST", "/v3/watch", r#"{"create_request":{"key":"Zm9v"}}"#);
        assert_eq!(head(&mut answer), 200);
        let mut lines = answer.lines().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
        assert_eq!(lines.next().unwrap()["result"]["created"], json!(true));
        ask(address, "/v3/kv/put", r#"{"key":"Zm9v","value":"YmFy"}"#);
        ask(address, "/v3/kv/deleterange", r#"{"key":"Zm9v"}"#);
        let put = lines.next().unwrap();
        assert_eq!(put["result"]["events"][0]["kv"]["value"], json!("YmFy"));
        assert_eq!(put["result"]["events"][0].get("type"), None, "PUT is the default and left out");
        assert_eq!(lines.next().unwrap()["result"]["events"][0]["type"], json!("DELETE"));
    });
    watching.await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_is_answered() {
    let (server, address, _scratch) = start().await;
    let url = format!("http://{address}/v3/kv/put");
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-L", &url, "-X", "POST", "-d", r#"{"key": "Zm9v", "value": "YmFy"}"#]);
    match tokio::task::spawn_blocking(move || curl.output()).await.unwrap() {
        Ok(output) => {
            let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(answer["header"]["revision"], json!("2"));
        }
        Err(_) => eprintln!("skipped: curl is not installed"),
    }
    server.stop().await.unwrap();
}

/// A member of etcd, which ends with the test.
struct Etcd {
    process: Child,
    address: SocketAddr,
    _scratch: tempfile::TempDir,
}

impl Etcd {
    fn start() -> Option<Self> {
        let scratch = tempfile::tempdir().unwrap();
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (address, peer) = (free(), free());
        let mut etcd = Command::new("etcd");
        etcd.arg("--data-dir").arg(scratch.path()).args(["--log-level", "error"]);
        let (client, peer) = (format!("http://{address}"), format!("http://{peer}"));
        etcd.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        etcd.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        etcd.args(["--initial-cluster", &format!("default={peer}")]);
        let process = etcd.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        let etcd = Self { process, address, _scratch: scratch };
        let until = std::time::Instant::now() + store_client::testing::DEADLINE;
        loop {
            if TcpStream::connect(address).is_ok() && ask(address, "/v3/maintenance/status", "{}").0 == 200 {
                return Some(etcd);
            }
            assert!(std::time::Instant::now() < until, "etcd does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The first things that a watch tells: that it began or ended, and events, in however many messages.
fn told(answer: &mut impl BufRead, count: usize) -> Vec<Value> {
    assert_eq!(head(answer), 200);
    let mut facts = Vec::new();
    for line in answer.lines() {
        let message: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let mut result = message["result"].clone();
        let events = result["events"].take();
        match events.as_array() {
            Some(events) => facts.extend_from_slice(events),
            None => {
                // Which revision a message without events names depends on when it was made.
                result["header"].take();
                facts.push(result);
            }
        }
        if facts.len() >= count {
            break;
        }
    }
    assert_eq!(facts.len(), count, "{facts:?}");
    facts
}

/// What must be equal: everything but who answers and how the process is built.
fn comparable(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            for name in ["cluster_id", "member_id", "raft_term"] {
                fields.remove(name);
            }
            fields.values_mut().for_each(|field| *field = comparable(field.take()));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = comparable(item.take())),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    value
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcds_gateway_answers_the_same() {
    let Some(etcd) = tokio::task::spawn_blocking(Etcd::start).await.unwrap() else {
        eprintln!("skipped: etcd is not installed");
        return;
    };
    let (server, ours, _scratch) = start().await;
    let theirs = etcd.address;
    let story = tokio::task::spawn_blocking(move || {
        for (path, body) in STORY {
            let ((status, answer), (expected_status, expected)) =
                (ask(ours, path, body), ask(theirs, path, body));
            assert_eq!(comparable(answer), comparable(expected), "{path} {body}");
            // etcd 3.4 has 412 where 3.6 and we have 400.
            let expected_status = if expected_status == 412 { 400 } else { expected_status };
            assert_eq!(status, expected_status, "{path} {body}");
        }
        for (body, count) in STREAMS {
            let facts = |address| told(&mut open(address, "POST", "/v3/watch", body), *count);
            assert_eq!(facts(ours), facts(theirs), "{body}");
        }
    });
    story.await.unwrap();
    drop(etcd);
    server.stop().await.unwrap();
}

const STORY: &[(&str, &str)] = &[
    ("/v3/kv/put", r#"{"key":"Zm9v","value":"YmFy"}"#),
    ("/v3/kv/put", r#"{"key":"Zm9v","value":"YmF6","prevKv":true}"#),
    ("/v3/kv/put", r#"{"key":"Zm9v","prev_kv":true,"ignore_value":true}"#),
    ("/v3/kv/put", r#"{"key":"Zm8=","value":""}"#),
    ("/v3/kv/put", r#"{"value":"YmFy"}"#),
    ("/v3/kv/put", r#"{"key":"Zm9v","lease":"77"}"#),
    ("/v3/kv/range", r#"{"key":"Zm9v"}"#),
    ("/v3/kv/range", r#"{"key":"AA==","range_end":"AA==","sort_order":"DESCEND","sortTarget":"MOD"}"#),
    ("/v3/kv/range", r#"{"key":"AA==","rangeEnd":"AA==","limit":"1"}"#),
    ("/v3/kv/range", r#"{"key":"AA==","rangeEnd":"AA==","countOnly":true}"#),
    ("/v3/kv/range", r#"{"key":"Zm9v","keys_only":true,"revision":2}"#),
    ("/v3/kv/range", r#"{"key":"Zm9v","revision":"99"}"#),
    ("/v3/kv/range", ""),
    (
        "/v3/kv/txn",
        r#"{"compare":[{"target":"VERSION","key":"Zm9v","version":"3"}],
            "success":[{"requestPut":{"key":"eA==","value":"MQ=="}},{"request_range":{"key":"Zm9v"}}],
            "failure":[{"request_delete_range":{"key":"Zm9v"}}]}"#,
    ),
    (
        "/v3/kv/txn",
        r#"{"compare":[{"target":"VALUE","result":"NOT_EQUAL","key":"Zm9v","value":"YmF6"}],
            "failure":[{"request_delete_range":{"key":"eA==","prev_kv":true}}]}"#,
    ),
    ("/v3/kv/deleterange", r#"{"key":"Zm9v","prev_kv":true}"#),
    ("/v3/kv/deleterange", r#"{"key":"Zm9v"}"#),
    ("/v3/kv/compaction", r#"{"revision":"2"}"#),
    ("/v3/kv/compaction", r#"{"revision":"2"}"#),
    ("/v3/kv/compaction", r#"{"revision":"200"}"#),
    ("/v3/kv/range", r#"{"key":"Zm9v","revision":"1"}"#),
    ("/v3/lease/grant", r#"{"TTL":"1000","ID":"7"}"#),
    ("/v3/lease/grant", r#"{"TTL":"1000","ID":7}"#),
    ("/v3/lease/keepalive", r#"{"ID":"7"}"#),
    ("/v3/lease/keepalive", r#"{"ID":"8"}"#),
    ("/v3/kv/put", r#"{"key":"bA==","lease":"7"}"#),
    ("/v3/lease/leases", "{}"),
    ("/v3/kv/lease/leases", ""),
    ("/v3/lease/timetolive", r#"{"ID":"99","keys":true}"#),
    ("/v3/lease/revoke", r#"{"ID":"7"}"#),
    ("/v3/lease/revoke", r#"{"ID":"7"}"#),
    ("/v3/lease/grant", r#"{"TTL":"1000","ID":"9"}"#),
    ("/v3/lock/lock", r#"{"name":"bG9jaw==","lease":"9"}"#),
    ("/v3/lock/unlock", r#"{"key":"bG9jay85"}"#),
    ("/v3/election/leader", r#"{"name":"ZQ=="}"#),
    ("/v3/election/campaign", r#"{"name":"ZQ==","lease":"9","value":"dg=="}"#),
    ("/v3/election/leader", r#"{"name":"ZQ=="}"#),
    ("/v3/election/resign", r#"{"leader":{"name":"ZQ==","key":"ZS85","rev":"14","lease":"9"}}"#),
    ("/v3/cluster/member/remove", r#"{"ID":"5"}"#),
    ("/v3/cluster/member/update", r#"{"ID":"5","peerURLs":["http://h:1"]}"#),
    ("/v3/maintenance/transfer-leadership", r#"{"targetID":"5"}"#),
    ("/v3/kv/nothing", "{}"),
];

/// What is asked of a watch, and how much it tells.
const STREAMS: &[(&str, usize)] = &[
    (r#"{"create_request":{"key":"Zm9v","start_revision":"4"}}"#, 3),
    (
        r#"{"createRequest":{"key":"AA==","rangeEnd":"AA==","startRevision":"3","prevKv":true,"filters":["NOPUT"]}}"#,
        5,
    ),
    (r#"{"create_request":{"key":"Zm9v","start_revision":"4","watch_id":"5","filters":["NODELETE"]}}"#, 2),
    (r#"{"create_request":{"key":"Zm9v"}}{"cancel_request":{"watch_id":"0"}}"#, 2),
];
