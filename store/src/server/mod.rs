//! One member of a store: what it is made of and how long it lives.

mod access;
mod agreement;
pub(crate) mod alarms;
mod backups;
mod bootstrap;
mod broken;
mod connection;
mod crowd;
mod damage;
mod duties;
mod error;
mod gathered;
mod handle;
mod keys;
mod listen;
mod options;
mod renewals;
mod seams;
mod space;
mod tokens;
mod transport;

use std::sync::Arc;

use raft::Work;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::engine::{Engine, rocks::RocksEngine};
use crate::limits::PROMOTIONS_WAITING_MAX;
use crate::machine::Machine;
use crate::service::{self, Ways};
pub(crate) use access::permissions;
pub(crate) use agreement::Verdict;
use bootstrap::Identity;
pub use error::Error;
use handle::Duties;
pub(crate) use handle::raft_error;
pub use handle::{Handle, ImagePiece};
/// How a cluster that starts from an image is founded.
pub(crate) mod found {
    pub(crate) use super::bootstrap::{lock_directory, record, restored};
}
use keys::Keys;
pub(crate) use keys::identity;
pub use keys::{Tls, TlsFiles};
pub use options::{ClusterState, Listeners, Options, TokenKind};
pub use seams::{Seams, Sizes};

/// A member that is up. Dropping it stops it at once, as a crash would; [`Server::run`] stops it in order.
pub struct Server {
    handle: Handle,
    peer_routes: Routes,
    client_routes: Routes,
    tasks: JoinSet<Result<(), Error>>,
    stop: CancellationToken,
    /// Held as long as the member lives: two processes on one directory would destroy it.
    _lock: std::fs::File,
}

impl Server {
    /// Opens the directory, joins the cluster it belongs to, and serves on the listeners the options ask for. The
    /// member works from now on; requests wait for a leader by themselves.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let listeners = Listeners::bind(&options)?;
        Self::start_on(options, listeners).await
    }

    /// Like [`start`](Self::start), on sockets that are bound already. Without any, the caller serves
    /// [`peer_routes`](Self::peer_routes) and [`client_routes`](Self::client_routes) itself.
    pub async fn start_on(options: Options, listeners: Listeners) -> Result<Self, Error> {
        Self::start_with(options, listeners, Seams::default()).await
    }

    /// Like [`start_on`](Self::start_on), on something else than this machine: for simulations.
    pub async fn start_with(options: Options, listeners: Listeners, seams: Seams) -> Result<Self, Error> {
        options.validate()?;
        let signer = options.auth_token.signer()?;
        let client_keys = options.client_tls.as_ref().map(Keys::new).transpose()?;
        let peer_keys = options.peer_tls.as_ref().map(Keys::new).transpose()?;
        let (work, clock) = (seams.raft.work, seams.clock.clone());
        let lock = bootstrap::lock_directory(&options.data_dir)?;
        damage::check(&options.data_dir)?;
        let state_dir = options.data_dir.join("state");
        let engine = match seams.engine.clone() {
            Some(engine) => engine,
            None => {
                Arc::new(blocking(work, move || RocksEngine::open_busy(&state_dir)).await?) as Arc<dyn Engine>
            }
        };
        let machine = Arc::new(Machine::open_on(engine, work)?);
        let identity = bootstrap::identity(&options, seams.raft.dial).await?;
        let dial = seams.raft.dial;
        let node =
            bootstrap::start_node(&options, &identity, machine.clone(), peer_keys.as_deref(), seams).await?;
        let raft = node.handle();
        let peer_service = node.service();

        let mut tasks = JoinSet::new();
        let stop = CancellationToken::new();
        let (renewals, renewal_queue) = renewals::channel();
        let (promotions, promotion_queue) = mpsc::channel(PROMOTIONS_WAITING_MAX);
        let duties = Duties { renewals, promotions };
        let handle = Handle::new(&options, &identity, raft, machine, duties, signer, clock);
        let node_stop = stop.clone();
        tasks.spawn(async move { node.run(node_stop).await.map_err(Error::from) });
        tasks.spawn(renewals::run(handle.clone(), renewal_queue, stop.clone()));
        duties::spawn(&mut tasks, &handle, &options, promotion_queue, dial, &stop);

        let peer_routes = Routes::new(peer_service)
            .add_service(service::cluster(&handle))
            .add_service(service::members(&handle));
        let client_routes = service::routes(&handle);
        for keys in [&client_keys, &peer_keys].into_iter().flatten() {
            duties::keep_keys(&mut tasks, keys.clone(), &stop);
        }
        let ways = (
            Ways::new(peer_routes.clone()),
            service::ways(&handle, client_routes.clone()),
            Ways::new(service::plain_routes(&handle)),
        );
        listen::spawn(&mut tasks, listeners, &options, ways, (peer_keys, client_keys), &stop)?;
        bootstrap::initialize(&handle, &options, &identity).await?;
        Ok(Self { handle, peer_routes, client_routes, tasks, stop, _lock: lock })
    }

    /// The way in.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// What the other members call; for a caller that serves it on its own listener.
    pub fn peer_routes(&self) -> Routes {
        self.peer_routes.clone()
    }

    /// The etcd v3 API; for a caller that serves it on its own listener.
    pub fn client_routes(&self) -> Routes {
        self.client_routes.clone()
    }

    /// Serves until `shutdown`, then stops in order; or returns why the member had to stop (invariant S7).
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        let first = tokio::select! {
            () = shutdown.cancelled() => None,
            ended = self.tasks.join_next() => ended,
        };
        self.stop.cancel();
        let mut result = first.map_or(Ok(()), joined);
        while let Some(ended) = self.tasks.join_next().await {
            result = result.and(joined(ended));
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

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn joined(ended: Result<Result<(), Error>, tokio::task::JoinError>) -> Result<(), Error> {
    ended.unwrap_or_else(|error| Err(Error::Task { detail: error.to_string() }))
}

/// Runs what waits for the disk where it does not hold up others.
async fn blocking<T, E>(work: Work, run: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, Error>
where
    T: Send + 'static,
    E: Send + 'static,
    Error: From<E>,
{
    match work.run(run).await {
        Ok(result) => Ok(result?),
        Err(error) => Err(Error::Task { detail: error.to_string() }),
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Identity { id, cluster_id } = self.handle.identity();
        f.debug_struct("Server").field("id", &id).field("cluster_id", &cluster_id).finish_non_exhaustive()
    }
}
