//! The CRI server.
//!
//! | module | what it does |
//! |---|---|
//! | [`record`] | what is on disk |
//! | [`sandbox`] | pods: namespaces, network, shim |
//! | [`container`] | containers: making, starting, stopping, removing |
//! | [`follow`] | listening to shims; adopting them after a restart |
//! | [`stats`] | usage of pods and containers |
//! | [`status`] | what CRI calls all of this |
//! | [`runtime_service`], [`image_service`] | the two gRPC services, thin |

mod container;
mod follow;
mod image_service;
mod record;
mod runtime_service;
mod sandbox;
mod stats;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use network::pod::PodNetwork;
use parking_lot::Mutex;
use proto::cri::ContainerEventResponse;
use proto::cri::image_service_server::ImageServiceServer;
use proto::cri::runtime_service_server::RuntimeServiceServer;
use tokio::sync::broadcast;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::{Error, Result};
use crate::image::{Store, archive};
use crate::limits::{EVENT_QUEUE_MAX, SHIM_MESSAGE_BYTES_MAX};
use crate::options::Options;
use crate::shim::client::Client;
use crate::spec::Available;
use crate::streaming::Streaming;
use crate::sys::cgroup::Layout;
use crate::sys::{files, sockets};
use container::Container;
use sandbox::Sandbox;

/// A CRI runtime that is ready to serve.
#[derive(Debug)]
pub struct Server {
    runtime: Arc<Runtime>,
    listener: std::os::unix::net::UnixListener,
}

/// Everything the services share.
#[derive(Debug)]
pub(crate) struct Runtime {
    options: Options,
    images: Arc<Store>,
    network: Arc<PodNetwork>,
    cgroups: Layout,
    available: Available,
    sandboxes: Mutex<BTreeMap<String, Arc<Sandbox>>>,
    containers: Mutex<BTreeMap<String, Arc<Container>>>,
    /// Names of sandboxes and containers that exist or are being made.
    names: Mutex<BTreeSet<String>>,
    events: broadcast::Sender<ContainerEventResponse>,
    streaming: Streaming,
    tasks: TaskTracker,
    /// Ends the tasks of this runtime, and nothing else.
    stopping: CancellationToken,
}

impl Server {
    /// Opens the state, adopts the shims of an earlier runtime, imports the image directories, binds the socket.
    pub async fn start(options: Options) -> Result<Self> {
        options.validate()?;
        for directory in [&options.root, &options.run_dir] {
            files::create_private_dir(directory)?;
        }
        if let Some(parent) = options.socket.parent() {
            files::create_private_dir(parent)?;
        }
        let images = Arc::new(Store::open(options.root.join("images"))?);
        let network = Arc::new(PodNetwork::new(options.network.clone())?);
        let streaming = Streaming::bind(options.streaming_address).await?;
        let runtime = Arc::new(Runtime {
            images,
            network,
            cgroups: Layout::detect()?,
            available: Available::of_this_process(),
            sandboxes: Mutex::default(),
            containers: Mutex::default(),
            names: Mutex::default(),
            events: broadcast::channel(EVENT_QUEUE_MAX).0,
            streaming,
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            options,
        });
        runtime.recover().await?;
        runtime.import_images().await?;
        let listener = sockets::bind(&runtime.options.socket)?;
        Ok(Self { runtime, listener })
    }

    /// Serves until told to stop. Pods go on without it.
    pub async fn serve(self, shutdown: CancellationToken) -> Result<()> {
        let Self { runtime, listener } = self;
        let listener =
            tokio::net::UnixListener::from_std(listener).map_err(Error::system("serving the CRI socket"))?;
        let streaming = runtime.clone().serve_streaming(shutdown.child_token());
        let service = runtime_service::Service { runtime: runtime.clone() };
        let served = tonic::transport::Server::builder()
            .add_service(RuntimeServiceServer::new(service).max_decoding_message_size(SHIM_MESSAGE_BYTES_MAX))
            .add_service(ImageServiceServer::new(image_service::Service { runtime: runtime.clone() }))
            .serve_with_incoming_shutdown(
                UnixListenerStream::new(listener),
                shutdown.clone().cancelled_owned(),
            );
        let (served, ()) = tokio::join!(
            async {
                let served = served.await;
                // If serving failed, streaming has no more use either.
                shutdown.cancel();
                served
            },
            streaming
        );
        runtime.stopping.cancel();
        runtime.tasks.close();
        runtime.tasks.wait().await;
        files::remove_all(&runtime.options.socket)?;
        served.map_err(|error| Error::State(format!("serving CRI: {}", crate::error::chain(&error))))
    }

