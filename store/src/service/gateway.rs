//! The API as JSON over HTTP, at the paths and in the words of etcd's gateway: `POST /v3/kv/range` with `{"key":"Zm9v"}`.
//!
//! A request is turned into the message of a gRPC call, the call is made to our own services in this process, and its answer is
//! turned back. So whatever holds for a gRPC call, such as who may do what, holds here, and a method is one row of a table.
//! Bytes are base64, 64-bit numbers are strings, enums have names; fields may be spelled as in the protocol
//! (`range_end`) or in JSON's way (`rangeEnd`). What is unknown, names of enums included, is ignored, as etcd's gateway does.
//!
//! Streams are one JSON object for each message and a line feed after each: `{"result":{...}}`, or `{"error":{...}}` as the last.
//! The messages of a client that streams follow each other in the body; etcd's gateway also takes them from a web socket, which
//! this one does not.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::BytesMut;
use futures::{Stream, StreamExt, stream};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, header};
use prost::Message;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, MethodDescriptor, SerializeOptions,
};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::service::{AxumBody, AxumRouter, Routes};
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tonic::{Code, Status, Streaming};
use tower::service_fn;

use crate::limits::{GATEWAY_ANSWER_BYTES_MAX, GATEWAY_BODY_TIMEOUT, GRPC_OVERHEAD_BYTES};

