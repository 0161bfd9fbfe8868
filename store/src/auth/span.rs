//! Sets of keys as unions of intervals.
//!
//! A request is allowed when the set of its keys is within the union of what the roles of its user grant; which grants
//! the union is made of does not matter, so adjacent ones count as one, across roles too.

use bytes::{BufMut, Bytes, BytesMut};
use store_client::KeyRange;

/// `start <= key < end`; without an end, everything from `start` on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first key; never empty, as no key is.
    pub start: Bytes,
    /// The first key after.
    pub end: Option<Bytes>,
}

/// The least key there is: one zero byte.
const LEAST: &[u8] = &[0];

impl Span {
    /// The keys of a range. One that ends before it starts holds no key, and is taken for its first: to be asked for
    /// nothing must not be a way round being asked.
    pub fn of(keys: &KeyRange) -> Self {
        match keys {
            KeyRange::Key(key) => Self::point(key),
            KeyRange::Interval { start, end } if start < end && end.as_ref() != LEAST => {
                Self { start: least(start), end: Some(end.clone()) }
            }
            KeyRange::Interval { start, .. } => Self::point(start),
            KeyRange::From(start) => Self { start: least(start), end: None },
        }
    }

    fn point(key: &Bytes) -> Self {
        let start = least(key);
        let mut end = BytesMut::with_capacity(start.len() + 1);
        end.put_slice(&start);
        end.put_u8(0);
        Self { start, end: Some(end.freeze()) }
    }
}

fn least(key: &Bytes) -> Bytes {
    if key.is_empty() { Bytes::from_static(LEAST) } else { key.clone() }
}

/// A set of keys: spans in order that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    spans: Vec<Span>,
}

impl Set {
    /// The union of spans.
    pub fn union(mut spans: Vec<Span>) -> Self {
        spans.sort_unstable_by(|a, b| a.start.cmp(&b.start));
        let mut merged: Vec<Span> = Vec::with_capacity(spans.len());
        for span in spans {
            match merged.last_mut() {
                Some(Span { end: None, .. }) => break,
                Some(last) if last.end.as_ref().is_some_and(|end| span.start <= *end) => {
                    if span.end.is_none() || span.end > last.end {
                        last.end = span.end;
                    }
                }
                Some(_) | None => merged.push(span),
            }
        }
        Self { spans: merged }
    }

    /// How far the set goes on from a key in it, without a gap; `None` when the key is not in it.
    fn reach(&self, key: &[u8]) -> Option<Reach<'_>> {
        let after = self.spans.partition_point(|span| span.start.as_ref() <= key);
        let span = self.spans.get(after.checked_sub(1)?)?;
        match &span.end {
            None => Some(Reach::End),
            Some(end) if key < end.as_ref() => Some(Reach::Until(end)),
            Some(_) => None,
        }
    }
}

/// Where a set ends that holds a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach<'a> {
    /// Before this key.
    Until(&'a [u8]),
    /// Not at all.
    End,
}

