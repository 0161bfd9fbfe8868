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
    keys: HashMap<Bytes, Vec<Id>>,
    prefixes: BTreeMap<usize, HashMap<Bytes, Vec<Id>>>,
    ranges: BTreeMap<Id, KeyRange>,
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
            Shape::Key(key) => self.keys.entry(key.clone()).or_default().push(id),
            Shape::Prefix(prefix) => {
                let same_length = self.prefixes.entry(prefix.len()).or_default();
                same_length.entry(prefix.clone()).or_default().push(id);
            }
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
        out.extend(self.keys.get(key).into_iter().flatten());
        for (length, same_length) in &self.prefixes {
            let Some(prefix) = key.get(..*length) else { break };
            out.extend(same_length.get(prefix).into_iter().flatten());
        }
        out.extend(self.ranges.iter().filter(|(_, range)| range.contains(key)).map(|(id, _)| *id));
    }
}

fn remove(map: &mut HashMap<Bytes, Vec<Id>>, key: &Bytes, id: Id) {
    if let Some(ids) = map.get_mut(key) {
        ids.retain(|other| *other != id);
        if ids.is_empty() {
            map.remove(key);
        }
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
