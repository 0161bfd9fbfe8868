//! A server: store member, API server, scheduler and controllers in one process, or any part of that.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use api::Status;
use apiserver::Pem;
use client::{
    Context, Plugin,
    election::{self, Elector},
    grpc::Remote,
};
use ipnet::{IpNet, Ipv4Net};
use registry::{Caller, Registry};
use serde::{Deserialize, Serialize};
use store_client::{
    Kv,
    remote::{self, RemoteKv},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    local::state::write_private,
    pki::{self, Pki},
    presence,
};

/// A member of the store that founds the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Where the other members reach it, `https://host:port`.
    pub url: String,
}

/// Options of a [`ControlPlane`]. The defaults, with `data_dir` set, give a cluster of one server on loopback and a free
/// port: what a test or an embedding service wants.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Options {
    /// Name of this server; `server-1`.
    pub name: String,
    /// Where this server keeps its state. No default.
    pub data_dir: PathBuf,
    /// Where the keys are that all servers share; `pki` in `data_dir` when not set.
    pub pki_dir: Option<PathBuf>,
    /// Where the Kubernetes API is served; loopback with a port the kernel picks.
    pub listen: SocketAddr,
    /// Address by which pods, nodes and other servers reach this one; the certificate is valid for it.
    pub advertise: IpAddr,
    /// The founding members of the store, this one included; none for a cluster of one.
    pub peers: Vec<Peer>,
    /// Where the other members are listened to; needed with several.
    pub listen_peer: Option<SocketAddr>,
    /// Where the etcd API is served to clients with a certificate of the store's authority; nowhere when not set.
    pub listen_etcd: Option<SocketAddr>,
    /// Use the store at these etcd endpoints instead of a member of our own.
    pub etcd_servers: Vec<String>,
    /// Tells clusters with the same addresses apart.
    pub cluster_token: String,
    /// Addresses of pods.
    pub cluster_cidr: Ipv4Net,
    /// Addresses of Services.
    pub service_cidr: Ipv4Net,
    /// DNS suffix of the cluster.
    pub domain: String,
    /// Whether this server stands for election as scheduler.
    pub scheduler: bool,
    /// Whether this server stands for election as controller manager.
    pub controllers: bool,
    /// Seconds that others wait for a silent scheduler or controller manager, at least 3. Writes are fenced, so a
    /// short time risks a needless takeover, never two writers.
    pub leadership_s: u64,
    /// Seconds after which a silent node is not ready.
    pub node_grace_s: u64,
}

impl Default for Options {
    fn default() -> Self {
        let cidr = |a, b| Ipv4Net::new(Ipv4Addr::new(a, b, 0, 0), 16).expect("a constant that is valid");
        Self {
            name: "server-1".to_owned(),
            data_dir: PathBuf::new(),
            pki_dir: None,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            advertise: IpAddr::V4(Ipv4Addr::LOCALHOST),
            peers: Vec::new(),
            listen_peer: None,
            listen_etcd: None,
            etcd_servers: Vec::new(),
            cluster_token: "kontiki".to_owned(),
            cluster_cidr: cidr(10, 244),
            service_cidr: cidr(10, 96),
            domain: "cluster.local".to_owned(),
            scheduler: true,
            controllers: true,
            leadership_s: 3,
            node_grace_s: 40,
        }
    }
}

impl Options {
    /// A cluster of one server with its state in `data_dir`.
    pub fn in_dir(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into(), ..Self::default() }
    }
}

