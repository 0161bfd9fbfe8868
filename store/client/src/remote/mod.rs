//! The store over the network: [`Kv`] by the etcd v3 gRPC API.
//!
//! Requests go round the endpoints. What is safe to repeat is repeated on the next endpoint: every read, and a write
//! that certainly did not happen because nobody received it. Everything else that fails is reported, because
//! only the caller knows whether its write may happen twice. A watch that loses its connection resumes on another
//! endpoint after the last revision it delivered; its consumer does not notice. Nor does anybody notice that a token has ended:
//! a request that was refused for that reason had no effect, and is repeated with a new one.

mod convert;
mod login;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use proto::etcd::etcdserverpb as pb;
use serde::{Deserialize, Serialize};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

pub use self::login::Login;
use self::login::{Desk, Line};
use crate::limits::{REMOTE_LOGINS_MAX, REMOTE_RESPONSE_BYTES_MAX};
use crate::{
    Denial, Error, KeyRange, Kv, Lease, LeaseId, Range, RangeResult, Revision, Txn, TxnResult, Watch,
    WatchStream, validate,
};

/// Metadata of a refusal that names the oldest revision that can be read.
pub const OLDEST_REVISION: &str = "kontiki-oldest-revision";
/// Metadata of a refusal that names the newest revision.
pub const NEWEST_REVISION: &str = "kontiki-newest-revision";

/// Keys and certificates of a client, all PEM.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// Authorities that sign the servers' certificates.
    pub ca_pem: String,
    /// This client's certificate chain and key, if the servers ask for one.
    pub identity_pem: Option<(String, String)>,
    /// The name the servers' certificates are issued to, if it is not the host of the endpoint.
    pub server_name: Option<String>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

/// Options of a [`RemoteKv`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Where the members serve clients: `http://host:port` or `https://host:port`.
    pub endpoints: Vec<String>,
    /// Keys; needed for `https`.
    pub tls: Option<Tls>,
    /// Who asks, where members want to know; nobody, or whom the certificate names.
    pub login: Option<Login>,
    /// Milliseconds a connection may take to come up; 2000.
    pub connect_timeout_ms: u64,
    /// Milliseconds one attempt at a request may take; 10 000, a little more than a store may take to agree.
    pub request_timeout_ms: u64,
    /// Milliseconds a lost watch tries to resume before it fails; 30 000: several elections.
    pub resume_timeout_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            tls: None,
            login: None,
            connect_timeout_ms: 2_000,
            request_timeout_ms: 10_000,
            resume_timeout_ms: 30_000,
        }
    }
}

/// A [`Kv`] somewhere else. Clones share the connections.
#[derive(Clone, Debug)]
pub struct RemoteKv {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    channels: Vec<Channel>,
    next: AtomicUsize,
    desk: Desk,
    options: Options,
}

/// Whether a request may be repeated when it is not known whether it had an effect.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    None,
    Write,
}

/// Why an attempt failed.
enum Failed {
    /// The member did not let us in: the request was not sent.
    Login(Status),
    /// The member did not take our token: the request had no effect, and the next one has another token.
    Stranger,
    /// The member, or the way to it.
    Refused(Status),
    /// There was no answer in time.
    Late,
}

impl RemoteKv {
    /// Prepares connections to the endpoints; they come up when they are needed.
    pub fn new(options: Options) -> Result<Self, Error> {
        if options.endpoints.is_empty() {
            return Err(Error::Invalid("at least one endpoint is needed".to_owned()));
        }
        let channels =
            options.endpoints.iter().map(|url| channel(url, &options)).collect::<Result<_, _>>()?;
        let desk = Desk::new(options.login.clone());
        Ok(Self { shared: Arc::new(Shared { channels, next: AtomicUsize::new(0), desk, options }) })
    }

    fn channel(&self) -> Channel {
        let next = self.shared.next.fetch_add(1, Ordering::Relaxed);
        self.shared.channels[next % self.shared.channels.len()].clone()
    }

    /// Runs a request, on as many endpoints as is safe.
    async fn call<T, F>(&self, effect: Effect, send: impl Fn(Line) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let mut last = Error::Unavailable("no endpoint".to_owned());
        let mut logins = 0;
        // Twice round: a member that has just lost its leader knows the next one by then.
        let mut attempts = self.shared.channels.len() * 2;
        while attempts > 0 {
            let failed = match self.attempt(&send).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            let repeat = match failed {
                Failed::Stranger if logins < REMOTE_LOGINS_MAX => {
                    logins += 1;
                    continue;
                }
                Failed::Stranger => return Err(Denial::InvalidToken.into()),
                Failed::Login(ref status) => {
                    convert::was_not_received(status) || convert::was_cut_off(status)
                }
                Failed::Refused(ref status) => {
                    convert::was_not_received(status)
                        || (effect == Effect::None && convert::was_cut_off(status))
                }
                Failed::Late => effect == Effect::None,
            };
            last = match failed {
                Failed::Login(status) | Failed::Refused(status) => convert::error(&status),
                Failed::Late | Failed::Stranger => {
                    let patience = Duration::from_millis(self.shared.options.request_timeout_ms);
                    Error::Timeout(format!("no answer within {patience:?}"))
                }
            };
            if !repeat {
                return Err(last);
            }
            attempts -= 1;
        }
        Err(last)
    }