/// Whether every key of a range is in one of the sets.
pub fn cover<'a>(sets: impl Iterator<Item = &'a Set> + Clone, keys: &KeyRange) -> bool {
    if let KeyRange::Key(key) = keys {
        return sets.into_iter().any(|set| set.reach(key).is_some());
    }
    let span = Span::of(keys);
    let mut at = span.start.as_ref();
    loop {
        let farthest = sets.clone().filter_map(|set| set.reach(at)).max();
        match (farthest, &span.end) {
            (None, _) => return false,
            (Some(Reach::End), _) => return true,
            (Some(Reach::Until(reached)), Some(end)) if reached >= end.as_ref() => return true,
            // What is reached lies behind `at`, so this ends after each span was looked at once.
            (Some(Reach::Until(reached)), _) => at = reached,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn interval(start: &str, end: &str) -> KeyRange {
        KeyRange::Interval { start: start.to_owned().into(), end: end.to_owned().into() }
    }

    fn from(start: &str) -> KeyRange {
        KeyRange::From(start.to_owned().into())
    }

    fn key(key: &str) -> KeyRange {
        KeyRange::Key(key.to_owned().into())
    }

    #[test]
    fn a_range_is_covered_by_the_union_of_what_is_granted() {
        type Case = (&'static [fn() -> KeyRange], fn() -> KeyRange, bool);
        let table: &[Case] = &[
            (&[], || key("a"), false),
            (&[|| key("a")], || key("a"), true),
            (&[|| key("a")], || key("a\0"), false),
            (&[|| key("a")], || interval("a", "a\0"), true),
            (&[|| key("a")], || interval("a", "b"), false),
            (&[|| key("a"), || key("a\0")], || interval("a", "a\0\0"), true),
            (&[|| interval("a", "c")], || interval("a", "c"), true),
            (&[|| interval("a", "c")], || interval("b", "c"), true),
            (&[|| interval("a", "c")], || key("c"), false),
            (&[|| interval("a", "c")], || interval("a", "c\0"), false),
            (&[|| interval("a", "c")], || from("a"), false),
            (&[|| interval("a", "b"), || interval("b", "c")], || interval("a", "c"), true),
            (&[|| interval("a", "b"), || interval("b\0", "c")], || interval("a", "c"), false),
            (&[|| interval("a", "d"), || interval("b", "c")], || interval("a", "d"), true),
            (&[|| interval("a", "c"), || from("b")], || from("a"), true),
            (&[|| from("b")], || from("a"), false),
            (&[|| from("b")], || interval("b", "zzz"), true),
            (&[|| from("\0")], || from(""), true),
            (&[|| from("\0")], || interval("", "z"), true),
            (&[|| interval("\0", "z")], || from("\0"), false),
            // A range that ends before it starts: as its first key.
            (&[|| key("b")], || interval("b", "a"), true),
            (&[|| key("a")], || interval("b", "a"), false),
            (&[|| key("a")], || interval("b", "b"), false),
        ];
        for (number, (granted, asked, expect)) in table.iter().enumerate() {
            let one = [Set::union(granted.iter().map(|range| Span::of(&range())).collect())];
            let each: Vec<Set> = granted.iter().map(|range| Set::union(vec![Span::of(&range())])).collect();
            assert_eq!(cover(one.iter(), &asked()), *expect, "case {number} as one set");
            assert_eq!(cover(each.iter(), &asked()), *expect, "case {number} as a set each");
        }
    }

    /// All keys of up to two letters from a small alphabet that includes both ends of a byte.
    fn universe() -> Vec<Bytes> {
        const LETTERS: [u8; 4] = [0x00, b'a', b'b', 0xff];
        let mut keys: Vec<Bytes> = LETTERS.iter().map(|letter| Bytes::copy_from_slice(&[*letter])).collect();
        for first in LETTERS {
            keys.extend(LETTERS.iter().map(|second| Bytes::copy_from_slice(&[first, *second])));
        }
        keys.sort_unstable();
        keys
    }

    fn random_range(random: &mut StdRng, universe: &[Bytes]) -> KeyRange {
        let mut pick = || universe[random.random_range(0..universe.len())].clone();
        let (start, end) = (pick(), pick());
        match random.random_range(0..4) {
            0 => KeyRange::Key(start),
            1 => KeyRange::From(start),
            _ => KeyRange::Interval { start, end },
        }
    }

    /// Between two neighbours of the universe there are longer keys; each neighbour stands for itself and for them.
    fn stands_for(range: &KeyRange, universe: &[Bytes]) -> BTreeSet<(Bytes, bool)> {
        let mut found = BTreeSet::new();
        for key in universe {
            let between = Bytes::from([key.as_ref(), &[0, 0, 0]].concat());
            found.extend(range.contains(key).then(|| (key.clone(), false)));
            found.extend(range.contains(&between).then(|| (key.clone(), true)));
        }
        found
    }

    /// M20: what is allowed is exactly what a set of keys allows, however the grants are cut.
    #[test]
    fn covering_agrees_with_sets_of_keys() {
        let universe = universe();
        let (mut allowed, mut refused) = (0, 0);
        for seed in 0..200 {
            let mut random = StdRng::seed_from_u64(seed);
            let granted: Vec<KeyRange> =
                (0..random.random_range(0..6)).map(|_| random_range(&mut random, &universe)).collect();
            // An empty grant cannot be made.
            let granted: Vec<KeyRange> =
                granted.into_iter().filter(|range| !stands_for(range, &universe).is_empty()).collect();
            let model: BTreeSet<_> = granted.iter().flat_map(|range| stands_for(range, &universe)).collect();
            let roles: Vec<Set> =
                granted.chunks(2).map(|role| Set::union(role.iter().map(Span::of).collect())).collect();
            for _ in 0..50 {
                let asked = random_range(&mut random, &universe);
                let keys = stands_for(&asked, &universe);
                let got = cover(roles.iter(), &asked);
                if keys.is_empty() {
                    continue;
                }
                let expect = keys.is_subset(&model);
                assert_eq!(got, expect, "seed {seed}: {asked:?} with {granted:?}");
                *(if expect { &mut allowed } else { &mut refused }) += 1;
            }
        }
        assert!(allowed > 1000 && refused > 1000, "{allowed} allowed, {refused} refused");
    }
}