/// Why a server could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Options that cannot be meant.
    #[error("{0}")]
    Options(String),
    /// Keys or certificates.
    #[error(transparent)]
    Pki(#[from] pki::Error),
    /// A file of this server.
    #[error(transparent)]
    File(#[from] crate::local::Error),
    /// The store.
    #[error("the store failed")]
    Store(#[from] store::Error),
    /// The registry.
    #[error("the registry failed: {0}")]
    Registry(Status),
    /// The API server.
    #[error("the API server failed")]
    ApiServer(#[from] apiserver::Error),
    /// A part of the server ended although nobody asked it to.
    #[error("{0} ended unexpectedly")]
    Ended(&'static str),
}

/// A running server. Dropping it stops it at once.
pub struct ControlPlane {
    pki: Pki,
    address: SocketAddr,
    store: Option<store::Handle>,
    registry: Registry,
    api: apiserver::Handle,
    parts: JoinSet<(&'static str, Result<(), Error>)>,
    stop: CancellationToken,
}

/// Wait between two tries to create what every cluster has, while there is no leader yet.
const BOOTSTRAP_RETRY: Duration = Duration::from_millis(50);
/// How often certificates are looked at.
const RENEWAL_CHECK: Duration = Duration::from_secs(6 * 3600);

impl ControlPlane {
    /// Starts the server. It is reachable when this returns; it answers once the store has a leader, see
    /// [`ControlPlane::ready`].
    pub async fn start(options: Options) -> Result<Self, Error> {
        crate::install_crypto();
        if options.data_dir.as_os_str().is_empty() {
            return Err(Error::Options("dataDir must be set".to_owned()));
        }
        let pki = Pki::open(&options.pki_dir.clone().unwrap_or_else(|| options.data_dir.join("pki")))?;
        let certificate = Certificate::issue(&options, &pki)?;
        let stop = CancellationToken::new();
        let mut parts = JoinSet::new();
        let (kv, store): (Arc<dyn Kv>, _) = if options.etcd_servers.is_empty() {
            let server = store::Server::start(store_options(&options, &pki)?).await?;
            let (handle, ending) = (server.handle(), stop.clone());
            parts.spawn(async move { ("the store", server.run(ending).await.map_err(Error::from)) });
            (Arc::new(handle.clone()), Some(handle))
        } else {
            (Arc::new(remote_store(&options, &pki)?), None)
        };
        let registry =
            Registry::start(kv, registry_options(&options), stop.clone()).await.map_err(Error::Registry)?;
        let server =
            apiserver::Server::bind(api_options(&options, &pki, &certificate)?, registry.clone()).await?;
        let (address, api) = (server.local_addr(), server.handle());

        let ending = stop.clone();
        parts.spawn(async move { ("the API server", server.run(ending).await.map_err(Error::from)) });
        let advertised = SocketAddr::new(options.advertise, address.port());
        let (name, ending, ours) = (options.name.clone(), stop.clone(), registry.clone());
        parts.spawn(async move {
            if ending.run_until_cancelled(bootstrap(&ours)).await.is_some() {
                presence::run(ours, name, advertised, ending).await;
            }
            ("bootstrap", Ok(()))
        });
        let (ending, renewed) = (stop.clone(), api.clone());
        let (authority, of) =
            (options.pki_dir.clone().unwrap_or_else(|| options.data_dir.join("pki")), options.clone());
        parts.spawn(async move {
            renew(authority, of, renewed, ending).await;
            ("certificate renewal", Ok(()))
        });
        if options.scheduler {
            let context = context(&options, &api, "kube-scheduler", &stop);
            let election = scheduler_election(&options.name, options.leadership_s);
            parts.spawn(async move {
                lead_scheduler(election, context).await;
                ("the scheduler", Ok(()))
            });
        }
        if options.controllers {
            let cluster = IpNet::V4(options.cluster_cidr);
            let settings =
                controller_options(cluster, options.node_grace_s, options.leadership_s, pki.ca().to_owned());
            let plugin =
                controllers::Controllers::new(settings).map_err(|why| Error::Options(why.to_string()))?;
            let context = context(&options, &api, "kube-controller-manager", &stop);
            parts.spawn(async move {
                plugin.run(context).await;
                ("the controller manager", Ok(()))
            });
        }
        info!(server = options.name, %address, "server started");
        Ok(Self { pki, address, store, registry, api, parts, stop })
    }

    /// Waits until the API serves and what every cluster has exists.
    pub async fn ready(&self) -> Result<(), Status> {
        bootstrap(&self.registry).await;
        self.api.ready().await
    }

    /// Where the Kubernetes API is served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the Kubernetes API is served, as a URL for clients on this machine.
    pub fn url(&self) -> String {
        let ip = self.address.ip();
        let ip = if ip.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { ip };
        format!("https://{}", SocketAddr::new(ip, self.address.port()))
    }

    /// A kubeconfig with all rights, as YAML (JSON).
    pub fn kubeconfig(&self) -> Result<String, Error> {
        Ok(self.pki.admin_kubeconfig(&[("kontiki".to_owned(), self.url())])?)
    }

    /// The verbs of the API with all rights, in memory.
    pub fn objects(&self) -> Remote {
        let admin = Caller {
            user: "kubernetes-admin".to_owned(),
            groups: vec!["system:masters".to_owned()],
            ..Caller::default()
        };
        Remote::from_channel(self.api.local_channel(admin))
    }

    /// The store below, if it is in this process: watch it, back it up, ask who leads.
    pub fn store(&self) -> Option<store::Handle> {
        self.store.clone()
    }

    /// Serves until `shutdown`, then stops in order; or returns why the server had to stop.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        let first = tokio::select! {
            () = shutdown.cancelled() => None,
            ended = self.parts.join_next() => ended,
        };
        self.stop.cancel();
        let mut result = match first {
            None => Ok(()),
            Some(Ok((part, Ok(())))) => Err(Error::Ended(part)),
            Some(Ok((_, failed))) => failed,
            Some(Err(_)) => Err(Error::Ended("a part that panicked")),
        };
        while let Some(ended) = self.parts.join_next().await {
            result = result.and(ended.map_or(Err(Error::Ended("a part that panicked")), |(_, ended)| ended));
        }
        result
    }

    /// Stops in order.
    pub async fn stop(self) -> Result<(), Error> {
        let now = CancellationToken::new();
        now.cancel();
        self.run(now).await
    }
}

/// Creates what every cluster has; tries until it succeeds, for it can fail only while the store has no leader.
async fn bootstrap(registry: &Registry) {
    let mut said = false;
    while let Err(why) = registry::bootstrap::ensure(registry).await {
        if !said {
            info!(%why, "waiting for the store to have a leader");
            said = true;
        }
        tokio::time::sleep(BOOTSTRAP_RETRY).await;
    }
}

/// What a plugin of this process is given: an in-memory channel with an identity of its own.
fn context(options: &Options, api: &apiserver::Handle, name: &str, stop: &CancellationToken) -> Context {
    let caller = Caller { user: format!("system:{name}"), ..Caller::default() };
    let objects = Arc::new(Remote::from_channel(api.local_channel(caller)));
    Context::new(objects, &options.name, stop.clone())
}

/// Runs the scheduler while this server leads.
pub(crate) async fn lead_scheduler(options: election::Options, context: Context) {
    let (objects, stop) = (Arc::clone(&context.objects), context.shutdown.clone());
    let term = |fence, term| {
        let context = context.for_term(fence, term);
        async move { scheduler::Scheduling::default().run(context).await }
    };
    Elector::new(objects, options).run_while_leading(stop, term).await;
}

pub(crate) fn scheduler_election(identity: &str, leadership_s: u64) -> election::Options {
    let lease = Duration::from_secs(leadership_s);
    election::Options {
        lease,
        renew: lease * 2 / 3,
        retry: lease / 3,
        ..election::Options::new("kube-system", "kube-scheduler", identity)
    }
}

/// The server's certificate, in files so that it can be renewed while it is used.
struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
}

impl Certificate {
    fn paths(options: &Options) -> Self {
        let dir = options.data_dir.join("tls");
        Self { certificate: dir.join("server.crt"), key: dir.join("server.key") }
    }

    fn issue(options: &Options, pki: &Pki) -> Result<Self, Error> {
        let paths = Self::paths(options);
        let service = crate::local::plan::host(options.service_cidr, 1);
        let mut addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), options.advertise, IpAddr::V4(service)];
        if !options.listen.ip().is_unspecified() {
            addresses.push(options.listen.ip());
        }
        addresses.sort();
        addresses.dedup();
        let issued = pki.server(&options.name, &addresses, &options.domain)?;
        write_private(&paths.certificate, issued.certificate.as_bytes())?;
        write_private(&paths.key, issued.key.as_bytes())?;
        Ok(paths)
    }

    fn read(path: &Path) -> Result<String, Error> {
        let text = std::fs::read_to_string(path);
        Ok(text.map_err(|source| crate::local::Error::File { action: "read", path: path.into(), source })?)
    }
}

