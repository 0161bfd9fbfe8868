//! A node: CRI runtime, node agent, service proxy, cluster DNS and routes to the other nodes, in one process.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use client::{
    Informers,
    grpc::{ClientTls, Remote},
};
use ipnet::{IpNet, Ipv4Net};
use k8s_openapi::api::core::v1::Node;
use network::{
    pod::PodNetwork,
    proxy::{self, Proxy},
};
use node_agent::cri;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::local::plan;

/// Options of an [`Agent`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Options {
    /// Name of the node. No default.
    pub name: String,
    /// Address by which servers and other nodes reach this one.
    pub address: IpAddr,
    /// Port of the agent's HTTPS server.
    pub port: u16,
    /// Where the node keeps its state. No default.
    pub data_dir: PathBuf,
    /// Tells this agent from others on the machine; the node's name when empty. Names of the bridge, the cgroup and the
    /// nftables tables carry it.
    pub instance: String,
    /// Addresses of the API servers, `https://host:port`. No default.
    pub servers: Vec<String>,
    /// Certificate of the cluster's authority.
    pub ca: PathBuf,
    /// This node's certificate as a client.
    pub client_certificate: PathBuf,
    /// Its key.
    pub client_key: PathBuf,
    /// This node's certificate as a server.
    pub server_certificate: PathBuf,
    /// Its key.
    pub server_key: PathBuf,
    /// Network namespace the process must be in. Entered by whoever starts the process, before any thread runs:
    /// a namespace belongs to a thread.
    pub network_namespace: Option<PathBuf>,
    /// Directories whose image archives are imported at start.
    pub image_dirs: Vec<PathBuf>,
    /// Socket of another CRI runtime; our own when not set.
    pub container_runtime_endpoint: Option<PathBuf>,
    /// Program and first arguments that become a pod's shim; this program's `shim` when empty.
    pub shim_command: Vec<String>,
    /// Addresses of pods.
    pub cluster_cidr: Ipv4Net,
    /// Addresses of Services.
    pub service_cidr: Ipv4Net,
    /// DNS suffix of the cluster.
    pub domain: String,
    /// Pods the node takes.
    pub pods_max: u32,
}

impl Default for Options {
    fn default() -> Self {
        let defaults = crate::control_plane::Options::default();
        Self {
            name: String::new(),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 10250,
            data_dir: PathBuf::new(),
            instance: String::new(),
            servers: Vec::new(),
            ca: PathBuf::new(),
            client_certificate: PathBuf::new(),
            client_key: PathBuf::new(),
            server_certificate: PathBuf::new(),
            server_key: PathBuf::new(),
            network_namespace: None,
            image_dirs: Vec::new(),
            container_runtime_endpoint: None,
            shim_command: Vec::new(),
            cluster_cidr: defaults.cluster_cidr,
            service_cidr: defaults.service_cidr,
            domain: defaults.domain,
            pods_max: 110,
        }
    }
}

impl Options {
    fn instance(&self) -> &str {
        if self.instance.is_empty() { &self.name } else { &self.instance }
    }

    /// Refuses what cannot be meant.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse = |why: &str| Err(Error::Options(why.to_owned()));
        if self.name.is_empty() {
            return refuse("the node needs a name");
        }
        if !self.data_dir.is_absolute() {
            return refuse("the data directory must be an absolute path");
        }
        if self.servers.is_empty() {
            return refuse("the node must know at least one server");
        }
        Ok(())
    }

    fn tls(&self) -> Result<ClientTls, Error> {
        let read =
            |path: &Path| std::fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source });
        Ok(ClientTls {
            ca: read(&self.ca)?,
            cert: read(&self.client_certificate)?,
            key: read(&self.client_key)?,
        })
    }

    fn runtime(&self) -> Result<runtime::Options, Error> {
        let shim = if self.shim_command.is_empty() {
            let program = std::env::current_exe()
                .map_err(|source| Error::File { path: "/proc/self/exe".into(), source })?;
            vec![program.display().to_string(), "shim".to_owned()]
        } else {
            self.shim_command.clone()
        };
        let mut options = runtime::Options::in_dir(&self.data_dir, self.instance(), shim);
        options.image_dirs.extend(self.image_dirs.iter().cloned());
        options.network.no_masquerade = vec![IpNet::V4(self.cluster_cidr), IpNet::V4(self.service_cidr)];
        Ok(options)
    }

    fn proxy(&self) -> proxy::Options {
        proxy::Options {
            table: format!("kontiki-services-{}", self.instance()),
            node_name: self.name.clone(),
            service_cidr: self.service_cidr,
            cluster_cidr: self.cluster_cidr,
        }
    }

    fn node_agent(&self, socket: PathBuf) -> node_agent::Options {
        node_agent::Options {
            node_name: self.name.clone(),
            node_ip: self.address,
            root_dir: self.data_dir.join("agent"),
            runtime_endpoint: socket,
            cluster_dns: vec![IpAddr::V4(plan::dns_address(self.service_cidr))],
            cluster_domain: self.domain.clone(),
            pods_max: self.pods_max,
            server_addr: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), self.port),
            server_tls: Some(node_agent::ServerTls {
                certificate: self.server_certificate.clone(),
                key: self.server_key.clone(),
                client_ca: self.ca.clone(),
            }),
            cgroup_root: format!("/kontiki-{}/pods", self.instance()),
            ..node_agent::Options::default()
        }
    }
}