    /// Removes every pod, the pod network and the cgroups: what stops a node for good. Images stay.
    pub async fn purge(self) -> Result<()> {
        let Self { runtime, listener } = self;
        drop(listener);
        let sandboxes: Vec<_> = runtime.sandboxes.lock().keys().cloned().collect();
        for id in sandboxes {
            runtime.remove_sandbox(&id).await?;
        }
        runtime.stopping.cancel();
        runtime.tasks.close();
        runtime.tasks.wait().await;
        runtime.network.remove().await?;
        files::remove_all(&runtime.options.socket)?;
        runtime.cgroups.remove(&runtime.options.cgroup_parent)
    }

    /// The images, for importing without going through CRI.
    pub fn images(&self) -> Arc<Store> {
        self.runtime.images.clone()
    }

    /// The pod network, for routes to other nodes, which CRI has no call for.
    pub fn pod_network(&self) -> Arc<PodNetwork> {
        self.runtime.network.clone()
    }

    /// Where exec, attach and port-forward are served.
    pub fn streaming_address(&self) -> std::net::SocketAddr {
        self.runtime.streaming.address()
    }
}

impl Runtime {
    async fn import_images(&self) -> Result<()> {
        let (images, directories) = (self.images.clone(), self.options.image_dirs.clone());
        let in_use = self.layers_in_use();
        let import = move || {
            for directory in &directories {
                for (path, outcome) in archive::import_dir(&images, directory) {
                    match outcome {
                        Ok(found) => tracing::info!(path = %path.display(), images = found.len(), "imported"),
                        Err(error) => {
                            tracing::error!(path = %path.display(), error = error.chain(), "importing images")
                        }
                    }
                }
            }
            images.sweep(&in_use)
        };
        blocking(import).await
    }

    pub(crate) fn streaming(&self) -> &Streaming {
        &self.streaming
    }

    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// The shim of a sandbox, for streams.
    pub(crate) fn shim_of_sandbox(&self, id: &str) -> Result<Client> {
        Ok(self.sandbox(id)?.shim.clone())
    }

    /// The shim of a container, for streams.
    pub(crate) fn shim_of_container(&self, id: &str) -> Result<Client> {
        self.shim_of_sandbox(&self.container(id)?.sandbox)
    }

    fn layers_in_use(&self) -> BTreeSet<String> {
        let containers = self.containers.lock();
        containers.values().flat_map(|container| container.record.layers.iter().cloned()).collect()
    }

    fn sandbox(&self, id: &str) -> Result<Arc<Sandbox>> {
        by_id(&self.sandboxes.lock(), id).ok_or_else(|| Error::NotFound { kind: "sandbox", id: id.into() })
    }

    fn container(&self, id: &str) -> Result<Arc<Container>> {
        by_id(&self.containers.lock(), id).ok_or_else(|| Error::NotFound { kind: "container", id: id.into() })
    }

    fn containers_of(&self, sandbox: &str) -> Vec<Arc<Container>> {
        self.containers.lock().values().filter(|container| container.sandbox == sandbox).cloned().collect()
    }

    fn sandbox_dir(&self, id: &str) -> PathBuf {
        self.options.root.join("sandboxes").join(id)
    }

    /// Takes a name that no other sandbox or container may have at the same time.
    fn reserve_name(self: &Arc<Self>, name: String) -> Result<NameGuard> {
        if self.names.lock().insert(name.clone()) {
            return Ok(NameGuard { runtime: self.clone(), name: Some(name) });
        }
        Err(Error::State(format!("name {name:?} is reserved: it exists or is being made")))
    }

    fn release_name(&self, name: &str) {
        self.names.lock().remove(name);
    }
}

/// Gives a reserved name back unless what it names came to be.
#[derive(Debug)]
struct NameGuard {
    runtime: Arc<Runtime>,
    name: Option<String>,
}

impl NameGuard {
    fn keep(mut self) {
        self.name = None;
    }
}

impl Drop for NameGuard {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            self.runtime.release_name(name);
        }
    }
}

/// Ids may be shortened as long as they are unique, as crictl does.
fn by_id<T: Clone>(all: &BTreeMap<String, T>, id: &str) -> Option<T> {
    if let Some(found) = all.get(id) {
        return Some(found.clone());
    }
    if id.is_empty() {
        return None;
    }
    let mut matches = all.range(id.to_string()..).take_while(|(key, _)| key.starts_with(id));
    matches.next().filter(|_| matches.next().is_none()).map(|(_, found)| found.clone())
}

/// Runs something that blocks off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::State("a blocking task panicked".into()))?
}

/// A fresh id: 64 hexadecimal digits, as other runtimes have.
fn new_id() -> String {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}

fn now_ns() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}