async fn renew(authority: PathBuf, options: Options, api: apiserver::Handle, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RENEWAL_CHECK) => {}
        }
        let renewed = || -> Result<bool, Error> {
            let current = Certificate::read(&Certificate::paths(&options).certificate)?;
            if !apiserver::pki::needs_renewal(&current, jiff::Timestamp::now()).map_err(pki::Error::from)? {
                return Ok(false);
            }
            Certificate::issue(&options, &Pki::open(&authority)?)?;
            api.reload_certificates()?;
            Ok(true)
        };
        match renewed() {
            Ok(true) => info!(server = options.name, "the server's certificate was renewed"),
            Ok(false) => {}
            Err(why) => warn!(error = %why, "the server's certificate could not be renewed"),
        }
    }
}

fn store_options(options: &Options, pki: &Pki) -> Result<store::Options, Error> {
    let data_dir = options.data_dir.join("store");
    let mut store = match options.peers.as_slice() {
        [] => store::Options { name: options.name.clone(), ..store::Options::single(data_dir) },
        peers => {
            let members: BTreeMap<_, _> =
                peers.iter().map(|peer| (peer.name.clone(), peer.url.clone())).collect();
            store::Options::member(&options.name, data_dir, members)
        }
    };
    if options.peers.is_empty() {
        store.members = BTreeMap::from([(options.name.clone(), store.peer_url.clone())]);
    }
    let listeners = options.listen_peer.iter().chain(&options.listen_etcd).map(SocketAddr::ip);
    let mut addresses: Vec<IpAddr> = listeners.filter(|ip| !ip.is_unspecified()).collect();
    addresses.extend([IpAddr::V4(Ipv4Addr::LOCALHOST), options.advertise]);
    addresses.sort();
    addresses.dedup();
    let issued = pki.store_member(&options.name, &addresses)?;
    let tls = store::Tls {
        cert_pem: issued.certificate,
        key_pem: issued.key,
        ca_pem: Some(pki.store_ca().to_owned()),
        ..store::Tls::default()
    };
    store.cluster_token = options.cluster_token.clone();
    store.listen_peer = options.listen_peer.into_iter().collect();
    store.listen_client = options.listen_etcd.into_iter().collect();
    store.client_urls = options.listen_etcd.iter().map(|address| format!("https://{address}")).collect();
    store.client_tls = Some(tls.clone());
    store.peer_tls = Some(tls);
    Ok(store)
}