/// Path, service, method.
type Row = (&'static str, &'static str, &'static str);

const KV: &str = "etcdserverpb.KV";
const WATCH: &str = "etcdserverpb.Watch";
const LEASE: &str = "etcdserverpb.Lease";
const CLUSTER: &str = "etcdserverpb.Cluster";
const MAINTENANCE: &str = "etcdserverpb.Maintenance";
const AUTH: &str = "etcdserverpb.Auth";
const LOCK: &str = "v3lockpb.Lock";
const ELECTION: &str = "v3electionpb.Election";

/// etcd's paths; some calls have two.
const ROWS: &[Row] = &[
    ("/v3/kv/range", KV, "Range"),
    ("/v3/kv/put", KV, "Put"),
    ("/v3/kv/deleterange", KV, "DeleteRange"),
    ("/v3/kv/txn", KV, "Txn"),
    ("/v3/kv/compaction", KV, "Compact"),
    ("/v3/watch", WATCH, "Watch"),
    ("/v3/lease/grant", LEASE, "LeaseGrant"),
    ("/v3/lease/revoke", LEASE, "LeaseRevoke"),
    ("/v3/kv/lease/revoke", LEASE, "LeaseRevoke"),
    ("/v3/lease/keepalive", LEASE, "LeaseKeepAlive"),
    ("/v3/lease/timetolive", LEASE, "LeaseTimeToLive"),
    ("/v3/kv/lease/timetolive", LEASE, "LeaseTimeToLive"),
    ("/v3/lease/leases", LEASE, "LeaseLeases"),
    ("/v3/kv/lease/leases", LEASE, "LeaseLeases"),
    ("/v3/cluster/member/add", CLUSTER, "MemberAdd"),
    ("/v3/cluster/member/remove", CLUSTER, "MemberRemove"),
    ("/v3/cluster/member/update", CLUSTER, "MemberUpdate"),
    ("/v3/cluster/member/list", CLUSTER, "MemberList"),
    ("/v3/cluster/member/promote", CLUSTER, "MemberPromote"),
    ("/v3/maintenance/alarm", MAINTENANCE, "Alarm"),
    ("/v3/maintenance/status", MAINTENANCE, "Status"),
    ("/v3/maintenance/defragment", MAINTENANCE, "Defragment"),
    ("/v3/maintenance/hash", MAINTENANCE, "Hash"),
    ("/v3/maintenance/hashkv", MAINTENANCE, "HashKV"),
    ("/v3/maintenance/snapshot", MAINTENANCE, "Snapshot"),
    ("/v3/maintenance/transfer-leadership", MAINTENANCE, "MoveLeader"),
    ("/v3/maintenance/downgrade", MAINTENANCE, "Downgrade"),
    ("/v3/auth/enable", AUTH, "AuthEnable"),
    ("/v3/auth/disable", AUTH, "AuthDisable"),
    ("/v3/auth/status", AUTH, "AuthStatus"),
    ("/v3/auth/authenticate", AUTH, "Authenticate"),
    ("/v3/auth/user/add", AUTH, "UserAdd"),
    ("/v3/auth/user/get", AUTH, "UserGet"),
    ("/v3/auth/user/list", AUTH, "UserList"),
    ("/v3/auth/user/delete", AUTH, "UserDelete"),
    ("/v3/auth/user/changepw", AUTH, "UserChangePassword"),
    ("/v3/auth/user/grant", AUTH, "UserGrantRole"),
    ("/v3/auth/user/revoke", AUTH, "UserRevokeRole"),
    ("/v3/auth/role/add", AUTH, "RoleAdd"),
    ("/v3/auth/role/get", AUTH, "RoleGet"),
    ("/v3/auth/role/list", AUTH, "RoleList"),
    ("/v3/auth/role/delete", AUTH, "RoleDelete"),
    ("/v3/auth/role/grant", AUTH, "RoleGrantPermission"),
    ("/v3/auth/role/revoke", AUTH, "RoleRevokePermission"),
    ("/v3/lock/lock", LOCK, "Lock"),
    ("/v3/lock/unlock", LOCK, "Unlock"),
    ("/v3/election/campaign", ELECTION, "Campaign"),
    ("/v3/election/proclaim", ELECTION, "Proclaim"),
    ("/v3/election/leader", ELECTION, "Leader"),
    ("/v3/election/observe", ELECTION, "Observe"),
    ("/v3/election/resign", ELECTION, "Resign"),
];

/// What metadata of a call the headers with this prefix are, as with etcd's gateway.
const METADATA_PREFIX: &str = "grpc-metadata-";

/// Adds the paths to a router, which has the services.
pub fn add(router: AxumRouter, pool: &DescriptorPool, request_bytes_max: usize) -> AxumRouter {
    let services = Routes::from(router.clone());
    let nowhere = service_fn(|_: Request<AxumBody>| async { Ok::<_, Infallible>(not_found()) });
    let router = router.route_service("/v3/{*path}", nowhere);
    ROWS.iter().fold(router, |router, row| {
        let gate = Gate {
            method: method(pool, row),
            services: services.clone(),
            // Base64 makes four bytes of three, and every field has a name.
            body_bytes_max: 2 * request_bytes_max + GRPC_OVERHEAD_BYTES,
        };
        let gate = Arc::new(gate);
        let service = service_fn(move |request: Request<AxumBody>| {
            let gate = gate.clone();
            async move { Ok::<_, Infallible>(gate.answer(request).await) }
        });
        router.route_service(row.0, service)
    })
}

fn method(pool: &DescriptorPool, (_, service, name): &Row) -> MethodDescriptor {
    let service = pool.get_service_by_name(service).expect("the table names services of the protocol");
    service.methods().find(|method| method.name() == *name).expect("the table names methods of the protocol")
}

/// One method.
struct Gate {
    method: MethodDescriptor,
    services: Routes,
    body_bytes_max: usize,
}

impl Gate {
    async fn answer(&self, request: Request<AxumBody>) -> Response<AxumBody> {
        if request.method() != Method::POST {
            return method_not_allowed();
        }
        match self.call(request).await {
            Ok(response) => response,
            Err(status) => refusal(&status),
        }
    }

    async fn call(&self, request: Request<AxumBody>) -> Result<Response<AxumBody>, Status> {
        let (parts, body) = request.into_parts();
        let mut inbox = Inbox::new(body, self.method.input(), self.body_bytes_max);
        let deadline = Instant::now() + GATEWAY_BODY_TIMEOUT;
        let first = timeout_at(deadline, inbox.next());
        let first = first.await.map_err(|_| Status::deadline_exceeded("the body takes too long"))??;
        if self.method.is_client_streaming() {
            let messages = stream::iter(first).chain(inbox.rest());
            return self.converse(parts, messages).await;
        }
        // Nothing is a message in which nothing is set.
        let message = first.unwrap_or_else(|| DynamicMessage::new(self.method.input()));
        self.converse(parts, stream::iter([message])).await
    }

    async fn converse(
        &self,
        parts: Parts,
        messages: impl Stream<Item = DynamicMessage> + Send + 'static,
    ) -> Result<Response<AxumBody>, Status> {
        let path = format!("/{}/{}", self.method.parent_service().full_name(), self.method.name());
        let path = path.parse().map_err(|_| Status::internal("the method has no path"))?;
        let mut client = Grpc::new(self.services.clone()).max_decoding_message_size(GATEWAY_ANSWER_BYTES_MAX);
        client.ready().await.map_err(|_: Infallible| Status::internal("the services are gone"))?;
        let call = client.streaming(introduced(parts, messages), path, Dynamic(self.method.output())).await?;
        let mut answers = call.into_inner();
        if self.method.is_server_streaming() {
            return Ok(streamed(answers));
        }
        let answer = answers.message().await?;
        let answer = answer.ok_or_else(|| Status::internal("the call has no answer"))?;
        Ok(respond(StatusCode::OK, text(&answer)?))
    }
}

/// A call that says who makes it.
fn introduced<S>(parts: Parts, messages: S) -> tonic::Request<S> {
    let mut metadata = MetadataMap::new();
    let mut tell = |name: &str, value: &header::HeaderValue| {
        let name = name.parse::<AsciiMetadataKey>();
        if let (Ok(name), Ok(value)) = (name, AsciiMetadataValue::try_from(value.as_bytes())) {
            metadata.insert(name, value);
        }
    };
    for (name, value) in &parts.headers {
        if let Some(name) = name.as_str().strip_prefix(METADATA_PREFIX) {
            tell(name, value);
        }
    }
    if let Some(token) = parts.headers.get(header::AUTHORIZATION) {
        tell("token", token);
        tell("authorization", token);
    }
    let mut call = tonic::Request::from_parts(metadata, tonic::Extensions::new(), messages);
    if let Some(from) = parts.extensions.get::<TcpConnectInfo>() {
        call.extensions_mut().insert(from.clone());
    }
    if let Some(from) = parts.extensions.get::<TlsConnectInfo<TcpConnectInfo>>() {
        call.extensions_mut().insert(from.clone());
    }
    call
}

/// The messages in a body, one after the other.
struct Inbox {
    body: futures::stream::BoxStream<'static, Result<bytes::Bytes, Status>>,
    buffer: BytesMut,
    ended: bool,
    kind: MessageDescriptor,
    bytes_max: usize,
}

impl Inbox {
    fn new(body: AxumBody, kind: MessageDescriptor, bytes_max: usize) -> Self {
        let broken = |_| Status::cancelled("the body broke off");
        let body = body.into_data_stream().map(move |piece| piece.map_err(broken)).boxed();
        Self { body, buffer: BytesMut::new(), ended: false, kind, bytes_max }
    }

    /// The next message; `None` after the last.
    async fn next(&mut self) -> Result<Option<DynamicMessage>, Status> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            if self.ended {
                return Ok(None);
            }
            match self.body.next().await {
                Some(piece) => self.buffer.extend_from_slice(&piece?),
                None => self.ended = true,
            }
            if self.buffer.len() > self.bytes_max {
                return Err(super::error::request_too_large());
            }
        }
    }

    /// Takes a message that is complete.
    fn take(&mut self) -> Result<Option<DynamicMessage>, Status> {
        let mut values = serde_json::Deserializer::from_slice(&self.buffer).into_iter::<&RawValue>();
        let message = match values.next() {
            None => return Ok(None),
            Some(Err(error)) if error.is_eof() && !self.ended => return Ok(None),
            Some(Err(error)) => return Err(Status::invalid_argument(error.to_string())),
            Some(Ok(value)) => parsed(&self.kind, value.get())?,
        };
        let used = values.byte_offset();
        drop(self.buffer.split_to(used));
        Ok(Some(message))
    }

    /// All that follow, as they come. What is no message ends them.
    fn rest(self) -> impl Stream<Item = DynamicMessage> + Send {
        stream::unfold(self, |mut inbox| async move {
            match inbox.next().await {
                Ok(message) => message.map(|message| (message, inbox)),
                Err(error) => {
                    tracing::debug!(%error, "a stream of JSON ended early");
                    None
                }
            }
        })
    }
}

