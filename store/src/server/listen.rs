//! The member's own listeners, and how it calls others.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::connection::Connection;
use super::crowd::{Crowd, Place};
use super::gathered::Gathered;
use super::keys::Keys;
use super::options::bind;
use super::transport::{Origin, Transport};
use super::{Error, Listeners, Options};
use crate::limits::{ACCEPT_PAUSE, JOIN_TIMEOUT, PEER_CONNECTIONS_MAX};
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
            let (transport, ways) = (Transport::new(options), ways.clone());
            let patience = Duration::from_millis(options.greeting_timeout_ms);
            let door = Door { socket, crowd: crowd.clone(), patience, stop: stop.clone() };
            match keys.clone() {
                Some(keys) => tasks.spawn(door.serve(transport, ways, Tls { keys })),
                None => tasks.spawn(door.serve(transport, ways, Plain)),
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

/// How a stream begins.
trait Greeting: Clone + Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn greet(
        &self,
        stream: TcpStream,
    ) -> impl Future<Output = io::Result<(Self::Stream, Option<Origin>)>> + Send;
}

#[derive(Clone)]
struct Plain;

impl Greeting for Plain {
    type Stream = TcpStream;

    async fn greet(&self, stream: TcpStream) -> io::Result<(TcpStream, Option<Origin>)> {
        Ok((stream, None))
    }
}

#[derive(Clone)]
struct Tls {
    keys: Arc<Keys>,
}

impl Greeting for Tls {
    type Stream = tokio_rustls::server::TlsStream<TcpStream>;

    async fn greet(&self, stream: TcpStream) -> io::Result<(Self::Stream, Option<Origin>)> {
        let config: Arc<ServerConfig> = self.keys.listener().await;
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        let origin = stream.connect_info();
        Ok((stream, Some(origin)))
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
    async fn serve<G: Greeting>(self, transport: Transport, ways: Ways, greeting: G) -> Result<(), Error> {
        // Watches never end by themselves, so to wait for connections to finish would be to wait for ever.
        tokio::select! {
            () = self.let_in(transport, ways, greeting) => {}
            () = self.stop.cancelled() => {}
        }
        Ok(())
    }

    /// Serves whoever comes.
    async fn let_in<G: Greeting>(&self, transport: Transport, ways: Ways, greeting: G) {
        let mut connections = JoinSet::new();
        let turned_away = Throttle::default();
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                // Nothing is left of those who have gone.
                Some(_) = connections.join_next() => continue,
            };
            let stream = match accepted {
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
            let (transport, ways, greeting) = (transport.clone(), ways.clone(), greeting.clone());
            let deadline = Instant::now() + self.patience;
            connections.spawn(async move {
                if let Some((stream, origin)) = greet(&greeting, stream, place, deadline).await {
                    transport.serve(stream, origin, ways).await;
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
) -> Option<(Gathered<Connection<G::Stream>>, Option<Origin>)> {
    let leave = place.leave.clone();
    let greeted = tokio::select! {
        greeted = timeout_at(deadline, greeting.greet(stream)) => greeted,
        () = leave.cancelled() => return None,
    };
    match greeted {
        Ok(Ok((stream, origin))) => Some((Gathered::new(Connection::new(stream, place, deadline)), origin)),
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
