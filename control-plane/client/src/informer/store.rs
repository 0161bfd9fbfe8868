//! The objects of one resource and the indexes over them. Pure: no clock, no I/O.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{Cached, Change, ObjectKey};

/// The built-in index over owners' UIDs.
const OWNER: &str = "owner";

struct Index<K> {
    values: fn(&K) -> Vec<String>,
    entries: HashMap<String, BTreeSet<ObjectKey>>,
}

pub(super) struct Store<K> {
    objects: BTreeMap<ObjectKey, Arc<K>>,
    indexes: BTreeMap<&'static str, Index<K>>,
    revision: u64,
}

impl<K: Cached> Default for Store<K> {
    fn default() -> Self {
        let mut store = Self { objects: BTreeMap::new(), indexes: BTreeMap::new(), revision: 0 };
        store.add_index(OWNER, |object| {
            object.meta().owner_references.iter().flatten().map(|owner| owner.uid.clone()).collect()
        });
        store
    }
}

impl<K: Cached> Store<K> {
    pub(super) fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.objects.get(key).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<K>> {
        self.objects.values().cloned().collect()
    }

    pub(super) fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let from = ObjectKey::new(namespace, "");
        self.objects
            .range(from..)
            .take_while(|(k, _)| k.namespace == namespace)
            .map(|(_, o)| o.clone())
            .collect()
    }

    pub(super) fn owned_by(&self, uid: &str) -> Vec<Arc<K>> {
        self.by_index(OWNER, uid)
    }

    pub(super) fn by_index(&self, index: &str, value: &str) -> Vec<Arc<K>> {
        let keys = self.indexes.get(index).and_then(|i| i.entries.get(value));
        keys.into_iter().flatten().filter_map(|key| self.get(key)).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn advance(&mut self, revision: u64) {
        self.revision = self.revision.max(revision);
    }

    pub(super) fn add_index(&mut self, name: &'static str, values: fn(&K) -> Vec<String>) {
        if self.indexes.contains_key(name) {
            return;
        }
        let mut index = Index { values, entries: HashMap::new() };
        for (key, object) in &self.objects {
            index.insert(key, object);
        }
        self.indexes.insert(name, index);
    }

    /// Takes the new state of one object. One that is not newer than what we have changes nothing.
    pub(super) fn put(&mut self, object: K) -> Option<Change<K>> {
        let revision = crate::refs::revision(object.meta());
        self.advance(revision);
        let key = ObjectKey::of(object.meta());
        let old = self.objects.get(&key).cloned();
        if let Some(old) = &old
            && old.meta().resource_version == object.meta().resource_version
            && old.meta().uid == object.meta().uid
        {
            return None;
        }
        if let Some(old) = &old {
            self.unindex(&key, old);
        }
        let new = Arc::new(object);
        for index in self.indexes.values_mut() {
            index.insert(&key, &new);
        }
        self.objects.insert(key, new.clone());
        Some(Change { old, new: Some(new) })
    }

    /// Forgets an object; `revision` is that of its deletion.
    pub(super) fn remove(&mut self, key: &ObjectKey, revision: u64) -> Option<Change<K>> {
        self.advance(revision);
        let old = self.objects.remove(key)?;
        self.unindex(key, &old);
        Some(Change { old: Some(old), new: None })
    }

    /// Takes a complete list: what is not in it is gone.
    pub(super) fn replace(&mut self, objects: Vec<K>, revision: u64) -> Vec<Change<K>> {
        let present: BTreeSet<ObjectKey> = objects.iter().map(|o| ObjectKey::of(o.meta())).collect();
        let gone: Vec<ObjectKey> = self.objects.keys().filter(|k| !present.contains(k)).cloned().collect();
        let mut changes: Vec<Change<K>> = gone.iter().filter_map(|key| self.remove(key, revision)).collect();
        changes.extend(objects.into_iter().filter_map(|object| self.put(object)));
        self.advance(revision);
        changes
    }

    fn unindex(&mut self, key: &ObjectKey, object: &K) {
        for index in self.indexes.values_mut() {
            index.remove(key, object);
        }
    }
}

impl<K> Index<K> {
    fn insert(&mut self, key: &ObjectKey, object: &K) {
        for value in (self.values)(object) {
            self.entries.entry(value).or_default().insert(key.clone());
        }
    }

    fn remove(&mut self, key: &ObjectKey, object: &K) {
        for value in (self.values)(object) {
            if let Some(keys) = self.entries.get_mut(&value) {
                keys.remove(key);
                if keys.is_empty() {
                    self.entries.remove(&value);
                }
            }
        }
    }
}
