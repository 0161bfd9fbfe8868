//! The member's own listeners, and how it calls others.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig};

use super::{Error, Listeners, Options, Tls};
use crate::limits::{HTTP2_STREAMS_MAX, HTTP2_WINDOW_BYTES, JOIN_TIMEOUT};

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
            let incoming = incoming(socket)?;
            let mut server = server(tls.as_ref())?;
            let (routes, stop) = (routes.clone(), stop.clone());
            tasks.spawn(async move {
                let serving = server.add_routes(routes);
                // Watch streams never end by themselves, so waiting for connections to finish would wait for ever.
                tokio::select! {
                    served = serving.serve_with_incoming(incoming) => served.map_err(Error::Serve),
                    () = stop.cancelled() => Ok(()),
                }
            });
        }
    }
    Ok(())
}

fn incoming(socket: std::net::TcpListener) -> Result<tonic::transport::server::TcpIncoming, Error> {
    let address = socket.local_addr();
    let failed = |source| match address {
        Ok(address) => Error::Listen { address, source },
        Err(_) => Error::Task { detail: source.to_string() },
    };
    socket.set_nonblocking(true).map_err(failed)?;
    let socket = tokio::net::TcpListener::from_std(socket).map_err(failed)?;
    Ok(tonic::transport::server::TcpIncoming::from(socket).with_nodelay(Some(true)))
}

fn server(tls: Option<&Tls>) -> Result<Server, Error> {
    let server = Server::builder()
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .initial_stream_window_size(HTTP2_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_WINDOW_BYTES)
        .http2_keepalive_interval(Some(Duration::from_secs(10)));
    let Some(tls) = tls else { return Ok(server) };
    let mut config = ServerTlsConfig::new().identity(Identity::from_pem(&tls.cert_pem, &tls.key_pem));
    if let Some(ca) = &tls.ca_pem {
        config = config.client_ca_root(Certificate::from_pem(ca));
    }
    server.tls_config(config).map_err(|error| Error::Tls { detail: error.to_string() })
}

/// A connection to another member.
pub async fn peer_channel(options: &Options, url: &str) -> Result<Channel, tonic::transport::Error> {
    let mut endpoint =
        Endpoint::from_shared(url.to_owned())?.connect_timeout(JOIN_TIMEOUT).timeout(JOIN_TIMEOUT);
    if let Some(tls) = &options.peer_tls {
        let mut config = ClientTlsConfig::new().identity(Identity::from_pem(&tls.cert_pem, &tls.key_pem));
        if let Some(ca) = &tls.ca_pem {
            config = config.ca_certificate(Certificate::from_pem(ca));
        }
        endpoint = endpoint.tls_config(config)?;
    }
    endpoint.connect().await
}