fn remote_store(options: &Options, pki: &Pki) -> Result<RemoteKv, Error> {
    let client = pki.store_client("kontiki-apiserver")?;
    let tls = remote::Tls {
        ca_pem: pki.store_ca().to_owned(),
        identity_pem: Some((client.certificate, client.key)),
        server_name: None,
    };
    let options = remote::Options {
        endpoints: options.etcd_servers.clone(),
        tls: Some(tls),
        ..remote::Options::default()
    };
    RemoteKv::new(options).map_err(|why| Error::Options(format!("etcdServers: {why}")))
}

fn registry_options(options: &Options) -> registry::Options {
    registry::Options {
        service_cidrs: vec![IpNet::V4(options.service_cidr)],
        cluster_domain: options.domain.clone(),
        ..registry::Options::default()
    }
}

fn api_options(options: &Options, pki: &Pki, certificate: &Certificate) -> Result<apiserver::Options, Error> {
    let node_client = pki.client("kube-apiserver-kubelet-client", &["system:masters"])?;
    Ok(apiserver::Options {
        bind: options.listen,
        certificate: Pem::Path(certificate.certificate.clone()),
        key: Pem::Path(certificate.key.clone()),
        client_ca: Pem::Inline(pki.ca().to_owned()),
        service_account_keys: vec![pki.signing_key()],
        service_account_issuer: format!("https://kubernetes.default.svc.{}", options.domain),
        node_client: Some(apiserver::ClientCertificate {
            certificate: Pem::Inline(node_client.certificate),
            key: Pem::Inline(node_client.key),
        }),
        ..apiserver::Options::default()
    })
}

pub(crate) fn controller_options(
    cluster: IpNet,
    node_grace_s: u64,
    leadership_s: u64,
    ca: String,
) -> controllers::Options {
    controllers::Options {
        cluster_cidr: cluster,
        node_grace_seconds: node_grace_s,
        root_ca: ca,
        lease_seconds: leadership_s,
        renew_seconds: leadership_s * 2 / 3,
        retry_seconds: leadership_s / 3,
        ..controllers::Options::default()
    }
}