fn parsed(kind: &MessageDescriptor, text: &str) -> Result<DynamicMessage, Status> {
    let mut from = serde_json::Deserializer::from_str(text);
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    DynamicMessage::deserialize_with_options(kind.clone(), &mut from, &options)
        .map_err(|error| Status::invalid_argument(error.to_string()))
}

fn text(message: &DynamicMessage) -> Result<String, Status> {
    let mut text = Vec::new();
    let options = SerializeOptions::new().use_proto_field_name(true);
    message
        .serialize_with_options(&mut serde_json::Serializer::new(&mut text), &options)
        .map_err(|error| Status::internal(error.to_string()))?;
    String::from_utf8(text).map_err(|error| Status::internal(error.to_string()))
}

fn streamed(answers: Streaming<DynamicMessage>) -> Response<AxumBody> {
    let lines = stream::unfold(Some(answers), |answers| async move {
        let mut answers = answers?;
        let answer = answers.message().await.transpose()?;
        Some(match answer.and_then(|answer| text(&answer)) {
            Ok(answer) => (format!("{{\"result\":{answer}}}\n"), Some(answers)),
            Err(status) => (last_line(&status), None),
        })
    });
    let body = AxumBody::from_stream(lines.map(Ok::<_, Infallible>));
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

fn last_line(status: &Status) -> String {
    let http = http_status(status.code());
    let error = json!({ "error": {
        "grpc_code": i32::from(status.code()),
        "http_code": http.as_u16(),
        "message": status.message(),
        "http_status": http.canonical_reason().unwrap_or_default(),
    }});
    format!("{error}\n")
}

fn refusal(status: &Status) -> Response<AxumBody> {
    let code = i32::from(status.code());
    let body = json!({ "error": status.message(), "code": code, "message": status.message() });
    respond(http_status(status.code()), body.to_string())
}

fn method_not_allowed() -> Response<AxumBody> {
    let status = Status::unimplemented("Method Not Allowed");
    let mut response = refusal(&status);
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("POST"));
    response
}

