//! The API servers we may talk to, and which one we talk to now.

use std::sync::Arc;

use parking_lot::RwLock;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::limits;

/// Who we are and whom we trust, as PEM.
#[derive(Clone)]
pub struct ClientTls {
    /// Certificates of the cluster's authority.
    pub ca: Vec<u8>,
    /// Our certificate chain.
    pub cert: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientTls").finish_non_exhaustive()
    }
}

/// An address or certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There is no address at all.
    #[error("no API server address given")]
    NoEndpoint,
    /// One of them is unusable.
    #[error("use API server {endpoint}")]
    Endpoint {
        /// The address.
        endpoint: String,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
}

pub(super) struct Endpoints {
    state: RwLock<State>,
}

struct State {
    channels: Arc<[Channel]>,
    current: usize,
}

impl Endpoints {
    pub(super) fn connect(addresses: &[String], tls: &ClientTls) -> Result<Self, ConnectError> {
        let channels = open(addresses, tls)?;
        // Clients start on different servers, so that load spreads without a balancer.
        let current = rand::random_range(0..channels.len());
        Ok(Self { state: RwLock::new(State { channels, current }) })
    }

    pub(super) fn of_channel(channel: Channel) -> Self {
        Self::of_channels(vec![channel])
    }

    /// Over these channels, of which there must be at least one.
    pub(super) fn of_channels(channels: Vec<Channel>) -> Self {
        Self { state: RwLock::new(State { channels: channels.into(), current: 0 }) }
    }

    pub(super) fn replace(&self, addresses: &[String], tls: &ClientTls) -> Result<(), ConnectError> {
        let channels = open(addresses, tls)?;
        let current = rand::random_range(0..channels.len());
        *self.state.write() = State { channels, current };
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.state.read().channels.len()
    }

    /// The server to talk to, and its index for [`Self::failed`].
    pub(super) fn current(&self) -> (usize, Channel) {
        let state = self.state.read();
        (state.current, state.channels[state.current].clone())
    }

    /// Moves on to the next server, unless somebody already did.
    pub(super) fn failed(&self, index: usize) {
        let mut state = self.state.write();
        if state.current == index {
            state.current = (index + 1) % state.channels.len();
        }
    }
}

fn open(addresses: &[String], tls: &ClientTls) -> Result<Arc<[Channel]>, ConnectError> {
    if addresses.is_empty() {
        return Err(ConnectError::NoEndpoint);
    }
    let config = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&tls.ca))
        .identity(Identity::from_pem(&tls.cert, &tls.key));
    let open_one = |address: &String| {
        let failed = |source| ConnectError::Endpoint { endpoint: address.clone(), source };
        let endpoint = Endpoint::from_shared(address.clone()).map_err(failed)?;
        let endpoint = endpoint
            .tls_config(config.clone())
            .map_err(failed)?
            .connect_timeout(limits::CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(limits::KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(limits::KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        Ok(endpoint.connect_lazy())
    };
    let channels: Vec<Channel> = addresses.iter().map(open_one).collect::<Result<_, ConnectError>>()?;
    Ok(channels.into())
}
