//! Objects whose owners are gone, and owners that wait for what they own.
//!
//! Owns nothing; deletes dependents whose owners are all absent (by UID), removes references to absent owners
//! where others remain, and carries out foreground and orphan deletion through the finalizers
//! `foregroundDeletion` and `orphan`. An owner is absent only if the API says so, never because a cache does
//! not have it.

mod apply;
mod plan;

use std::{collections::BTreeMap, sync::Arc};

use api::GroupVersionResource;
use async_trait::async_trait;
use client::{
    Client, Error, Informer, Informers, ObjectKey, Queue,
    driver::{After, Reconcile},
    informer::{Change, PartialObject},
};
use parking_lot::RwLock;

use crate::{
    environment::Environment,
    kinds::{Kind, Kinds},
};

/// One object of any resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Item {
    resource: GroupVersionResource,
    key: ObjectKey,
}

/// Everything that is followed, by resource.
#[derive(Clone)]
struct Graph {
    informers: Informers,
    followed: Arc<RwLock<BTreeMap<GroupVersionResource, Informer<PartialObject>>>>,
}

struct Controller {
    client: Client,
    kinds: Kinds,
    graph: Graph,
}

pub(crate) fn start(env: &Environment) {
    let kinds = Kinds::new(&env.informers);
    let graph = Graph { informers: env.informers.clone(), followed: Arc::default() };
    let queue = Queue::default();
    for kind in Kinds::ownable() {
        graph.follow(&kind, &queue);
    }
    // Custom resources are followed as their definitions appear.
    kinds.definitions().on_change({
        let (graph, queue) = (graph.clone(), queue.clone());
        move |change| {
            if let Some(kind) = change.new.as_ref().and_then(|d| d.kind()) {
                graph.follow(&kind, &queue);
            }
        }
    });
    env.drive("garbagecollector", Controller { client: env.client.clone(), kinds, graph }, queue);
}

impl Graph {
    fn follow(&self, kind: &Kind, queue: &Queue<Item>) {
        let mut followed = self.followed.write();
        if followed.contains_key(&kind.resource) {
            return;
        }
        let informer = self.informers.partial(&kind.resource);
        followed.insert(kind.resource.clone(), informer.clone());
        drop(followed);
        let (graph, queue, resource) = (self.clone(), queue.clone(), kind.resource.clone());
        informer.on_change(move |change| graph.note(&resource, change, &queue));
    }

    /// Puts what a change concerns into the queue: the object itself if it has owners or ends, its dependents
    /// if it is gone or ends, and its owners that may wait for it.
    fn note(&self, resource: &GroupVersionResource, change: &Change<PartialObject>, queue: &Queue<Item>) {
        if let Some(new) = &change.new
            && plan::needs_attention(&new.metadata)
        {
            queue.add(Item { resource: resource.clone(), key: change.key() });
        }
        let meta = &change.object().metadata;
        let ends = meta.deletion_timestamp.is_some();
        if change.new.is_none() || ends {
            for dependent in self.dependents(meta.uid.as_deref().unwrap_or("")) {
                queue.add(dependent);
            }
        }
        if change.new.is_none() || change.old.is_some() && ends {
            for owner in plan::owners_that_may_wait(meta) {
                if let Some(item) = self.find_uid(owner) {
                    queue.add(item);
                }
            }
        }
    }

    fn get(&self, item: &Item) -> Option<Arc<PartialObject>> {
        self.followed.read().get(&item.resource)?.get(&item.key)
    }

    /// Everything that names this UID among its owners.
    fn dependents(&self, uid: &str) -> Vec<Item> {
        if uid.is_empty() {
            return Vec::new();
        }
        let followed = self.followed.read();
        let items = followed.iter().flat_map(|(resource, informer)| {
            let item =
                |o: Arc<PartialObject>| Item { resource: resource.clone(), key: ObjectKey::of(&o.metadata) };
            informer.owned_by(uid).into_iter().map(item)
        });
        items.collect()
    }

    /// The object a reference means, if it is in the cache under that UID.
    fn find_uid(&self, owner: plan::OwnerKey<'_>) -> Option<Item> {
        let followed = self.followed.read();
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        followed.iter().filter(|(resource, _)| resource.group == group).find_map(|(resource, informer)| {
            let places = [ObjectKey::new(owner.namespace, owner.name), ObjectKey::new("", owner.name)];
            let fits = |key: &ObjectKey| {
                informer.get(key).is_some_and(|o| o.metadata.uid.as_deref() == Some(owner.uid))
            };
            places.into_iter().find(fits).map(|key| Item { resource: resource.clone(), key })
        })
    }
}

#[async_trait]
impl Reconcile for Controller {
    type Key = Item;

    async fn reconcile(&self, item: &Item) -> Result<After, Error> {
        match self.graph.get(item) {
            Some(object) => self.apply(item, &object).await,
            None => Ok(After::Change),
        }
    }
}
