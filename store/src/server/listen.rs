//! The member's own listeners, and how it calls others.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::service::Routes;
use tonic::transport::server::{Connected, TcpConnectInfo, TcpIncoming};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig};

use super::{Error, Listeners, Options, Tls};
use crate::limits::{HTTP2_KEEPALIVE_INTERVAL, HTTP2_STREAMS_MAX, HTTP2_WINDOW_BYTES, JOIN_TIMEOUT};

/// Serves the routes on the sockets until `stop`.
pub fn spawn(
    tasks: &mut JoinSet<Result<(), Error>>,
    listeners: Listeners,
    options: &Options,
    (peer, client): (Routes, Routes),
    stop: &CancellationToken,
) -> Result<(), Error> {
    for (sockets, routes, tls) in
        [(listeners.peer, peer, &options.peer_tls), (listeners.client, client, &options.client_tls)]
    {
        for socket in sockets {
            let connections = incoming(socket)?;
            let mut server = server(tls.as_ref())?;
            let (routes, stop) = (routes.clone(), stop.clone());
            tasks.spawn(async move {
                let ends = stop.clone();
                let connections =
                    connections.map(move |connection| connection.map(|stream| Cut::new(stream, &ends)));
                // Watches never end by themselves, so to wait for connections to finish would be to wait for ever.
                tokio::select! {
                    served = server.add_routes(routes).serve_with_incoming(connections) => served.map_err(Error::Serve),
                    () = stop.cancelled() => Ok(()),
                }
            });
        }
    }
    Ok(())
}

fn incoming(socket: std::net::TcpListener) -> Result<TcpIncoming, Error> {
    let address = socket.local_addr();
    let failed = |source| match address {
        Ok(address) => Error::Listen { address, source },
        Err(_) => Error::Task { detail: source.to_string() },
    };
    socket.set_nonblocking(true).map_err(failed)?;
    let socket = tokio::net::TcpListener::from_std(socket).map_err(failed)?;
    Ok(TcpIncoming::from(socket).with_nodelay(Some(true)))
}

fn server(tls: Option<&Tls>) -> Result<Server, Error> {
    let server = Server::builder()
        // For health, version and metrics.
        .accept_http1(true)
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .initial_stream_window_size(HTTP2_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_WINDOW_BYTES)
        .http2_keepalive_interval(Some(HTTP2_KEEPALIVE_INTERVAL));
    let Some(tls) = tls else { return Ok(server) };
    let mut config = ServerTlsConfig::new().identity(Identity::from_pem(&tls.cert_pem, &tls.key_pem));
    if let Some(ca) = &tls.ca_pem {
        config = config.client_ca_root(Certificate::from_pem(ca));
    }
    server.tls_config(config).map_err(|error| Error::Tls { detail: error.to_string() })
}

/// Where and how another member is reached.
pub fn peer_endpoint(options: &Options, url: &str) -> Result<Endpoint, tonic::transport::Error> {
    let mut endpoint =
        Endpoint::from_shared(url.to_owned())?.connect_timeout(JOIN_TIMEOUT).timeout(JOIN_TIMEOUT);
    if let Some(tls) = &options.peer_tls {
        let mut config = ClientTlsConfig::new().identity(Identity::from_pem(&tls.cert_pem, &tls.key_pem));
        if let Some(ca) = &tls.ca_pem {
            config = config.ca_certificate(Certificate::from_pem(ca));
        }
        endpoint = endpoint.tls_config(config)?;
    }
    Ok(endpoint)
}

/// A connection that breaks when the member stops. The transport keeps connections alive on tasks of its own, which
/// would otherwise outlive a member that is embedded in a longer-lived process.
struct Cut {
    stream: TcpStream,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Cut {
    fn new(stream: TcpStream, stop: &CancellationToken) -> Self {
        Self { stream, stopped: Box::pin(stop.clone().cancelled_owned()) }
    }

    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.stopped.as_mut().poll(context) {
            Poll::Ready(()) => {
                Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the member has stopped"))
            }
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Cut {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Only reading looks: a connection always reads.
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Cut {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Connected for Cut {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}
