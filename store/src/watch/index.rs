//! Which watchers a key concerns.
//!
//! Single keys and prefixes, which is nearly all there is, are found by hashing: one look-up for the key and one for
//! each length of prefix in use. Other ranges are compared one by one.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use store_client::KeyRange;

use super::Id;

#[derive(Debug, Default)]
pub(super) struct Index {
    keys: HashMap<Bytes, Ids>,
    prefixes: BTreeMap<usize, HashMap<Bytes, Ids>>,
    ranges: BTreeMap<Id, KeyRange>,
}

/// Who watches the same; most often one, which takes no allocation.
#[derive(Debug)]
enum Ids {
    One(Id),
    Many(Vec<Id>),
}

impl Ids {
    fn as_slice(&self) -> &[Id] {
        match self {
            Self::One(id) => std::slice::from_ref(id),
            Self::Many(ids) => ids,
        }
    }

    fn push(&mut self, id: Id) {
        match self {
            Self::One(first) => *self = Self::Many(vec![*first, id]),
            Self::Many(ids) => ids.push(id),
        }
    }

    /// Whether somebody is left.
    fn remove(&mut self, id: Id) -> bool {
        match self {
            Self::One(only) => *only != id,
            Self::Many(ids) => {
                ids.retain(|other| *other != id);
                !ids.is_empty()
            }
        }
    }
}

fn add(map: &mut HashMap<Bytes, Ids>, key: &Bytes, id: Id) {
    map.entry(key.clone()).and_modify(|ids| ids.push(id)).or_insert(Ids::One(id));
}

/// How a range is found.
enum Shape<'a> {
    Key(&'a Bytes),
    Prefix(&'a Bytes),
    Other,
}

fn shape(keys: &KeyRange) -> Shape<'_> {
    match keys {
        KeyRange::Key(key) => Shape::Key(key),
        KeyRange::Interval { start, .. } if *keys == KeyRange::prefix(start.clone()) => Shape::Prefix(start),
        KeyRange::From(start) if start.is_empty() => Shape::Prefix(start),
        KeyRange::Interval { .. } | KeyRange::From(_) => Shape::Other,
    }
}

impl Index {
    pub(super) fn insert(&mut self, keys: &KeyRange, id: Id) {
        match shape(keys) {
            Shape::Key(key) => add(&mut self.keys, key, id),
            Shape::Prefix(prefix) => add(self.prefixes.entry(prefix.len()).or_default(), prefix, id),
            Shape::Other => {
                self.ranges.insert(id, keys.clone());
            }
        }
    }

    pub(super) fn remove(&mut self, keys: &KeyRange, id: Id) {
        match shape(keys) {
            Shape::Key(key) => remove(&mut self.keys, key, id),
            Shape::Prefix(prefix) => {
                if let Some(same_length) = self.prefixes.get_mut(&prefix.len()) {
                    remove(same_length, prefix, id);
                    if same_length.is_empty() {
                        self.prefixes.remove(&prefix.len());
                    }
                }
            }
            Shape::Other => {
                self.ranges.remove(&id);
            }
        }
    }

    /// Adds those whom a change of `key` concerns; one may be added twice.
    pub(super) fn concerned(&self, key: &[u8], out: &mut Vec<Id>) {
        out.extend(self.keys.get(key).into_iter().flat_map(Ids::as_slice));
        for (length, same_length) in &self.prefixes {
            let Some(prefix) = key.get(..*length) else { break };
            out.extend(same_length.get(prefix).into_iter().flat_map(Ids::as_slice));
        }
        out.extend(self.ranges.iter().filter(|(_, range)| range.contains(key)).map(|(id, _)| *id));
    }
}

fn remove(map: &mut HashMap<Bytes, Ids>, key: &Bytes, id: Id) {
    if map.get_mut(key).is_some_and(|ids| !ids.remove(id)) {
        map.remove(key);
    }
}

#[cfg(test)]
mod tests {
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
        ];
        let mut index = Index::default();
        for (id, range) in (0..).zip(&ranges) {
            index.insert(range, Id(id));
        }
        for key in ["a/b", "a/", "a", "a/bc", "b", "c", ""] {
            let mut found = Vec::new();
            index.concerned(key.as_bytes(), &mut found);
            found.sort_unstable();
            let expect: Vec<Id> = (0..)
                .zip(&ranges)
                .filter(|(_, range)| range.contains(key.as_bytes()))
                .map(|(id, _)| Id(id))
                .collect();
            assert_eq!(found, expect, "{key}");
        }
        for (id, range) in (0..).zip(&ranges) {
            index.remove(range, Id(id));
        }
        assert!(index.keys.is_empty() && index.prefixes.is_empty() && index.ranges.is_empty());
    }
}
