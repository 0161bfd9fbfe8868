//! The agent as a whole: options in, a running node out.

use std::{fs, sync::Arc};

use api::objects::Objects;
use client::{Informers, events::Recorder, informer::Selection};
use k8s_openapi::api::core::v1::{Pod, Service};
use parking_lot::RwLock;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    Error, Options, cri, gc, limits,
    node::{lease, register::Registrar},
    pod::{report, status, supervisor::Supervisor},
    references::References,
    server::Server,
    shared::Shared,
    sys::{Clock, Facts, Kernel, Linux},
};

/// A node agent, ready to run.
pub struct Agent {
    options: Options,
    objects: Arc<dyn Objects>,
    runtime: Arc<dyn cri::Runtime>,
    kernel: Arc<dyn Kernel>,
    clock: Clock,
    server: Option<Server>,
    ready: watch::Sender<bool>,
}

/// Looks at a running agent. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    ready: watch::Receiver<bool>,
    port: u16,
}

impl Handle {
    /// Waits until the node has reported that it is ready.
    pub async fn ready(&mut self) {
        // When the agent is gone there is nothing to wait for.
        let _ = self.ready.wait_for(|ready| *ready).await;
    }

    /// Whether the node has reported that it is ready.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Port of the agent's HTTPS server; 0 if it has none.
    pub fn server_port(&self) -> u16 {
        self.port
    }
}

impl Agent {
    /// An agent over the verbs of the API and a CRI runtime. Takes the server's port, so that the node can be
    /// registered with it.
    pub fn new(
        options: Options,
        objects: Arc<dyn Objects>,
        runtime: Arc<dyn cri::Runtime>,
    ) -> Result<Self, Error> {
        options.validate()?;
        for path in [options.pods_dir(), options.log_root()] {
            fs::create_dir_all(&path).map_err(|source| Error::CreateDir { path, source })?;
        }
        let server = match &options.server_tls {
            Some(tls) => Some(Server::bind(options.server_addr, tls)?),
            None => None,
        };
        let ready = watch::Sender::new(false);
        let (kernel, clock) = (Arc::new(Linux), Clock::System);
        Ok(Self { options, objects, runtime, kernel, clock, server, ready })
    }

    /// With another kernel and clock, for tests.
    pub fn on(mut self, kernel: Arc<dyn Kernel>, clock: Clock) -> Self {
        self.kernel = kernel;
        self.clock = clock;
        self
    }

    /// To look at it from outside.
    pub fn handle(&self) -> Handle {
        Handle { ready: self.ready.subscribe(), port: self.server.as_ref().map_or(0, Server::port) }
    }

    /// Runs until shutdown. No container is stopped by it (invariant N1).
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        // However this ends, the parts end with it.
        let shutdown = shutdown.child_token();
        let _stop = shutdown.clone().drop_guard();
        let (reader, client) = (Arc::clone(&self.objects), client::Client::new(Arc::clone(&self.objects)));
        let client = client.managed_by("kubelet");
        let informers = Informers::new(reader, shutdown.clone());
        let (recorder, writer) = Recorder::new(client.clone(), "kubelet", &self.options.node_name);
        let reporter = report::Handle::default();
        let pods = informers
            .select::<Pod>(Selection::of_fields(&format!("spec.nodeName={}", self.options.node_name)));
        let runtime_name = self.runtime.version().await.map(|v| v.runtime_name).unwrap_or_default();
        let shared = Arc::new(Shared {
            facts: Facts::read(&self.options.root_dir),
            references: References::new(self.objects, shutdown.clone()),
            services: informers.get::<Service>(),
            node: RwLock::new(status::Node {
                ips: vec![self.options.node_ip.to_string()],
                runtime: runtime_name,
            }),
            pulls: Semaphore::new(limits::PULLS_MAX),
            probes: Arc::new(Semaphore::new(limits::PROBES_AT_ONCE_MAX)),
            options: self.options,
            runtime: self.runtime,
            kernel: self.kernel,
            clock: self.clock,
            client: client.clone(),
            recorder,
            reporter: reporter.clone(),
        });
        let port = self.server.as_ref().map_or(0, Server::port);
        info!(node = shared.options.node_name, port, "the node agent begins");
        let mut parts: JoinSet<&'static str> = JoinSet::new();
        spawn(&mut parts, "events", writer.run(shutdown.clone()));
        spawn(&mut parts, "statuses", reporter.run(client, shutdown.clone()));
        spawn(&mut parts, "lease", lease::run(Arc::clone(&shared), shutdown.clone()));
        let registrar = Registrar::new(Arc::clone(&shared), port, self.ready);
        spawn(&mut parts, "node", registrar.run(shutdown.clone()));
        let supervisor = Supervisor::new(Arc::clone(&shared), pods.clone());
        spawn(&mut parts, "pods", supervisor.run(shutdown.clone()));
        spawn(&mut parts, "images", gc::images::run(Arc::clone(&shared), shutdown.clone()));
        spawn(&mut parts, "logs", gc::logs::run(Arc::clone(&shared), shutdown.clone()));
        if let Some(server) = self.server {
            spawn(&mut parts, "server", server.run(Arc::clone(&shared), pods, shutdown.clone()));
        }
        let first = parts.join_next().await;
        if !shutdown.is_cancelled() {
            let part = first.and_then(Result::ok).unwrap_or("unknown");
            return Err(Error::TaskEnded(part));
        }
        while parts.join_next().await.is_some() {}
        Ok(())
    }
}

/// Every part runs as long as the agent and answers its name when it ends.
fn spawn(
    parts: &mut JoinSet<&'static str>,
    name: &'static str,
    part: impl Future<Output = ()> + Send + 'static,
) {
    parts.spawn(async move {
        part.await;
        name
    });
}
