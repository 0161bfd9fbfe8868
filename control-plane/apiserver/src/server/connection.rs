//! One connection: handshake, identity, then HTTP/1.1 or HTTP/2 requests.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    authn::{Peer, x509},
    gateway::Gateway,
    limits,
};

/// Performs the handshake and serves until either side closes.
pub async fn serve_tls(gateway: Arc<Gateway>, acceptor: TlsAcceptor, stream: TcpStream, remote: SocketAddr) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%remote, %error, "setting TCP_NODELAY");
    }
    let shaken = tokio::time::timeout(limits::HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await;
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%remote, %error, "the TLS handshake failed"),
        Err(_) => return tracing::debug!(%remote, "the TLS handshake took too long"),
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let peer = match certificate.and_then(|leaf| x509::identity(leaf)) {
        Some(who) => Peer::Certificate(who),
        None => Peer::Unknown,
    };
    serve(gateway, stream, peer, Some(remote)).await;
}

/// Serves requests on any transport.
pub async fn serve(
    gateway: Arc<Gateway>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    remote: Option<SocketAddr>,
) {
    let service = service_fn(|request| {
        let (gateway, peer) = (gateway.clone(), peer.clone());
        async move { Ok::<_, Infallible>(gateway.handle(&peer, remote, request).await) }
    });
    let builder = builder();
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let mut closing = false;
    let ended = loop {
        tokio::select! {
            ended = connection.as_mut() => break ended,
            () = gateway.closing.cancelled(), if !closing => {
                closing = true;
                connection.as_mut().graceful_shutdown();
            }
            () = gateway.closed.cancelled() => return,
        }
    };
    if let Err(error) = ended {
        tracing::debug!(?remote, %error, "a connection ended");
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits::HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .adaptive_window(true)
        .max_concurrent_streams(limits::HTTP2_STREAMS_MAX)
        .max_header_list_size(limits::HEADER_LIST_BYTES_MAX)
        .keep_alive_interval(limits::KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(limits::KEEP_ALIVE_TIMEOUT);
    builder
}
