//! What every plugin is given, and what it must be able to do.

use std::sync::Arc;

use api::objects::{Fence, Objects};
use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::{Client, Informers};

/// A consumer of the API that runs until it is told to stop.
#[async_trait]
pub trait Plugin: Send + 'static {
    /// Its name in logs, leases and field managers.
    fn name(&self) -> &'static str;

    /// Runs until `context.shutdown` ends. Must be safe to drop at any await.
    async fn run(self, context: Context);
}

/// What a plugin is given. It cannot tell where it runs.
#[derive(Clone)]
pub struct Context {
    /// The verbs.
    pub objects: Arc<dyn Objects>,
    /// Shared local copies.
    pub informers: Informers,
    /// Ends when the plugin must stop.
    pub shutdown: CancellationToken,
    /// Proof of leadership to write under, for plugins that run once per cluster.
    pub fence: Option<Fence>,
    /// Who this process is: unique and stable while it runs, such as the host name.
    pub identity: String,
}

impl Context {
    /// With informers of its own and no leadership.
    pub fn new(objects: Arc<dyn Objects>, identity: &str, shutdown: CancellationToken) -> Self {
        let informers = Informers::new(objects.clone(), shutdown.clone());
        Self { objects, informers, shutdown, fence: None, identity: identity.to_owned() }
    }

    /// The same for one term of leadership: fenced, with informers that end with the term.
    pub fn for_term(&self, fence: Fence, term: CancellationToken) -> Self {
        let informers = Informers::new(self.objects.clone(), term.clone());
        Self {
            objects: self.objects.clone(),
            informers,
            shutdown: term,
            fence: Some(fence),
            identity: self.identity.clone(),
        }
    }

    /// Typed access under this context's fence.
    pub fn client(&self, manager: &str) -> Client {
        Client::new(self.objects.clone()).fenced(self.fence.clone()).managed_by(manager)
    }
}
