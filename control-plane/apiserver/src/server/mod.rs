//! The listening server: accepts connections, learns who is at the other end, and hands requests to the gateway.

mod connection;
mod local;
mod tls;

use std::{net::SocketAddr, sync::Arc};

use api::Status;
use registry::{Caller, Registry};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{
    authn::{Authenticator, Identity, StaticTokens, token},
    authz::{Authorizer, policy},
    gateway::Gateway,
    limits,
    options::{Options, PemError},
};

/// Why the server cannot start or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options contradict themselves.
    #[error("options: {0}")]
    Options(String),
    /// A certificate, key or authority cannot be read.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A certificate, key or authority cannot be used.
    #[error("TLS: {0}")]
    Tls(#[from] tls::Error),
    /// A service account key cannot be used.
    #[error(transparent)]
    Key(#[from] token::KeyError),
    /// The address is taken or not ours.
    #[error("listening on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The registry did not become ready.
    #[error("waiting for the registry: {0}")]
    Registry(#[from] Status),
}

/// An API server that is bound to its address but does not answer yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    handle: Handle,
}

/// A way into a running server. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    gateway: Arc<Gateway>,
    tls: Arc<tls::Reloadable>,
    options: Arc<Options>,
}

impl Server {
    /// Reads certificates and keys, and listens.
    pub async fn bind(options: Options, registry: Registry) -> Result<Self, Error> {
        options.validate().map_err(Error::Options)?;
        let tls = Arc::new(tls::Reloadable::load(&options)?);
        let authenticator = Authenticator::new(registry.clone(), static_tokens(&options), issuer(&options)?);
        let authorizer = Authorizer::new(registry.clone());
        let nodes =
            options.node_client.as_ref().map(|c| tls::node_client(c, &options.client_ca)).transpose()?;
        let gateway = Gateway::new(registry, authenticator, authorizer, nodes, &options);
        let listen = |source| Error::Listen { address: options.bind, source };
        let listener = TcpListener::bind(options.bind).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let handle = Handle { gateway: Arc::new(gateway), tls, options: Arc::new(options) };
        Ok(Self { listener, address, handle })
    }

    /// Where the server listens; the port is known even if 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// A way in, also before [`Server::run`].
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// A gRPC channel with a fixed identity; see [`Handle::local_channel`].
    pub fn local_channel(&self, caller: Caller) -> tonic::transport::Channel {
        self.handle.local_channel(caller)
    }

    /// Serves until `shutdown`, then lets open requests finish for [`limits::DRAIN_TIMEOUT`].
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let Self { listener, address, handle } = self;
        tracing::info!(%address, "the API server listens");
        let gateway = handle.gateway.clone();
        let rules = policy::follow(
            gateway.registry.clone(),
            gateway.authorizer.clone(),
            gateway.rules_filled.clone(),
            shutdown.clone(),
        );
        handle.gateway.tasks.spawn(rules);
        accept(&listener, &handle, &shutdown).await;
        drop(listener);
        gateway.closing.cancel();
        handle.gateway.tasks.close();
        if tokio::time::timeout(limits::DRAIN_TIMEOUT, handle.gateway.tasks.wait()).await.is_err() {
            tracing::warn!("requests were still open when the time to drain was over");
        }
        gateway.closed.cancel();
        Ok(())
    }
}

impl Handle {
    /// A channel that speaks `kontiki.objects.v1` to this server in memory, as `caller`. Every call is authorized
    /// as if it had come by network.
    pub fn local_channel(&self, caller: Caller) -> tonic::transport::Channel {
        let who = Identity { caller, extra: Default::default() }.authenticated();
        local::channel(self.gateway.clone(), who)
    }

    /// Reads certificate, key and authorities again; connections made from now on use them.
    pub fn reload_certificates(&self) -> Result<(), Error> {
        self.tls.reload(&self.options)
    }

    /// Waits until requests can be authorized.
    pub async fn ready(&self) -> Result<(), Status> {
        self.gateway.ready().await
    }
}

fn static_tokens(options: &Options) -> StaticTokens {
    StaticTokens::new(options.tokens.iter().map(|t| t.identity()))
}

fn issuer(options: &Options) -> Result<Option<token::Issuer>, Error> {
    if options.service_account_keys.is_empty() {
        return Ok(None);
    }
    let keys: Result<Vec<String>, PemError> =
        options.service_account_keys.iter().map(|pem| pem.read()).collect();
    Ok(Some(token::Issuer::new(&options.service_account_issuer, &options.api_audiences, &keys?)?))
}

async fn accept(listener: &TcpListener, handle: &Handle, shutdown: &CancellationToken) {
    let connections = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
    loop {
        let next = async {
            let slot = connections.clone().acquire_owned().await.expect("the semaphore is never closed");
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            () = shutdown.cancelled() => return,
            next = next => next,
        };
        match accepted {
            Ok((stream, remote)) => {
                let gateway = handle.gateway.clone();
                let acceptor = handle.tls.acceptor();
                handle.gateway.tasks.spawn(async move {
                    connection::serve_tls(gateway, acceptor, stream, remote).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}
