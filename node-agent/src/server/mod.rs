//! The agent's HTTPS server, with kubelet's paths: what the API server asks for on behalf of users.
//!
//! Only holders of a client certificate of the cluster's authority may ask, and of these only the API server
//! and administrators (`system:masters`); everybody else is answered 401.
//!
//! | path | answers |
//! |---|---|
//! | `/containerLogs/{ns}/{pod}/{container}` | a log, followed if so asked |
//! | `/exec/...`, `/attach/...`, `/portForward/...` | an upgraded connection, passed on to the runtime as it is |
//! | `/pods`, `/stats/summary`, `/metrics`, `/metrics/resource`, `/configz`, `/healthz` | what is going on |

mod find;
pub mod logs;
mod metrics;
mod route;
pub mod stats;
mod stream;
mod tls;

use std::{net::SocketAddr, sync::Arc};

use client::Informer;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use self::{route::Routes, tls::Identity};
use crate::{Error, limits, options::ServerTls, shared::Shared};

/// The server; its port is taken when it is made.
pub struct Server {
    listener: std::net::TcpListener,
    addr: SocketAddr,
    identity: Identity,
}

impl Server {
    /// Takes the port and reads the certificates.
    pub fn bind(addr: SocketAddr, tls: &ServerTls) -> Result<Self, Error> {
        let listen = |source| Error::Listen { addr, source };
        let listener = std::net::TcpListener::bind(addr).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let addr = listener.local_addr().map_err(listen)?;
        Ok(Self { listener, addr, identity: Identity::load(tls)? })
    }

    /// The port that was taken.
    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// Serves until shutdown; connections are cut then.
    pub async fn run(self, shared: Arc<Shared>, pods: Informer<Pod>, shutdown: CancellationToken) {
        let listener = match TcpListener::from_std(self.listener) {
            Ok(listener) => listener,
            Err(e) => {
                warn!(error = %e, "the server cannot listen");
                return;
            }
        };
        let tasks = TaskTracker::new();
        let routes = Arc::new(Routes::new(shared, pods, tasks.clone(), shutdown.clone()));
        let slots = Arc::new(Semaphore::new(limits::SERVER_CONNECTIONS_MAX));
        let identity = Arc::new(self.identity);
        let reload = Arc::clone(&identity);
        let token = shutdown.clone();
        tasks.spawn(async move { reload.keep_fresh(token).await });
        let accept = async {
            loop {
                let Ok(permit) = Arc::clone(&slots).acquire_owned().await else { return };
                match listener.accept().await {
                    Ok((stream, peer)) => {
                        let (identity, routes, token) =
                            (Arc::clone(&identity), Arc::clone(&routes), shutdown.clone());
                        tasks.spawn(async move {
                            token.run_until_cancelled(serve(stream, peer, &identity, routes)).await;
                            drop(permit);
                        });
                    }
                    Err(e) => {
                        warn!(error = %e, "a connection could not be accepted");
                        tokio::time::sleep(limits::LOG_POLL).await;
                    }
                }
            }
        };
        shutdown.run_until_cancelled(accept).await;
        tasks.close();
        tasks.wait().await;
    }
}

async fn serve(stream: TcpStream, peer: SocketAddr, identity: &Identity, routes: Arc<Routes>) {
    // Without it small frames of interactive sessions would wait for one another.
    if let Err(e) = stream.set_nodelay(true) {
        debug!(%peer, error = %e, "no-delay is refused");
    }
    let handshake = identity.acceptor().accept(stream);
    let stream = match tokio::time::timeout(limits::HANDSHAKE_TIMEOUT, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(e)) => {
            debug!(%peer, error = %e, "a handshake failed");
            return;
        }
        Err(_) => {
            debug!(%peer, "a handshake took too long");
            return;
        }
    };
    let caller = tls::caller(&stream);
    let service = service_fn(move |request| {
        let (routes, caller) = (Arc::clone(&routes), caller.clone());
        async move { Ok::<_, std::convert::Infallible>(routes.answer(caller.as_ref(), request).await) }
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if let Err(e) = connection.with_upgrades().await {
        debug!(%peer, error = %e, "a connection broke");
    }
}
