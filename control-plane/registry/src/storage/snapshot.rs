//! One moment of the watch cache of a resource.

use std::{ops::Bound, sync::Arc};

use imbl::OrdMap;

use crate::contract::Encoded;

/// Objects by `namespace/name`, or by name where there are no namespaces; the order of the store's keys.
pub(super) type Objects = OrdMap<Arc<str>, Arc<Encoded>>;

/// A consistent moment of the watch cache of one resource. Cheap to take, and to keep for a short while.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(super) revision: i64,
    pub(super) objects: Objects,
}

impl Snapshot {
    /// The store's revision of this moment.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// One object; `namespace` is empty for resources without namespaces.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Encoded>> {
        self.objects.get(key(namespace, name).as_str())
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Every object, by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Encoded>> {
        self.objects.values()
    }

    /// The objects of one namespace, by name.
    pub fn in_namespace<'a>(&'a self, namespace: &str) -> impl Iterator<Item = &'a Arc<Encoded>> + use<'a> {
        self.after(namespace, "").map(|(_, object)| object)
    }

    /// The objects of one namespace (or of all, when empty) whose key is not below `start`.
    pub(crate) fn after<'a>(
        &'a self,
        namespace: &str,
        start: &str,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Arc<Encoded>)> + use<'a> {
        let (mut from, to) = if namespace.is_empty() {
            (String::new(), None)
        } else {
            (format!("{namespace}/"), Some(format!("{namespace}0")))
        };
        if from.as_str() < start {
            from = start.to_owned();
        }
        let empty = to.as_ref().is_some_and(|to| from >= *to);
        let upper = match &to {
            Some(to) => Bound::Excluded(to.as_str()),
            None => Bound::Unbounded,
        };
        let bounds = (Bound::Included(from.as_str()), upper);
        let bounds = if empty { (Bound::Excluded("\u{10ffff}"), Bound::Unbounded) } else { bounds };
        self.objects.range::<_, str>(bounds)
    }
}

/// The key of an object within its resource.
pub(crate) fn key(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}
