//! Connections to the other members: a few per peer, long-lived, opened when first used.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::sync::Arc;

use parking_lot::Mutex;
use proto::raft::peer_client::PeerClient;
use tokio::sync::watch;
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity as TlsIdentity};
use tonic::{Code, Request, Status};

use super::{Identity, Incarnations, PeerTls, identity};
use crate::error::Error;
use crate::limits;
use crate::member::MemberId;
use crate::meters::Meters;
use crate::seams::Dial;

/// What a connection is for. Each has its own, so that bulk never delays a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Entries.
    Log,
    /// Signs of life, votes, hand-over.
    Pulse,
    /// Snapshots.
    Bulk,
    /// What callers ask of the leader.
    Forward,
}

const LANES: usize = 4;

/// Why a call to a peer failed.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// It never left: the peer is unknown or not reachable.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The peer refuses us, or is not the one we meant.
    #[error("refused: {0}")]
    Foreign(String),
    /// It may have arrived.
    #[error("no answer: {0}")]
    Lost(String),
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        if status.code() == Code::PermissionDenied {
            return Self::Foreign(status.message().to_owned());
        }
        let mut source: Option<&(dyn StdError + 'static)> = status.source();
        while let Some(error) = source {
            if error.is::<tonic::ConnectError>() {
                return Self::NotSent(error.to_string());
            }
            source = error.source();
        }
        Self::Lost(format!("{}: {}", status.code(), status.message()))
    }
}

/// Cheap to clone; all clones share the connections.
#[derive(Clone)]
pub(crate) struct Peers {
    shared: Arc<Shared>,
}

struct Shared {
    identity: Identity,
    incarnations: Incarnations,
    keys: Option<watch::Receiver<PeerTls>>,
    dial: Dial,
    meters: Meters,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    peers: HashMap<MemberId, Peer>,
    /// The keys that the connections were opened with, if they have changed since the start.
    keys: Option<PeerTls>,
}

struct Peer {
    url: String,
    channels: [Option<Channel>; LANES],
}

impl Known {
    /// Has new calls open new connections once the keys have changed. What is under way goes on with the old ones.
    fn renew(&mut self, keys: &watch::Receiver<PeerTls>) {
        let now = keys.borrow();
        if self.keys.as_ref() == Some(&*now) {
            return;
        }
        if self.keys.replace(now.clone()).is_some() {
            self.peers.values_mut().for_each(|peer| peer.channels = Default::default());
        }
    }
}

impl Peers {
    pub(crate) fn new(
        identity: Identity,
        keys: Option<watch::Receiver<PeerTls>>,
        dial: Dial,
        meters: Meters,
    ) -> Self {
        let incarnations = Incarnations::new(identity.member);
        Self {
            shared: Arc::new(Shared { identity, incarnations, keys, dial, meters, known: Mutex::default() }),
        }
    }

    /// Checks that the keys are usable.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let endpoint = Endpoint::from_static("https://localhost");
        let Some(tls) = self.tls() else { return Ok(()) };
        endpoint.tls_config(tls).map(drop).map_err(|error| Error::Tls { detail: full(&error) })
    }

    /// Learns where a member is reached. Connections to a former url are dropped.
    pub(crate) fn learn(&self, id: MemberId, url: &str) {
        let mut known = self.shared.known.lock();
        let peer = known
            .peers
            .entry(id)
            .or_insert_with(|| Peer { url: url.to_owned(), channels: Default::default() });
        if peer.url != url {
            *peer = Peer { url: url.to_owned(), channels: Default::default() };
        }
    }

    /// Forgets members that are gone.
    pub(crate) fn retain(&self, keep: impl Fn(MemberId) -> bool) {
        self.shared.known.lock().peers.retain(|id, _| keep(*id));
    }

    /// A client for calls to a member.
    pub(crate) fn client(&self, id: MemberId, lane: Lane) -> Result<PeerClient<Channel>, CallError> {
        let mut known = self.shared.known.lock();
        if let Some(keys) = &self.shared.keys {
            known.renew(keys);
        }
        let peer = known
            .peers
            .get_mut(&id)
            .ok_or_else(|| CallError::NotSent(format!("member {id} is not known")))?;
        let slot = &mut peer.channels[lane as usize];
        let channel = match slot {
            Some(channel) => channel.clone(),
            None => slot.insert(self.connect(&peer.url)?).clone(),
        };
        Ok(PeerClient::new(channel)
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::MESSAGE_BYTES_MAX))
    }

    /// A call that names us and the one we mean.
    pub(crate) fn sign<T>(&self, to: MemberId, message: T) -> Request<T> {
        let mut request = self.shared.identity.sign(to, message);
        let known = self.shared.known.lock();
        let concern = |id| known.peers.contains_key(&id);
        identity::introduce(request.metadata_mut(), &self.shared.incarnations, concern);
        request
    }

    /// Checks that the member that answered is the one it always was.
    pub(crate) fn recognize(&self, id: MemberId, answer: &MetadataMap) -> Result<(), CallError> {
        let met = identity::incarnation(answer)
            .map_or(Ok(()), |incarnation| self.shared.incarnations.meet(id, incarnation));
        met.map_err(|mistaken| {
            tracing::error!("{mistaken}");
            CallError::Foreign(mistaken.to_string())
        })
    }

    /// Which life of which member is known.
    pub(crate) fn incarnations(&self) -> &Incarnations {
        &self.shared.incarnations
    }

    /// What is counted and timed.
    pub(crate) fn meters(&self) -> &Meters {
        &self.shared.meters
    }

    /// Who we are.
    pub(crate) fn identity(&self) -> Identity {
        self.shared.identity
    }

    /// The keys to open connections with.
    fn tls(&self) -> Option<ClientTlsConfig> {
        let tls = self.shared.keys.as_ref()?.borrow();
        let identity = TlsIdentity::from_pem(&tls.cert_pem, &tls.key_pem);
        Some(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&tls.ca_pem)).identity(identity))
    }

    fn connect(&self, url: &str) -> Result<Channel, CallError> {
        let unusable =
            |error: tonic::transport::Error| CallError::NotSent(format!("url {url}: {}", full(&error)));
        let mut endpoint = Endpoint::from_shared(url.to_owned())
            .map_err(unusable)?
            .connect_timeout(limits::CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(limits::KEEPALIVE_INTERVAL)
            .keep_alive_timeout(limits::KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(limits::STREAM_WINDOW_BYTES)
            .initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES);
        if let Some(tls) = self.tls() {
            endpoint = endpoint.tls_config(tls).map_err(unusable)?;
        }
        Ok((self.shared.dial)(endpoint))
    }
}

/// An error with all its causes; tonic's own says nothing.
fn full(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