fn not_found() -> Response<AxumBody> {
    let mut response = Response::new(AxumBody::from("Not Found\n"));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

fn respond(status: StatusCode, body: String) -> Response<AxumBody> {
    let mut response = Response::new(AxumBody::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

/// The statuses of the gateway of etcd 3.6.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        // No standard status says that the client went away; this is the one that proxies use.
        Code::Cancelled => StatusCode::from_u16(499).expect("a number of three digits"),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Messages whose kind is known at run time; answers are of this one.
#[derive(Clone)]
struct Dynamic(MessageDescriptor);

impl Codec for Dynamic {
    type Encode = DynamicMessage;
    type Decode = DynamicMessage;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        self.clone()
    }

    fn decoder(&mut self) -> Self {
        self.clone()
    }
}

impl Encoder for Dynamic {
    type Item = DynamicMessage;
    type Error = Status;

    fn encode(&mut self, message: DynamicMessage, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message.encode(into).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for Dynamic {
    type Item = DynamicMessage;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<DynamicMessage>, Status> {
        let decoded = DynamicMessage::decode(self.0.clone(), from);
        decoded.map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str) -> MessageDescriptor {
        let pool = crate::service::protocol();
        pool.get_message_by_name(name).unwrap()
    }

    #[test]
    fn every_row_names_a_method() {
        let pool = crate::service::protocol();
        let mut named: Vec<_> = ROWS.iter().map(|row| method(&pool, row).full_name().to_owned()).collect();
        named.sort();
        named.dedup();
        let etcds = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
        let mut all: Vec<_> = etcds.map(|method| method.full_name().to_owned()).collect();
        // Not part of etcd's gateway.
        all.retain(|name| name != "etcdserverpb.KV.RangeStream");
        all.sort();
        assert_eq!(named, all, "and every method of etcd has a row");
    }

    #[test]
    fn json_is_read_in_either_spelling_and_written_as_etcd_writes_it() {
        let compare = kind("etcdserverpb.Compare");
        let cases = [
            (
                r#"{"target":"MOD","mod_revision":"5","key":"Zm9v"}"#,
                r#"{"target":"MOD","key":"Zm9v","mod_revision":"5"}"#,
            ),
            (
                r#"{"target":2,"modRevision":5,"rangeEnd":"AA=="}"#,
                r#"{"target":"MOD","mod_revision":"5","range_end":"AA=="}"#,
            ),
            (r#"{"version":"0","nonsense":[1],"target":"NONE"}"#, r#"{"version":"0"}"#),
            ("{}", "{}"),
        ];
        for (given, expected) in cases {
            let written = text(&parsed(&compare, given).unwrap()).unwrap();
            assert_eq!(written, expected, "{given}");
        }
        for wrong in [r#"{"key":5}"#, r#"{"key":"%"}"#, "[]", r#"{"version":"x"}"#] {
            assert_eq!(
                parsed(&compare, wrong).map_err(|status| status.code()),
                Err(Code::InvalidArgument),
                "{wrong}"
            );
        }
        let deep = r#"{"success":[{"request_txn":"#.repeat(100) + "{}" + &"}]}".repeat(100);
        assert_eq!(
            parsed(&kind("etcdserverpb.TxnRequest"), &deep).unwrap_err().code(),
            Code::InvalidArgument
        );
    }
}