/// Why a node could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Options that cannot be meant.
    #[error("{0}")]
    Options(String),
    /// A certificate or key could not be read.
    #[error("cannot read {path}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The servers' addresses or our certificates cannot be used.
    #[error("cannot connect to the servers")]
    Connect(#[from] client::grpc::ConnectError),
    /// The container runtime.
    #[error("the container runtime failed")]
    Runtime(#[from] runtime::Error),
    /// The runtime's socket.
    #[error("cannot reach the container runtime: {0}")]
    Cri(String),
    /// The node agent.
    #[error("the node agent failed")]
    NodeAgent(#[from] node_agent::Error),
    /// Cluster DNS.
    #[error("cluster DNS failed")]
    Dns(#[from] dns::Error),
    /// The node's addresses.
    #[error("the node's addresses cannot be set")]
    Address(#[from] network::address::Error),
    /// The pod network.
    #[error("the pod network failed: {0}")]
    Network(String),
    /// A part ended although nobody asked it to.
    #[error("{0} ended unexpectedly")]
    Ended(&'static str),
}

/// A running node.
pub struct Agent {
    parts: JoinSet<(&'static str, Result<(), Error>)>,
    stop: CancellationToken,
    handle: node_agent::agent::Handle,
}

/// Longest the resolver configuration may be, in bytes; the resolver of libc reads no more either.
const RESOLV_CONF_BYTES_MAX: usize = 64 * 1024;

impl Agent {
    /// Starts the node. Pods that run already, of an earlier agent, are taken over as they are (invariant N1).
    pub async fn start(options: Options) -> Result<Self, Error> {
        crate::install_crypto();
        options.validate()?;
        let objects: Arc<Remote> = Arc::new(Remote::connect(&options.servers, &options.tls()?)?);
        let stop = CancellationToken::new();
        let mut parts = JoinSet::new();

        let (socket, pod_network) = match &options.container_runtime_endpoint {
            Some(socket) => (socket.clone(), None),
            None => {
                let (of, ending) = (options.runtime()?, stop.clone());
                let socket = of.socket.clone();
                let server = runtime::Server::start(of).await?;
                let network = server.pod_network();
                let (images, dirs, watching) = (server.images(), options.image_dirs.clone(), stop.clone());
                parts.spawn(async move {
                    follow_images(images, dirs, watching).await;
                    ("image import", Ok(()))
                });
                parts.spawn(async move {
                    ("the container runtime", server.serve(ending).await.map_err(Error::from))
                });
                (socket, Some(network))
            }
        };

        let informers = Informers::new(objects.clone(), stop.clone());
        let dns_address = plan::dns_address(options.service_cidr);
        network::address::add(dns_address).await?;
        let dns = dns::Server::bind(dns_options(&options, dns_address), &informers).await?;
        let ending = stop.clone();
        parts.spawn(async move {
            dns.run(ending).await;
            ("cluster DNS", Ok(()))
        });
        let (proxy, of, ending) = (Proxy::new(options.proxy()), informers.clone(), stop.clone());
        parts.spawn(async move {
            proxy.run(of, ending).await;
            ("the service proxy", Ok(()))
        });
        if let Some(network) = pod_network {
            let (name, of, ending) = (options.name.clone(), informers.clone(), stop.clone());
            parts.spawn(async move {
                routes(&name, &network, &of, ending).await;
                ("routes", Ok(()))
            });
        }

        let runtime = cri::Remote::new(&socket).map_err(|why| Error::Cri(why.to_string()))?;
        let agent = node_agent::Agent::new(options.node_agent(socket), objects, Arc::new(runtime))?;
        let (handle, ending) = (agent.handle(), stop.clone());
        parts.spawn(async move { ("the node agent", agent.run(ending).await.map_err(Error::from)) });
        info!(node = options.name, address = %options.address, "node started");
        Ok(Self { parts, stop, handle })
    }

    /// Waits until the node has reported that it is ready.
    pub async fn ready(&mut self) {
        self.handle.ready().await;
    }

    /// Works until `shutdown`, then stops; pods go on. Or returns why the node had to stop.
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
}

fn dns_options(options: &Options, address: Ipv4Addr) -> dns::Options {
    let mut resolv_conf = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    resolv_conf.truncate(RESOLV_CONF_BYTES_MAX);
    dns::Options {
        listen: vec![SocketAddr::new(address.into(), 53)],
        domain: options.domain.clone(),
        resolv_conf,
    }
}

/// How often the image directories are looked at.
const IMAGES_POLL: Duration = Duration::from_secs(1);

/// Imports archives that appear or change in the image directories. Those there at the start were imported already.
async fn follow_images(store: Arc<runtime::image::Store>, dirs: Vec<PathBuf>, stop: CancellationToken) {
    let mut known = archives(&dirs);
    while stop.run_until_cancelled(tokio::time::sleep(IMAGES_POLL)).await.is_some() {
        let present = archives(&dirs);
        for (path, _) in present.iter().filter(|(path, stamp)| known.get(*path) != Some(stamp)) {
            let (store, file) = (Arc::clone(&store), path.clone());
            let import = move || runtime::image::archive::import(&store, &file, None);
            match tokio::task::spawn_blocking(import).await {
                Ok(Ok(images)) => info!(path = %path.display(), images = images.len(), "imported"),
                Ok(Err(why)) => {
                    warn!(path = %path.display(), error = %why, "an image archive cannot be imported")
                }
                Err(_) => warn!(path = %path.display(), "importing an image archive was cut off"),
            }
        }
        known = present;
    }
}

/// Archives with what tells one state of a file from another. A file that was just written is left for the next look:
/// it may still be growing.
fn archives(dirs: &[PathBuf]) -> std::collections::BTreeMap<PathBuf, (std::time::SystemTime, u64)> {
    let entries = dirs.iter().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten();
    entries
        .filter_map(|entry| {
            let path = entry.path();
            let name = path.file_name()?.to_str()?;
            let archive = [".tar", ".tar.gz", ".tgz"].iter().any(|suffix| name.ends_with(suffix));
            let meta = entry.metadata().ok()?;
            let settled = meta.modified().ok()?.elapsed().is_ok_and(|age| age >= IMAGES_POLL);
            (archive && settled).then_some((path, (meta.modified().ok()?, meta.len())))
        })
        .collect()
}

/// First wait after routes could not be set; doubles up to [`ROUTE_RETRY_MAX`].
const ROUTE_RETRY_MIN: Duration = Duration::from_millis(200);
/// Longest such wait.
const ROUTE_RETRY_MAX: Duration = Duration::from_secs(30);

/// Keeps routes to the pods of the other nodes.
async fn routes(own: &str, network: &PodNetwork, informers: &Informers, stop: CancellationToken) {
    let nodes = informers.get::<Node>();
    let mut changes = nodes.changes();
    if stop.run_until_cancelled(nodes.wait_synced()).await.is_none() {
        return;
    }
    let mut applied = None;
    let mut retry = ROUTE_RETRY_MIN;
    loop {
        let mut wanted: Vec<(IpNet, IpAddr)> = nodes
            .list()
            .iter()
            .filter(|node| node.metadata.name.as_deref() != Some(own))
            .flat_map(|n| peer(n))
            .collect();
        wanted.sort();
        let mut failed = false;
        if applied.as_ref() != Some(&wanted) {
            match network.set_peers(wanted.clone()).await {
                Ok(()) => applied = Some(wanted),
                Err(why) => {
                    warn!(error = %why, "routes to other nodes could not be set");
                    failed = true;
                }
            }
        }
        retry = if failed { (retry * 2).min(ROUTE_RETRY_MAX) } else { ROUTE_RETRY_MIN };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(retry), if failed => {}
            _ = changes.next_batch() => {}
        }
    }
}

/// Pod ranges of a node with the address they are reached by.
fn peer(node: &Node) -> Vec<(IpNet, IpAddr)> {
    let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let mut internal =
        addresses.filter(|address| address.type_ == "InternalIP").filter_map(|a| a.address.parse().ok());
    let Some(via) = internal.next() else { return Vec::new() };
    let spec = node.spec.as_ref();
    let ranges =
        spec.and_then(|spec| spec.pod_cidrs.clone().or_else(|| spec.pod_cidr.clone().map(|one| vec![one])));
    ranges.into_iter().flatten().filter_map(|range| Some((range.parse().ok()?, via))).collect()
}

/// Removes everything a stopped agent left in the kernel: containers, mounts, cgroups, interfaces, rules.
pub async fn clean_up(options: Options) -> Result<(), Error> {
    options.validate()?;
    if options.container_runtime_endpoint.is_none() {
        let mut of = options.runtime()?;
        of.image_dirs.clear();
        let server = runtime::Server::start(of.clone()).await?;
        let network = server.pod_network();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server.serve(stop.clone()));
        let removed = remove_sandboxes(&of.socket).await;
        stop.cancel();
        serving.await.map_err(|_| Error::Ended("the container runtime"))??;
        removed?;
        network.remove().await.map_err(|why| Error::Network(why.to_string()))?;
        runtime::remove::leftovers(&options.data_dir, &of.cgroup_parent)?;
    }
    Proxy::new(options.proxy()).remove().await.map_err(|why| Error::Network(why.to_string()))?;
    network::address::remove(plan::dns_address(options.service_cidr)).await?;
    Ok(())
}

async fn remove_sandboxes(socket: &Path) -> Result<(), Error> {
    use cri::Runtime as _;
    let failed = |why: cri::Error| Error::Cri(why.to_string());
    let runtime = cri::Remote::new(socket).map_err(failed)?;
    for sandbox in runtime.list_sandboxes(cri::Selector::new()).await.map_err(failed)? {
        runtime.stop_sandbox(&sandbox.id).await.map_err(failed)?;
        runtime.remove_sandbox(&sandbox.id).await.map_err(failed)?;
    }
    Ok(())
}
