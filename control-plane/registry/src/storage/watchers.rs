//! The watchers of one resource and who of them must hear of a change.
//!
//! A watcher sits in the bucket of the narrowest thing it asked for, so a change of one pod wakes the watchers
//! of its node, its namespace and its name, and not those of the other thousand nodes.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::mpsc;

use super::{history::Change, selection::Selection};
use crate::{contract::Encoded, limits};

/// The field of pods that thousands of agents select by.
const NODE_NAME: &str = "spec.nodeName";

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Bucket {
    All,
    Namespace(String),
    Name(String),
    Node(String),
}

impl Bucket {
    fn of(selection: &Selection) -> Self {
        if let Some(name) = selection.required("metadata.name") {
            return Self::Name(name.to_owned());
        }
        if let Some(node) = selection.required(NODE_NAME) {
            return Self::Node(node.to_owned());
        }
        if selection.namespace.is_empty() { Self::All } else { Self::Namespace(selection.namespace.clone()) }
    }
}

fn node(object: &Encoded) -> Option<&str> {
    object.fields.iter().find(|(name, _)| *name == NODE_NAME).map(|(_, value)| value.as_str())
}

/// The queues of the watchers of one resource.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    buckets: HashMap<Bucket, Vec<mpsc::Sender<Arc<Change>>>>,
    count: usize,
}

impl Watchers {
    /// Adds a watcher; `None` when there are too many.
    pub(super) fn add(&mut self, selection: &Selection) -> Option<mpsc::Receiver<Arc<Change>>> {
        if self.count >= limits::WATCHERS_MAX {
            self.sweep();
        }
        if self.count >= limits::WATCHERS_MAX {
            return None;
        }
        let (sender, receiver) = mpsc::channel(limits::WATCHER_QUEUE_MAX);
        self.buckets.entry(Bucket::of(selection)).or_default().push(sender);
        self.count += 1;
        if self.count.is_power_of_two() {
            self.sweep();
        }
        Some(receiver)
    }

    /// Hands a change to everyone it may concern. A full queue cuts its watcher off: its sender is dropped.
    pub(super) fn tell(&mut self, change: &Arc<Change>) {
        if self.count == 0 {
            return;
        }
        let object = &change.object;
        self.tell_bucket(&Bucket::All, change);
        if !object.namespace.is_empty() {
            self.tell_bucket(&Bucket::Namespace(object.namespace.clone()), change);
        }
        self.tell_bucket(&Bucket::Name(object.name.clone()), change);
        let before = change.before.as_deref().and_then(node);
        let after = node(object);
        if let Some(node) = after {
            self.tell_bucket(&Bucket::Node(node.to_owned()), change);
        }
        if let Some(node) = before.filter(|before| after != Some(before)) {
            self.tell_bucket(&Bucket::Node(node.to_owned()), change);
        }
    }

    fn tell_bucket(&mut self, bucket: &Bucket, change: &Arc<Change>) {
        let Some(senders) = self.buckets.get_mut(bucket) else { return };
        let before = senders.len();
        senders.retain(|sender| sender.try_send(Arc::clone(change)).is_ok());
        self.count -= before - senders.len();
        if senders.is_empty() {
            self.buckets.remove(bucket);
        }
    }

    /// Forgets watchers that went away.
    fn sweep(&mut self) {
        for senders in self.buckets.values_mut() {
            senders.retain(|sender| !sender.is_closed());
        }
        self.buckets.retain(|_, senders| !senders.is_empty());
        self.count = self.buckets.values().map(Vec::len).sum();
    }

    /// Cuts everyone off: the past they rely on is gone.
    pub(super) fn cut_all(&mut self) {
        *self = Self::default();
    }
}
