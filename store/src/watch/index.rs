//! Which watchers a key concerns.
//!
//! Single keys and prefixes, which is nearly all there is, are found by hashing: one look-up for the key and one for
//! each length of prefix in use. Other ranges are compared one by one, as far as they begin before the key.
//!
//! There may be a hundred thousand watchers, so nothing is held twice: who watches is found by the key that the first of them holds.

#![expect(clippy::mutable_key_type, reason = "what a watcher watches never changes")]

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{Hash, Hasher};
use std::ops::Bound;
use std::sync::Arc;

use super::Watcher;
use super::keys::Shape;

#[derive(Debug, Default)]
pub(super) struct Index {
    keys: HashSet<Group>,
    prefixes: BTreeMap<usize, HashSet<Group>>,
    ranges: BTreeSet<Group>,
}

/// Who watches from the same key on, and with the same shape of range; most often one, which takes no allocation.
#[derive(Debug)]
enum Group {
    One(Arc<Watcher>),
    /// Never empty.
    #[expect(clippy::box_collection, reason = "a group is as small as a pointer and a tag")]
    Many(Box<Vec<Arc<Watcher>>>),
}

impl Group {
    fn watchers(&self) -> &[Arc<Watcher>] {
        match self {
            Self::One(watcher) => std::slice::from_ref(watcher),
            Self::Many(watchers) => watchers,
        }
    }

    fn start(&self) -> &[u8] {
        self.watchers().first().map_or(&[], |first| first.keys.start())
    }

    fn and(self, watcher: Arc<Watcher>) -> Self {
        match self {
            Self::One(first) => Self::Many(Box::new(vec![first, watcher])),
            Self::Many(mut watchers) => {
                watchers.push(watcher);
                Self::Many(watchers)
            }
        }
    }

    /// The others, if there are any.
    fn without(self, watcher: &Arc<Watcher>) -> Option<Self> {
        match self {
            Self::One(only) => (!Arc::ptr_eq(&only, watcher)).then_some(Self::One(only)),
            Self::Many(mut watchers) => {
                watchers.retain(|other| !Arc::ptr_eq(other, watcher));
                (!watchers.is_empty()).then_some(Self::Many(watchers))
            }
        }
    }
}

impl Borrow<[u8]> for Group {
    fn borrow(&self) -> &[u8] {
        self.start()
    }
}

impl Hash for Group {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.start().hash(state);
    }
}

impl PartialEq for Group {
    fn eq(&self, other: &Self) -> bool {
        self.start() == other.start()
    }
}

impl Eq for Group {}

impl Ord for Group {
    fn cmp(&self, other: &Self) -> Ordering {
        self.start().cmp(other.start())
    }
}

impl PartialOrd for Group {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Index {
    pub(super) fn insert(&mut self, watcher: Arc<Watcher>) {
        let start = watcher.keys.start();
        match watcher.keys.shape() {
            Shape::Key => insert(&mut self.keys, watcher),
            Shape::Prefix => insert(self.prefixes.entry(start.len()).or_default(), watcher),
            Shape::Interval | Shape::From => {
                let group = match self.ranges.take(start) {
                    None => Group::One(watcher),
                    Some(group) => group.and(watcher),
                };
                self.ranges.insert(group);
            }
        }
    }

    pub(super) fn remove(&mut self, watcher: &Arc<Watcher>) {
        let start = watcher.keys.start();
        match watcher.keys.shape() {
            Shape::Key => remove(&mut self.keys, watcher),
            Shape::Prefix => {
                if let Some(same_length) = self.prefixes.get_mut(&start.len()) {
                    remove(same_length, watcher);
                    if same_length.is_empty() {
                        self.prefixes.remove(&start.len());
                    }
                }
            }
            Shape::Interval | Shape::From => {
                if let Some(others) = self.ranges.take(start).and_then(|group| group.without(watcher)) {
                    self.ranges.insert(others);
                }
            }
        }
    }

    /// Tells those whom a change of `key` concerns, each once.
    pub(super) fn concerned<'a>(&'a self, key: &[u8], mut tell: impl FnMut(&'a Arc<Watcher>)) {
        self.keys.get(key).into_iter().flat_map(Group::watchers).for_each(&mut tell);
        for (length, same_length) in &self.prefixes {
            let Some(prefix) = key.get(..*length) else { break };
            same_length.get(prefix).into_iter().flat_map(Group::watchers).for_each(&mut tell);
        }
        let begun =
            self.ranges.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).flat_map(Group::watchers);
        begun.filter(|watcher| watcher.keys.contains(key)).for_each(&mut tell);
    }

    pub(super) fn for_each(&self, tell: impl FnMut(&Arc<Watcher>)) {
        let hashed = self.prefixes.values().chain([&self.keys]).flatten();
        hashed.chain(&self.ranges).flat_map(Group::watchers).for_each(tell);
    }
}

fn insert(groups: &mut HashSet<Group>, watcher: Arc<Watcher>) {
    let group = match groups.take(watcher.keys.start()) {
        None => Group::One(watcher),
        Some(group) => group.and(watcher),
    };
    groups.insert(group);
}

fn remove(groups: &mut HashSet<Group>, watcher: &Arc<Watcher>) {
    if let Some(others) = groups.take(watcher.keys.start()).and_then(|group| group.without(watcher)) {
        groups.insert(others);
    }
}

#[cfg(test)]
mod tests {
    use store_client::{KeyRange, Revision, Watch};

    use super::*;

    #[test]
    fn a_key_concerns_exactly_those_whose_range_holds_it() {
        let ranges = [
            KeyRange::Key("a/b".into()),
            KeyRange::prefix("a/"),
            KeyRange::prefix("a/b"),
            KeyRange::From("".into()),
            KeyRange::From("b".into()),
            KeyRange::Interval { start: "a/a".into(), end: "a/c".into() },
            KeyRange::prefix(vec![0xff]),
            // Watched by several.
            KeyRange::Key("a/b".into()),
            KeyRange::prefix("a/"),
            KeyRange::Key("a/b".into()),
            // From the same key on.
            KeyRange::Interval { start: "a/a".into(), end: "a/b".into() },
            KeyRange::From("a/a".into()),
        ];
        let watch = |keys| Watch { keys, start: Revision(0), prev_kv: false, progress: false };
        let watchers = ranges.map(|keys| Arc::new(Watcher::new(&watch(keys), 1)));
        let mut index = Index::default();
        let check = |index: &Index, watchers: &[Arc<Watcher>]| {
            for key in ["a/b", "a/", "a/a", "a", "a/bc", "b", "c", ""] {
                let mut found = Vec::new();
                index.concerned(key.as_bytes(), |watcher| found.push(Arc::as_ptr(watcher)));
                let holds = |watcher: &&Arc<Watcher>| watcher.keys.contains(key.as_bytes());
                let mut expect: Vec<_> = watchers.iter().filter(holds).map(Arc::as_ptr).collect();
                found.sort_unstable();
                expect.sort_unstable();
                assert_eq!(found, expect, "{key}");
            }
            let mut all = 0;
            index.for_each(|_| all += 1);
            assert_eq!(all, watchers.len());
        };
        for (number, watcher) in watchers.iter().enumerate() {
            index.insert(watcher.clone());
            check(&index, &watchers[..=number]);
        }
        for (number, watcher) in watchers.iter().enumerate() {
            index.remove(watcher);
            check(&index, &watchers[number + 1..]);
        }
        assert!(index.keys.is_empty() && index.prefixes.is_empty() && index.ranges.is_empty());
    }
}
