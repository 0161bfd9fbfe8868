//! Every call there is, by nobody, while auth is on: only what tells nothing, or is the way in, is answered.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{NOBODY, Store};

/// What anybody may ask.
const OPEN: [&str; 2] = ["etcdserverpb.Auth/AuthStatus", "etcdserverpb.Auth/Authenticate"];

/// Streams that are refused for each of their requests; see the tests of watches and leases.
const REFUSED_LATER: [&str; 2] = ["etcdserverpb.Watch/Watch", "etcdserverpb.Lease/LeaseKeepAlive"];

/// The calls of all services for clients, from the protocol files.
fn calls() -> BTreeSet<String> {
    // Not as it was compiled: what was built in one clone may be run from another.
    let here = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap());
    let root = here.join("../proto");
    let files = ["etcd/rpc.proto", "etcd/lock.proto", "etcd/election.proto", "kontiki/store.proto"];
    let mut calls = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        let (mut package, mut service) = (String::new(), String::new());
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("package"), Some(name)) => package = name.trim_end_matches(';').to_owned(),
                (Some("service"), Some(name)) => service = name.to_owned(),
                (Some("rpc"), Some(call)) => {
                    let call = call.split('(').next().unwrap();
                    calls.insert(format!("{package}.{service}/{call}"));
                }
                _ => {}
            }
        }
    }
    calls
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_answered_while_auth_is_on() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::start(scratch.path()).await;
    store.with_users(&[]).await;
    // Peers alone may ask these; clients are not served.
    let calls: Vec<String> = calls().into_iter().filter(|call| !call.contains(".Members/")).collect();
    assert!(calls.len() > 50, "{calls:?}");
    let mut refused = 0;
    for call in &calls {
        if OPEN.contains(&call.as_str()) || REFUSED_LATER.contains(&call.as_str()) {
            continue;
        }
        let status = ask(&store, call).await.expect_err(call);
        assert_eq!(super::told(&status), NOBODY, "{call}");
        refused += 1;
    }
    assert_eq!(refused, calls.len() - OPEN.len() - REFUSED_LATER.len());
}

/// An empty request: who asks is looked at before what is asked.
async fn ask(store: &Store, call: &str) -> Result<(), tonic::Status> {
    let line = store.nobody().await;
    let mut grpc = tonic::client::Grpc::new(line);
    grpc.ready().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
    let path = http::uri::PathAndQuery::try_from(format!("/{call}")).unwrap();
    let codec = Raw;
    let request = tonic::Request::new(bytes::Bytes::new());
    let mut answers = grpc.server_streaming(request, path, codec).await?.into_inner();
    answers.message().await.map(drop)
}

/// Bytes as they are.
struct Raw;

impl tonic::codec::Codec for Raw {
    type Encode = bytes::Bytes;
    type Decode = bytes::Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl tonic::codec::Encoder for Raw {
    type Item = bytes::Bytes;
    type Error = tonic::Status;

    fn encode(
        &mut self,
        item: bytes::Bytes,
        out: &mut tonic::codec::EncodeBuf<'_>,
    ) -> Result<(), tonic::Status> {
        bytes::BufMut::put(out, item);
        Ok(())
    }
}

impl tonic::codec::Decoder for Raw {
    type Item = bytes::Bytes;
    type Error = tonic::Status;

    fn decode(
        &mut self,
        source: &mut tonic::codec::DecodeBuf<'_>,
    ) -> Result<Option<bytes::Bytes>, tonic::Status> {
        let length = bytes::Buf::remaining(source);
        Ok(Some(bytes::Buf::copy_to_bytes(source, length)))
    }
}
