//! A local copy of one resource, kept current by list and watch.
//!
//! Knows how to follow a resource and index it; must not know who listens. A watch that breaks resumes after
//! the last resource version seen; only an expired one lists again. Handlers run on the informer's task in
//! the order of the changes, after the store has them, and must not block: they put keys into queues.
//! Memory is one `Arc` per object, without managed fields.

mod factory;
mod reflect;
mod store;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Weak},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::sync::{Notify, watch};

pub use self::factory::{Informers, Selection};
use self::store::Store;
use crate::typed::Object;

/// Names an object of a known resource.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Empty for cluster-scoped resources.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ObjectKey {
    /// Names an object.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The name an object's metadata gives it.
    pub fn of(meta: &ObjectMeta) -> Self {
        Self::new(meta.namespace.as_deref().unwrap_or(""), meta.name.as_deref().unwrap_or(""))
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What an informer can hold: anything with metadata.
pub trait Cached: DeserializeOwned + Send + Sync + 'static {
    /// Its metadata.
    fn meta(&self) -> &ObjectMeta;
    /// Its metadata, to strip what is not needed.
    fn meta_mut(&mut self) -> &mut ObjectMeta;
}

impl<K: Object> Cached for K {
    fn meta(&self) -> &ObjectMeta {
        self.metadata()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.metadata_mut()
    }
}

/// Only the metadata, of any kind.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartialObject {
    /// Group and version; may be missing in list items.
    #[serde(default)]
    pub api_version: String,
    /// Kind; may be missing in list items.
    #[serde(default)]
    pub kind: String,
    /// The metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
}

impl Cached for PartialObject {
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// What happened to one object.
#[derive(Debug)]
pub struct Change<K> {
    /// Before; `None` if it is new.
    pub old: Option<Arc<K>>,
    /// After; `None` if it is gone.
    pub new: Option<Arc<K>>,
}

impl<K: Cached> Change<K> {
    /// The newest state known: after, or else before.
    pub fn object(&self) -> &Arc<K> {
        self.new.as_ref().or(self.old.as_ref()).expect("a change has a before or an after")
    }

    /// Which object.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::of(self.object().meta())
    }
}

type Handler<K> = Box<dyn Fn(&Change<K>) + Send + Sync>;

struct Listener<K> {
    handler: Handler<K>,
    /// Dead once its subscriber is dropped; `None` lives as long as the informer.
    alive: Option<Weak<Pending>>,
}

struct Shared<K> {
    store: RwLock<Store<K>>,
    listeners: Mutex<Vec<Listener<K>>>,
    synced: watch::Sender<bool>,
}

/// A local copy of one resource. Cheap to clone; clones share it.
pub struct Informer<K> {
    shared: Arc<Shared<K>>,
}

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<K: Cached> Informer<K> {
    fn empty() -> Self {
        let shared = Shared {
            store: RwLock::new(Store::default()),
            listeners: Mutex::new(Vec::new()),
            synced: watch::Sender::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    /// One object.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.shared.store.read().get(key)
    }

    /// One object.
    pub fn find(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.get(&ObjectKey::new(namespace, name))
    }

    /// All objects, by namespace and name.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.shared.store.read().all()
    }

    /// All objects of a namespace, by name.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.shared.store.read().in_namespace(namespace)
    }

    /// All objects that name this UID among their owners.
    pub fn owned_by(&self, uid: &str) -> Vec<Arc<K>> {
        self.shared.store.read().owned_by(uid)
    }

    /// Keeps an index under a name: `values` says which entries an object has in it. Idempotent.
    pub fn add_index(&self, index: &'static str, values: fn(&K) -> Vec<String>) {
        self.shared.store.write().add_index(index, values);
    }

    /// All objects with this value in the index; none if there is no such index.
    pub fn by_index(&self, index: &'static str, value: &str) -> Vec<Arc<K>> {
        self.shared.store.read().by_index(index, value)
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.shared.store.read().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everything up to this resource version is in the store.
    pub fn revision(&self) -> u64 {
        self.shared.store.read().revision()
    }

    /// Calls the handler for every object present (as new) and then for every change, in order, as long as the
    /// informer lives. The handler must not block, nor register handlers itself.
    pub fn on_change(&self, handler: impl Fn(&Change<K>) + Send + Sync + 'static) {
        self.listen(Listener { handler: Box::new(handler), alive: None });
    }

    /// The keys that change from now on, beginning with those present. Changes of one key that are not
    /// collected in time count once, so what waits is bounded by the number of objects.
    pub fn changes(&self) -> Changes {
        let pending = Arc::new(Pending::default());
        let weak = Arc::downgrade(&pending);
        let alive = Some(weak.clone());
        let handler = Box::new(move |change: &Change<K>| {
            if let Some(pending) = weak.upgrade() {
                pending.keys.lock().insert(change.key());
                pending.changed.notify_one();
            }
        });
        self.listen(Listener { handler, alive });
        Changes { pending }
    }

    /// Waits until the first list is in the store and its handlers have been called.
    pub async fn wait_synced(&self) {
        let mut synced = self.shared.synced.subscribe();
        // The sender lives in `self`, so this cannot fail.
        let _ = synced.wait_for(|synced| *synced).await;
    }

    fn listen(&self, listener: Listener<K>) {
        let mut listeners = self.shared.listeners.lock();
        for object in self.list() {
            (listener.handler)(&Change { old: None, new: Some(object) });
        }
        listeners.retain(|l| l.alive.as_ref().is_none_or(|a| a.strong_count() > 0));
        listeners.push(listener);
    }

    /// Changes the store and tells everyone. The listeners' lock orders changes and registrations.
    fn apply(&self, change: impl FnOnce(&mut Store<K>) -> Vec<Change<K>>) {
        let listeners = self.shared.listeners.lock();
        let changes = change(&mut self.shared.store.write());
        for change in &changes {
            for listener in listeners.iter() {
                (listener.handler)(change);
            }
        }
    }
}

#[derive(Default)]
struct Pending {
    keys: Mutex<BTreeSet<ObjectKey>>,
    changed: Notify,
}

/// The keys of one resource that changed. Dropping it ends the subscription.
pub struct Changes {
    pending: Arc<Pending>,
}

impl Changes {
    /// The next changed key. Cancel-safe.
    pub async fn next(&mut self) -> ObjectKey {
        loop {
            let changed = self.pending.changed.notified();
            if let Some(key) = self.pending.keys.lock().pop_first() {
                return key;
            }
            changed.await;
        }
    }

    /// All keys changed so far; at least one.
    pub async fn next_batch(&mut self) -> BTreeSet<ObjectKey> {
        let first = self.next().await;
        let mut keys = std::mem::take(&mut *self.pending.keys.lock());
        keys.insert(first);
        keys
    }
}
