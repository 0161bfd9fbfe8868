//! Runs all controllers while elected.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use client::{
    Context, Plugin,
    election::{self, Elector},
};
use tokio_util::task::TaskTracker;

use crate::{Options, OptionsError, environment::Environment};

/// Name of the Lease and of the field manager, as upstream's.
const NAME: &str = "kube-controller-manager";

/// All controllers. Runs in every server; works in one.
pub struct Controllers {
    options: Arc<Options>,
}

impl Controllers {
    /// With these settings.
    pub fn new(options: Options) -> Result<Self, OptionsError> {
        options.validate()?;
        Ok(Self { options: Arc::new(options) })
    }

    fn election(&self, identity: &str) -> election::Options {
        election::Options {
            lease: Duration::from_secs(self.options.lease_seconds),
            renew: Duration::from_secs(self.options.renew_seconds),
            retry: Duration::from_secs(self.options.retry_seconds),
            ..election::Options::new(&self.options.lease_namespace, NAME, identity)
        }
    }
}

#[async_trait]
impl Plugin for Controllers {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn run(self, context: Context) {
        let elector = Elector::new(context.objects.clone(), self.election(&context.identity));
        let (options, shutdown) = (self.options.clone(), context.shutdown.clone());
        let lead = move |fence, term| lead(options.clone(), context.for_term(fence, term));
        elector.run_while_leading(shutdown, lead).await;
    }
}

/// One term of leadership: starts everything, waits for its end, and then for everything to stop.
pub(crate) async fn lead(options: Arc<Options>, context: Context) {
    let tasks = TaskTracker::new();
    let env = Environment {
        client: context.client(NAME),
        informers: context.informers.clone(),
        options,
        shutdown: context.shutdown.clone(),
        tasks: tasks.clone(),
    };
    start(&env);
    context.shutdown.cancelled().await;
    tasks.close();
    tasks.wait().await;
    context.informers.stopped().await;
}

fn start(env: &Environment) {
    crate::deployment::start(env);
    crate::replicaset::start(env);
    crate::endpoints::start(env);
    crate::namespace::start(env);
    crate::serviceaccount::start(env);
    crate::nodelifecycle::start(env);
    crate::nodeipam::start(env);
    crate::podgc::start(env);
    crate::daemonset::start(env);
    crate::statefulset::start(env);
    crate::job::start(env);
    crate::cronjob::start(env);
    crate::disruption::start(env);
    // Last, because nobody else should wait for the many resources it follows.
    crate::garbagecollector::start(env);
}
