//! The ConfigMaps and Secrets that pods of this node refer to: each is watched while some pod holds it, and
//! no other is ever read.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Weak},
};

use api::objects::Objects;
use client::{Informer, Informers, informer::Selection};
use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, Secret};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{env, limits, pod::spec};

/// A kind that pods refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

/// One object, in the namespace of whoever refers to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

/// Everything a pod refers to.
pub fn of(pod: &Pod) -> BTreeSet<Reference> {
    let mut found = BTreeSet::new();
    let mut add = |kind: Kind, name: &str| {
        if !name.is_empty() {
            found.insert(Reference { kind, name: name.to_owned() });
        }
    };
    for (_, container) in spec::containers(pod) {
        of_container(container, &mut add);
    }
    let spec = spec::of(pod);
    for secret in spec.image_pull_secrets.iter().flatten() {
        add(Kind::Secret, &secret.name);
    }
    for volume in spec.volumes.iter().flatten() {
        if let Some(source) = &volume.config_map {
            add(Kind::ConfigMap, &source.name);
        }
        if let Some(name) = volume.secret.as_ref().and_then(|s| s.secret_name.as_deref()) {
            add(Kind::Secret, name);
        }
        for source in volume.projected.iter().flat_map(|p| p.sources.iter().flatten()) {
            if let Some(map) = &source.config_map {
                add(Kind::ConfigMap, &map.name);
            }
            if let Some(secret) = &source.secret {
                add(Kind::Secret, &secret.name);
            }
        }
    }
    found
}

fn of_container(container: &Container, add: &mut impl FnMut(Kind, &str)) {
    for source in container.env_from.iter().flatten() {
        if let Some(map) = &source.config_map_ref {
            add(Kind::ConfigMap, &map.name);
        }
        if let Some(secret) = &source.secret_ref {
            add(Kind::Secret, &secret.name);
        }
    }
    for source in container.env.iter().flatten().filter_map(|v| v.value_from.as_ref()) {
        if let Some(key) = &source.config_map_key_ref {
            add(Kind::ConfigMap, &key.name);
        }
        if let Some(key) = &source.secret_key_ref {
            add(Kind::Secret, &key.name);
        }
    }
}

/// The objects that are watched now. Cheap to clone.
#[derive(Clone)]
pub struct References {
    shared: Arc<Shared>,
}

struct Shared {
    objects: Arc<dyn Objects>,
    shutdown: CancellationToken,
    watched: Mutex<HashMap<(String, Reference), Weak<Watched>>>,
}

struct Watched {
    copy: Copy,
    listeners: Arc<Listeners>,
    _stop: DropGuard,
}

type Listeners = Mutex<Vec<Weak<Notify>>>;

enum Copy {
    ConfigMap(Informer<ConfigMap>),
    Secret(Informer<Secret>),
}

impl References {
    /// Watches over these verbs until shutdown.
    pub fn new(objects: Arc<dyn Objects>, shutdown: CancellationToken) -> Self {
        Self { shared: Arc::new(Shared { objects, shutdown, watched: Mutex::default() }) }
    }

    /// Watches what a pod refers to as long as the answer lives, and rings `changed` whenever it changes.
    pub fn hold(&self, pod: &Pod, changed: &Arc<Notify>) -> Hold {
        let namespace = spec::namespace(pod).to_owned();
        let mut watched = self.shared.watched.lock();
        watched.retain(|_, watched| watched.strong_count() > 0);
        let mut held = BTreeMap::new();
        for reference in of(pod) {
            let key = (namespace.clone(), reference.clone());
            let found = watched.get(&key).and_then(Weak::upgrade);
            let one = found.unwrap_or_else(|| {
                let one = Arc::new(self.shared.watch(&namespace, &reference));
                watched.insert(key, Arc::downgrade(&one));
                one
            });
            one.listeners.lock().push(Arc::downgrade(changed));
            held.insert(reference, one);
        }
        Hold { namespace, held }
    }

    /// How many objects are watched.
    pub fn len(&self) -> usize {
        self.shared.watched.lock().values().filter(|w| w.strong_count() > 0).count()
    }

    /// Whether nothing is watched.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Shared {
    fn watch(&self, namespace: &str, reference: &Reference) -> Watched {
        let stop = self.shutdown.child_token();
        let informers = Informers::new(Arc::clone(&self.objects), stop.clone());
        let fields = format!("metadata.name={}", reference.name);
        let selection = Selection { namespace: namespace.to_owned(), fields, ..Selection::default() };
        let listeners: Arc<Listeners> = Arc::default();
        let copy = match reference.kind {
            Kind::ConfigMap => {
                let informer = informers.select::<ConfigMap>(selection);
                let heard = Arc::clone(&listeners);
                informer.on_change(move |_| ring(&heard));
                Copy::ConfigMap(informer)
            }
            Kind::Secret => {
                let informer = informers.select::<Secret>(selection);
                let heard = Arc::clone(&listeners);
                informer.on_change(move |_| ring(&heard));
                Copy::Secret(informer)
            }
        };
        Watched { copy, listeners, _stop: stop.drop_guard() }
    }
}

fn ring(listeners: &Listeners) {
    listeners.lock().retain(|listener| match listener.upgrade() {
        Some(listener) => {
            listener.notify_one();
            true
        }
        None => false,
    });
}

/// What one pod refers to, kept up to date while it lives.
pub struct Hold {
    namespace: String,
    held: BTreeMap<Reference, Arc<Watched>>,
}

impl Hold {
    /// Waits until everything held is known, or says what is not.
    pub async fn synced(&self) -> Result<(), String> {
        let all = async {
            for watched in self.held.values() {
                match &watched.copy {
                    Copy::ConfigMap(informer) => informer.wait_synced().await,
                    Copy::Secret(informer) => informer.wait_synced().await,
                }
            }
        };
        let late = "failed to sync configmap or secret cache: timed out waiting for the condition";
        tokio::time::timeout(limits::REFERENCE_TIMEOUT, all).await.map_err(|_| late.to_owned())
    }

    fn get(&self, kind: Kind, name: &str) -> Result<&Watched, String> {
        let reference = Reference { kind, name: name.to_owned() };
        self.held
            .get(&reference)
            .map(Arc::as_ref)
            .ok_or_else(|| format!("{name:?} is not referred to by the pod"))
    }
}

impl env::Sources for Hold {
    fn config_map(&self, name: &str) -> Result<Option<Arc<ConfigMap>>, String> {
        match &self.get(Kind::ConfigMap, name)?.copy {
            Copy::ConfigMap(informer) => Ok(informer.find(&self.namespace, name)),
            Copy::Secret(_) => Ok(None),
        }
    }

    fn secret(&self, name: &str) -> Result<Option<Arc<Secret>>, String> {
        match &self.get(Kind::Secret, name)?.copy {
            Copy::Secret(informer) => Ok(informer.find(&self.namespace, name)),
            Copy::ConfigMap(_) => Ok(None),
        }
    }
}
