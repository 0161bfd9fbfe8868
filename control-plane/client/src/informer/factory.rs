//! Informers shared by everyone in a plugin: one per resource and selection.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    sync::Arc,
};

use api::{
    GroupVersionResource,
    objects::{Objects, Scope},
};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Cached, Informer, PartialObject, reflect::Reflector};
use crate::typed::{Object, resource_of};

/// Which part of a resource to follow; empty means all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selection {
    /// Namespace.
    pub namespace: String,
    /// Label selector.
    pub labels: String,
    /// Field selector.
    pub fields: String,
}

impl Selection {
    /// The objects whose fields match, such as `spec.nodeName=n1`.
    pub fn of_fields(fields: &str) -> Self {
        Self { fields: fields.to_owned(), ..Self::default() }
    }
}

/// Hands out informers and starts each on first use. Cheap to clone.
#[derive(Clone)]
pub struct Informers {
    shared: Arc<Factory>,
}

struct Factory {
    objects: Arc<dyn Objects>,
    shutdown: CancellationToken,
    tasks: TaskTracker,
    running: Mutex<HashMap<Followed, Running>>,
}

type Followed = (TypeId, GroupVersionResource, Selection);

struct Running {
    informer: Box<dyn Any + Send + Sync>,
    synced: watch::Receiver<bool>,
}

impl Informers {
    /// Over these verbs, until shutdown.
    pub fn new(objects: Arc<dyn Objects>, shutdown: CancellationToken) -> Self {
        let shared = Factory { objects, shutdown, tasks: TaskTracker::new(), running: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// All objects of a type.
    pub fn get<K: Object>(&self) -> Informer<K> {
        self.select(Selection::default())
    }

    /// Part of the objects of a type.
    pub fn select<K: Object>(&self, selection: Selection) -> Informer<K> {
        self.start(resource_of::<K>(), selection)
    }

    /// The metadata of all objects of a resource.
    pub fn partial(&self, resource: &GroupVersionResource) -> Informer<PartialObject> {
        self.custom(resource, Selection::default())
    }

    /// Part of a resource, decoded as the caller likes.
    pub fn custom<K: Cached>(&self, resource: &GroupVersionResource, selection: Selection) -> Informer<K> {
        self.start(resource.clone(), selection)
    }

    /// Waits until every informer handed out before this call has its first list.
    pub fn wait_synced(&self) -> impl Future<Output = ()> + Send + 'static {
        let synced: Vec<watch::Receiver<bool>> =
            self.shared.running.lock().values().map(|r| r.synced.clone()).collect();
        async move {
            for mut receiver in synced {
                // An informer that is gone has nothing left to wait for.
                let _ = receiver.wait_for(|synced| *synced).await;
            }
        }
    }

    /// Waits until the tasks have ended after shutdown.
    pub async fn stopped(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    fn start<K: Cached>(&self, resource: GroupVersionResource, selection: Selection) -> Informer<K> {
        let followed = (TypeId::of::<K>(), resource.clone(), selection.clone());
        let mut running = self.shared.running.lock();
        if let Some(known) = running.get(&followed) {
            return known.informer.downcast_ref::<Informer<K>>().expect("the key holds the type").clone();
        }
        let informer = Informer::<K>::empty();
        let scope = Scope { resource, namespace: selection.namespace.clone() };
        let objects = self.shared.objects.clone();
        let reflector = Reflector { objects, scope, selection, informer: informer.clone() };
        self.shared.tasks.spawn(reflector.run(self.shared.shutdown.clone()));
        let synced = informer.shared.synced.subscribe();
        running.insert(followed, Running { informer: Box::new(informer.clone()), synced });
        informer
    }
}
