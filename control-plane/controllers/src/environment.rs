//! What every controller is given.

use std::{sync::Arc, time::Duration};

use api::objects::PatchType;
use client::{
    Client, Informer, Informers, Object, ObjectKey, Queue,
    driver::{self, Reconcile},
    events::Recorder,
    informer::{Cached, Change},
};
use serde_json::Value;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::Options;

/// Client, informers and settings of one term of leadership. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Environment {
    pub(crate) client: Client,
    pub(crate) informers: Informers,
    pub(crate) options: Arc<Options>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Environment {
    /// Events reported under this component's name.
    pub(crate) fn recorder(&self, component: &str) -> Recorder {
        let (recorder, writer) = Recorder::new(self.client.clone(), component, "");
        self.tasks.spawn(writer.run(self.shutdown.clone()));
        recorder
    }

    /// Starts a controller once every informer asked for before this call is there.
    pub(crate) fn drive<R: Reconcile>(&self, name: &'static str, controller: R, queue: Queue<R::Key>) {
        let (synced, shutdown, workers) =
            (self.informers.wait_synced(), self.shutdown.clone(), self.options.workers);
        self.tasks.spawn(async move {
            if shutdown.run_until_cancelled(synced).await.is_some() {
                driver::run(name, Arc::new(controller), queue, workers, shutdown).await;
            }
        });
    }

    /// Calls something again and again until shutdown, once everything is there.
    pub(crate) fn every<F, Fut>(&self, period: Duration, mut call: F)
    where
        F: FnMut() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let (synced, shutdown) = (self.informers.wait_synced(), self.shutdown.clone());
        let work = async move {
            synced.await;
            loop {
                call().await;
                tokio::time::sleep(period).await;
            }
        };
        self.tasks.spawn(async move {
            shutdown.run_until_cancelled(work).await;
        });
    }
}

/// Puts the keys of changed objects into a queue.
pub(crate) fn enqueue_changes<K: Cached>(informer: &Informer<K>, queue: &Queue<ObjectKey>) {
    enqueue(informer, queue, |change| vec![change.key()]);
}

/// Puts the keys that a change concerns into a queue.
pub(crate) fn enqueue<K: Cached>(
    informer: &Informer<K>,
    queue: &Queue<ObjectKey>,
    keys: impl Fn(&Change<K>) -> Vec<ObjectKey> + Send + Sync + 'static,
) {
    let queue = queue.clone();
    informer.on_change(move |change| keys(change).into_iter().for_each(|key| queue.add(key)));
}

/// Keys of the controlling owners of one kind, before and after a change.
pub(crate) fn owners<K: Cached>(change: &Change<K>, kind: &str) -> Vec<ObjectKey> {
    let states = [change.old.as_ref(), change.new.as_ref()];
    let mut keys: Vec<ObjectKey> =
        states.iter().flatten().filter_map(|o| owner_key(o.meta(), kind)).collect();
    keys.dedup();
    keys
}

fn owner_key(
    meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    kind: &str,
) -> Option<ObjectKey> {
    let owner = client::refs::controller_of(meta).filter(|owner| owner.kind == kind)?;
    Some(ObjectKey::new(meta.namespace.as_deref().unwrap_or(""), &owner.name))
}

/// Merge patch of an object's own fields, refused if the object is not the one we saw.
pub(crate) async fn patch_seen<K: Object>(
    client: &Client,
    seen: &K,
    mut patch: Value,
) -> Result<K, client::Error> {
    let meta = seen.metadata();
    patch["metadata"]["uid"] = Value::from(meta.uid.clone());
    patch["metadata"]["resourceVersion"] = Value::from(meta.resource_version.clone());
    client.patch(client::refs::namespace(seen), client::refs::name(seen), "", PatchType::Merge, &patch).await
}