    /// Runs a request once, on the next endpoint.
    async fn attempt<T, F>(&self, send: &impl Fn(Line) -> F) -> Result<T, Failed>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let (channel, desk) = (self.channel(), &self.shared.desk);
        let patience = Duration::from_millis(self.shared.options.request_timeout_ms);
        let asked = tokio::time::timeout(patience, async {
            let introduction = desk.introduction(&channel).await.map_err(Failed::Login)?;
            match send(Line::new(channel, introduction.clone())).await {
                Ok(answer) => Ok(answer),
                Err(status) if desk.renew(&introduction, status.message()).await => Err(Failed::Stranger),
                Err(status) => Err(Failed::Refused(status)),
            }
        });
        asked.await.unwrap_or(Err(Failed::Late))
    }

    async fn renew(line: Line, id: LeaseId) -> Result<pb::LeaseKeepAliveResponse, Status> {
        let request = futures::stream::iter([pb::LeaseKeepAliveRequest { id: id.0 }]);
        let mut answers = pb::lease_client::LeaseClient::new(line)
            .lease_keep_alive(Request::new(request))
            .await?
            .into_inner();
        answers.message().await?.ok_or_else(|| Status::unavailable("the stream ended without an answer"))
    }
}

fn channel(url: &str, options: &Options) -> Result<Channel, Error> {
    let wrong = |error: tonic::transport::Error| Error::Invalid(format!("endpoint {url}: {error}"));
    let mut endpoint = Endpoint::from_shared(url.to_owned())
        .map_err(wrong)?
        .connect_timeout(Duration::from_millis(options.connect_timeout_ms))
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    if let Some(tls) = &options.tls {
        let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&tls.ca_pem));
        if let Some((cert, key)) = &tls.identity_pem {
            config = config.identity(Identity::from_pem(cert, key));
        }
        if let Some(name) = &tls.server_name {
            config = config.domain_name(name);
        }
        endpoint = endpoint.tls_config(config).map_err(wrong)?;
    }
    Ok(endpoint.connect_lazy())
}

fn kv(line: Line) -> pb::kv_client::KvClient<Line> {
    pb::kv_client::KvClient::new(line).max_decoding_message_size(REMOTE_RESPONSE_BYTES_MAX)
}

#[async_trait]
impl Kv for RemoteKv {
    async fn range(&self, range: Range) -> Result<RangeResult, Error> {
        validate::range(&range)?;
        let request = convert::range_request(&range);
        let send = |line| {
            let request = request.clone();
            async move { Ok(kv(line).range(request).await?.into_inner()) }
        };
        Ok(convert::range_result(self.call(Effect::None, send).await?))
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResult, Error> {
        validate::txn(&txn)?;
        let effect = if convert::is_read_only(&txn) { Effect::None } else { Effect::Write };
        let request = convert::txn_request(&txn);
        let send = |line| {
            let request = request.clone();
            async move { Ok(kv(line).txn(request).await?.into_inner()) }
        };
        convert::txn_result(self.call(effect, send).await?)
    }

    async fn watch(&self, watch: Watch) -> Result<WatchStream, Error> {
        validate::keys(&watch.keys)?;
        Ok(watch::stream(self.clone(), watch))
    }

    async fn read_revision(&self) -> Result<Revision, Error> {
        let probe = Range { count_only: true, ..Range::new(KeyRange::Key(Bytes::from_static(b"\0"))) };
        Ok(self.range(probe).await?.revision)
    }

    async fn lease_grant(&self, id: LeaseId, ttl_s: i64) -> Result<Lease, Error> {
        validate::lease_grant(ttl_s)?;
        let send = |line| async move {
            let request = pb::LeaseGrantRequest { ttl: ttl_s, id: id.0 };
            Ok(pb::lease_client::LeaseClient::new(line).lease_grant(request).await?.into_inner())
        };
        let granted = self.call(Effect::Write, send).await?;
        let id = LeaseId(granted.id);
        Ok(Lease { id, granted_ttl_s: granted.ttl, ttl_s: granted.ttl, keys: Vec::new() })
    }

    async fn lease_revoke(&self, id: LeaseId) -> Result<Revision, Error> {
        let send = |line| async move {
            let request = pb::LeaseRevokeRequest { id: id.0 };
            Ok(pb::lease_client::LeaseClient::new(line).lease_revoke(request).await?.into_inner())
        };
        Ok(convert::revision(&self.call(Effect::Write, send).await?.header))
    }

    async fn lease_keep_alive(&self, id: LeaseId) -> Result<Lease, Error> {
        // To renew twice is to renew.
        let renewed = self.call(Effect::None, |line| Self::renew(line, id)).await?;
        if renewed.ttl <= 0 {
            return Err(Error::LeaseNotFound);
        }
        Ok(Lease { id, granted_ttl_s: renewed.ttl, ttl_s: renewed.ttl, keys: Vec::new() })
    }

    async fn lease_time_to_live(&self, id: LeaseId, keys: bool) -> Result<Lease, Error> {
        let send = |line| async move {
            let request = pb::LeaseTimeToLiveRequest { id: id.0, keys };
            Ok(pb::lease_client::LeaseClient::new(line).lease_time_to_live(request).await?.into_inner())
        };
        let lease = self.call(Effect::None, send).await?;
        Ok(Lease { id, granted_ttl_s: lease.granted_ttl, ttl_s: lease.ttl, keys: lease.keys })
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        let send = |line| async move {
            let request = pb::CompactionRequest { revision: revision.0, physical: false };
            Ok(kv(line).compact(request).await?.into_inner())
        };
        self.call(Effect::Write, send).await.map(drop)
    }
}
