//! The HTTP side of streaming: finding the session, agreeing on a protocol, upgrading the connection.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_util::sync::CancellationToken;

use super::{Session, portforward, remotecommand, websocket};
use crate::limits::WEBSOCKET_MESSAGE_BYTES_MAX;
use crate::server::Runtime;

/// WebSocket subprotocols for exec and attach, the preferred first.
const REMOTE_COMMAND: &[&str] = &["v5.channel.k8s.io", "v4.channel.k8s.io"];
/// Stream protocols for exec and attach over SPDY.
const REMOTE_COMMAND_SPDY: &[&str] = &["v4.channel.k8s.io"];
/// WebSocket subprotocols for port-forward.
const PORT_FORWARD: &[&str] = &["SPDY/3.1+portforward.k8s.io"];
/// Stream protocols for port-forward over SPDY.
const PORT_FORWARD_SPDY: &[&str] = &["portforward.k8s.io"];

const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");

type Reply = Response<Full<Bytes>>;

/// Serves one connection.
pub async fn connection(runtime: Arc<Runtime>, stream: TcpStream, shutdown: CancellationToken) {
    // Small interactive messages must not wait for each other.
    let _ = stream.set_nodelay(true);
    let service = hyper::service::service_fn(|request| {
        let (runtime, shutdown) = (runtime.clone(), shutdown.clone());
        async move { Ok::<_, Infallible>(answer(runtime, request, shutdown)) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::select! {
        served = served => {
            if let Err(error) = served {
                tracing::debug!(%error, "a streaming client left early");
            }
        }
        () = shutdown.cancelled() => {}
    }
}

fn answer(runtime: Arc<Runtime>, mut request: Request<Incoming>, shutdown: CancellationToken) -> Reply {
    let Some(session) = runtime.streaming().take(request.uri().path()) else {
        return refuse(StatusCode::NOT_FOUND, "this URL is not valid, or not any more");
    };
    let upgrade = request.headers().get(UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_websocket = upgrade.eq_ignore_ascii_case("websocket");
    if !is_websocket && !upgrade.eq_ignore_ascii_case("SPDY/3.1") {
        return refuse(StatusCode::BAD_REQUEST, "upgrade to websocket or SPDY/3.1 is required");
    }
    let is_port_forward = matches!(session, Session::PortForward { .. });
    let (header, supported) = match (is_websocket, is_port_forward) {
        (true, false) => (SEC_WEBSOCKET_PROTOCOL, REMOTE_COMMAND),
        (true, true) => (SEC_WEBSOCKET_PROTOCOL, PORT_FORWARD),
        (false, false) => (STREAM_PROTOCOL, REMOTE_COMMAND_SPDY),
        (false, true) => (STREAM_PROTOCOL, PORT_FORWARD_SPDY),
    };
    let Some(protocol) = choose(request.headers(), &header, supported) else {
        return refuse(
            StatusCode::FORBIDDEN,
            &format!("no common protocol; supported: {}", supported.join(", ")),
        );
    };
    let reply = accept(request.headers(), is_websocket, header, protocol);
    if reply.status() == StatusCode::SWITCHING_PROTOCOLS {
        let upgraded = hyper::upgrade::on(&mut request);
        let running = run(runtime.clone(), session, upgraded, is_websocket.then_some(protocol));
        runtime.tasks().spawn(async move {
            tokio::select! {
                () = running => {}
                () = shutdown.cancelled() => {}
            }
        });
    }
    reply
}

/// The first of ours that the client offers. Clients offer in one header or several.
fn choose(headers: &HeaderMap, name: &HeaderName, supported: &[&'static str]) -> Option<&'static str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    let offered: Vec<&str> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
    supported.iter().find(|protocol| offered.contains(protocol)).copied()
}

fn accept(headers: &HeaderMap, is_websocket: bool, header: HeaderName, protocol: &'static str) -> Reply {
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let fields = reply.headers_mut();
    fields.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    fields.insert(header, HeaderValue::from_static(protocol));
    if !is_websocket {
        fields.insert(UPGRADE, HeaderValue::from_static("SPDY/3.1"));
        return reply;
    }
    fields.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let key = headers.get(SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
    match key.and_then(|key| HeaderValue::try_from(key).ok()) {
        Some(key) => {
            fields.insert(SEC_WEBSOCKET_ACCEPT, key);
            reply
        }
        None => refuse(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is missing"),
    }
}

fn refuse(status: StatusCode, reason: &str) -> Reply {
    let mut reply = Response::new(Full::from(format!("{reason}\n")));
    *reply.status_mut() = status;
    reply
}

async fn run(
    runtime: Arc<Runtime>,
    session: Session,
    upgraded: OnUpgrade,
    websocket_protocol: Option<&'static str>,
) {
    let upgraded = match upgraded.await {
        Ok(upgraded) => TokioIo::new(upgraded),
        Err(error) => return tracing::debug!(%error, "a client left before the upgrade"),
    };
    let sandbox = match &session {
        Session::PortForward { sandbox } => Some(sandbox.clone()),
        Session::Exec { .. } | Session::Attach { .. } => None,
    };
    match (sandbox, websocket_protocol) {
        (Some(sandbox), None) => portforward::serve(&runtime, &sandbox, upgraded).await,
        (Some(sandbox), Some(_)) => {
            let (inner, pump) = websocket::tunnel(websocket_of(upgraded).await);
            tokio::join!(portforward::serve(&runtime, &sandbox, inner), pump);
        }
        (None, None) => remotecommand::serve_spdy(&runtime, session, upgraded).await,
        (None, Some(protocol)) => {
            let can_half_close = protocol == REMOTE_COMMAND[0];
            remotecommand::serve_websocket(&runtime, session, websocket_of(upgraded).await, can_half_close)
                .await;
        }
    }
}

async fn websocket_of(upgraded: TokioIo<Upgraded>) -> WebSocketStream<TokioIo<Upgraded>> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(WEBSOCKET_MESSAGE_BYTES_MAX))
        .max_frame_size(Some(WEBSOCKET_MESSAGE_BYTES_MAX));
    WebSocketStream::from_raw_socket(upgraded, Role::Server, Some(config)).await
}
