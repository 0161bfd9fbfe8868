//! The member's own listeners, and how it calls others.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, Server};

use super::connection::Connection;
use super::crowd::{Crowd, Place};
use super::gathered::Gathered;
use super::keys::Keys;
use super::options::bind;
use super::{Error, Listeners, Options};
use crate::limits::{
    ACCEPT_PAUSE, CONNECTIONS_ACCEPTED_MAX, HTTP2_HEADER_BYTES_MAX, HTTP2_RESETS_PENDING_MAX,
    HTTP2_RESETS_SENT_MAX, HTTP2_WINDOW_BYTES, JOIN_TIMEOUT, PEER_CONNECTIONS_MAX,
};
use crate::service::Ways;
use crate::throttle::Throttle;

/// One kind of listener.
struct Kind {
    sockets: Vec<std::net::TcpListener>,
    ways: Ways,
    keys: Option<Arc<Keys>>,
    crowd: Arc<Crowd>,
}

/// Serves on the sockets until `stop`.
pub fn spawn(
    tasks: &mut JoinSet<Result<(), Error>>,
    listeners: Listeners,
    options: &Options,
    (peer, client, plain): (Ways, Ways, Ways),
    (peer_keys, client_keys): (Option<Arc<Keys>>, Option<Arc<Keys>>),
    stop: &CancellationToken,
) -> Result<(), Error> {
    let kind = |sockets, ways, keys, max| Kind { sockets, ways, keys, crowd: Arc::new(Crowd::new(max)) };
    let metrics = bind(&options.listen_metrics)?;
    let kinds = [
        kind(listeners.peer, peer, peer_keys, PEER_CONNECTIONS_MAX),
        kind(metrics, plain, client_keys.clone().filter(|_| options.metrics_tls), PEER_CONNECTIONS_MAX),
        kind(listeners.client, client, client_keys, options.connections_max()),
    ];
    for Kind { sockets, ways, keys, crowd } in kinds {
        for socket in sockets {
            let socket = listener(socket)?;
            let served = (server(options), ways.clone());
            let patience = Duration::from_millis(options.greeting_timeout_ms);
            let door = Door { socket, crowd: crowd.clone(), patience, stop: stop.clone() };
            match keys.clone() {
                Some(keys) => tasks.spawn(door.serve(served, Tls { keys })),
                None => tasks.spawn(door.serve(served, Plain)),
            };
        }
    }
    Ok(())
}

fn listener(socket: std::net::TcpListener) -> Result<TcpListener, Error> {
    let address = socket.local_addr();
    let failed = |source| match address {
        Ok(address) => Error::Listen { address, source },
        Err(_) => Error::Task { detail: source.to_string() },
    };
    socket.set_nonblocking(true).map_err(failed)?;
    TcpListener::from_std(socket).map_err(failed)
}

fn server(options: &Options) -> Server {
    Server::builder()
        // For health, version, metrics and the gateway.
        .accept_http1(true)
        .max_concurrent_streams(options.streams_max)
        .initial_stream_window_size(HTTP2_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_WINDOW_BYTES)
        .http2_max_header_list_size(HTTP2_HEADER_BYTES_MAX)
        .http2_max_pending_accept_reset_streams(Some(HTTP2_RESETS_PENDING_MAX))
        .http2_max_local_error_reset_streams(Some(HTTP2_RESETS_SENT_MAX))
        .http2_keepalive_interval(options.keepalive_interval())
        .http2_keepalive_timeout(Some(options.keepalive_timeout()))
}

/// How a stream begins.
trait Greeting: Clone + Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static;

    fn greet(&self, stream: TcpStream) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

#[derive(Clone)]
struct Plain;

impl Greeting for Plain {
    type Stream = TcpStream;

    async fn greet(&self, stream: TcpStream) -> io::Result<TcpStream> {
        Ok(stream)
    }
}

#[derive(Clone)]
struct Tls {
    keys: Arc<Keys>,
}

impl Greeting for Tls {
    type Stream = tokio_rustls::server::TlsStream<TcpStream>;

    async fn greet(&self, stream: TcpStream) -> io::Result<Self::Stream> {
        let config: Arc<ServerConfig> = self.keys.listener().await;
        TlsAcceptor::from(config).accept(stream).await
    }
}

/// A socket and who may come in.
struct Door {
    socket: TcpListener,
    crowd: Arc<Crowd>,
    patience: Duration,
    stop: CancellationToken,
}

impl Door {
    async fn serve<G: Greeting>(self, (server, ways): (Server, Ways), greeting: G) -> Result<(), Error> {
        let stop = self.stop.clone();
        let (accepted, incoming) = mpsc::channel(CONNECTIONS_ACCEPTED_MAX);
        // Watches never end by themselves, so to wait for connections to finish would be to wait for ever.
        tokio::select! {
            served = server.serve_with_incoming(ways, ReceiverStream::new(incoming)) => served.map_err(Error::Serve),
            () = self.accept(greeting, accepted) => Ok(()),
            () = stop.cancelled() => Ok(()),
        }
    }

    /// Lets in whoever comes.
    async fn accept<G: Greeting>(
        self,
        greeting: G,
        accepted: mpsc::Sender<io::Result<Gathered<Connection<G::Stream>>>>,
    ) {
        let mut greetings = JoinSet::new();
        let turned_away = Throttle::default();
        loop {
            while greetings.try_join_next().is_some() {}
            let stream = match self.socket.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Either that one is gone already, or the process has no files left until others go.
                    tracing::debug!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(place) = self.crowd.enter(&self.stop).await else {
                if let Some(left_out) = turned_away.pass() {
                    tracing::warn!(left_out, "a connection was refused: there are too many");
                }
                continue;
            };
            // Only delays what is small.
            drop(stream.set_nodelay(true));
            let (greeting, accepted) = (greeting.clone(), accepted.clone());
            let deadline = Instant::now() + self.patience;
            greetings.spawn(async move {
                if let Some(connection) = greet(&greeting, stream, place, deadline).await {
                    // Nobody serves any more: the member stops.
                    drop(accepted.send(Ok(connection)).await);
                }
            });
        }
    }
}

async fn greet<G: Greeting>(
    greeting: &G,
    stream: TcpStream,
    place: Place,
    deadline: Instant,
) -> Option<Gathered<Connection<G::Stream>>> {
    let leave = place.leave.clone();
    let greeted = tokio::select! {
        greeted = timeout_at(deadline, greeting.greet(stream)) => greeted,
        () = leave.cancelled() => return None,
    };
    match greeted {
        Ok(Ok(stream)) => Some(Gathered::new(Connection::new(stream, place, deadline))),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a handshake failed");
            None
        }
        Err(_elapsed) => None,
    }
}

/// Where and how another member is reached.
pub fn peer_endpoint(options: &Options, url: &str) -> Result<Endpoint, tonic::transport::Error> {
    let mut endpoint =
        Endpoint::from_shared(url.to_owned())?.connect_timeout(JOIN_TIMEOUT).timeout(JOIN_TIMEOUT);
    if let Some(tls) = &options.peer_tls {
        let tls = tls.newest();
        let mut config = ClientTlsConfig::new().identity(Identity::from_pem(&tls.cert_pem, &tls.key_pem));
        if let Some(ca) = &tls.ca_pem {
            config = config.ca_certificate(Certificate::from_pem(ca));
        }
        endpoint = endpoint.tls_config(config)?;
    }
    Ok(endpoint)
}
