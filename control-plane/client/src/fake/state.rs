//! The objects, their history, and reading them.

use std::collections::{BTreeMap, VecDeque};

use api::{
    GroupVersionResource, Status,
    objects::{Scope, Target, WatchEvent},
};
use serde_json::{Value, json};

use super::{encode, select::Selectors};
use crate::limits;

/// Resource, namespace, name.
pub(super) type Key = (GroupVersionResource, String, String);

#[derive(Default)]
pub(super) struct State {
    pub(super) objects: BTreeMap<Key, Value>,
    pub(super) revision: u64,
    /// Watches of an earlier epoch are over.
    pub(super) epoch: u64,
    pub(super) failing: Option<(u32, Status)>,
    history: VecDeque<Change>,
    /// The newest revision that is no longer in the history.
    compacted: u64,
}

/// One write, as watches see it.
pub(super) struct Change {
    revision: u64,
    pub(super) key: Key,
    old: Option<Value>,
    new: Option<Value>,
}

impl Change {
    /// What a watch with these selectors is told.
    pub(super) fn event(&self, selectors: &Selectors) -> Option<WatchEvent> {
        let old = self.old.as_ref().filter(|o| selectors.select(o));
        let new = self.new.as_ref().filter(|o| selectors.select(o));
        match (old, new) {
            (None, None) => None,
            (None, Some(new)) => Some(WatchEvent::Added(encode(new))),
            (Some(_), Some(new)) => Some(WatchEvent::Modified(encode(new))),
            (Some(old), None) => {
                let mut last = old.clone();
                last["metadata"]["resourceVersion"] = json!(self.revision.to_string());
                Some(WatchEvent::Deleted(encode(&last)))
            }
        }
    }
}

impl State {
    pub(super) fn get(&self, target: &Target) -> Result<&Value, Status> {
        let resource = target.scope.resource.group_resource();
        self.objects.get(&key(target)).ok_or_else(|| Status::not_found(&resource, &target.name))
    }

    pub(super) fn list<'a>(&'a self, scope: &'a Scope) -> impl Iterator<Item = &'a Value> {
        self.objects.iter().filter(|(key, _)| in_scope(key, scope)).map(|(_, object)| object)
    }

    /// Refuses positions whose following changes are forgotten.
    pub(super) fn check_position(&self, position: u64) -> Result<(), Status> {
        if position < self.compacted {
            return Err(Status::expired(format!(
                "too old resource version: {position} ({})",
                self.compacted
            )));
        }
        Ok(())
    }

    pub(super) fn changes_after(&self, position: u64) -> impl Iterator<Item = &Change> {
        let start = self.history.partition_point(|c| c.revision <= position);
        self.history.range(start..)
    }

    pub(super) fn compact(&mut self) {
        self.history.clear();
        self.compacted = self.revision;
    }

    /// Stores an object (or removes it) under the next revision, and remembers the change.
    pub(super) fn commit(&mut self, key: Key, new: Option<Value>) -> Result<Option<Value>, Status> {
        if new.is_some() && self.objects.len() >= limits::FAKE_OBJECTS_MAX {
            return Err(Status::too_many_requests("the fake holds too many objects", 1));
        }
        self.revision += 1;
        let new = new.map(|mut object| {
            object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
            object
        });
        let old = match &new {
            Some(object) => self.objects.insert(key.clone(), object.clone()),
            None => self.objects.remove(&key),
        };
        self.history.push_back(Change { revision: self.revision, key, old, new: new.clone() });
        if self.history.len() > limits::FAKE_HISTORY_MAX
            && let Some(forgotten) = self.history.pop_front()
        {
            self.compacted = forgotten.revision;
        }
        Ok(new)
    }
}

pub(super) fn key(target: &Target) -> Key {
    (target.scope.resource.clone(), target.scope.namespace.clone(), target.name.clone())
}

pub(super) fn in_scope(key: &Key, scope: &Scope) -> bool {
    key.0 == scope.resource && (scope.namespace.is_empty() || key.1 == scope.namespace)
}
