//! Reads a few fields out of JSON text without building a tree.

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::strategy::Selectable;

/// What every reader asks of an object.
#[derive(Default)]
pub(super) struct Facts {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) labels: Vec<(String, String)>,
    pub(super) fields: Vec<(&'static str, String)>,
}

const METADATA: [&[&str]; 3] = [&["metadata", "namespace"], &["metadata", "name"], &["metadata", "uid"]];
/// Paths are tracked as bits of a word.
const PATHS_MAX: usize = 32;

struct Paths<'a> {
    paths: Vec<&'static [&'static str]>,
    values: &'a mut [String],
    labels: &'a mut Vec<(String, String)>,
}

/// One level of the walk: `live` has a bit for each path that agrees with the keys so far.
struct Level<'p, 'a> {
    paths: &'p mut Paths<'a>,
    depth: usize,
    live: u32,
}

impl<'de> DeserializeSeed<'de> for Level<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Level<'_, '_> {
    fn set(&mut self, value: impl std::fmt::Display) {
        for at in 0..self.paths.paths.len() {
            if self.live & (1 << at) != 0 && self.paths.paths[at].len() == self.depth {
                self.paths.values[at] = value.to_string();
            }
        }
    }

    fn below(&self, key: &str) -> u32 {
        let agrees = |at: &usize| {
            self.live & (1 << at) != 0
                && self.paths.paths[*at].get(self.depth).is_some_and(|part| *part == key)
        };
        (0..self.paths.paths.len()).filter(agrees).fold(0, |bits, at| bits | (1 << at))
    }
}

impl<'de> Visitor<'de> for Level<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let in_metadata = self.depth == 1 && self.live & 1 != 0;
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if in_metadata && key == "labels" {
                let labels: Option<std::collections::BTreeMap<String, String>> = map.next_value()?;
                *self.paths.labels = labels.unwrap_or_default().into_iter().collect();
                continue;
            }
            match self.below(&key) {
                0 => _ = map.next_value::<IgnoredAny>()?,
                live => map.next_value_seed(Level { paths: self.paths, depth: self.depth + 1, live })?,
            }
        }
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<(), S::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_str<E>(mut self, value: &str) -> Result<(), E> {
        self.set(value);
        Ok(())
    }
    fn visit_bool<E>(mut self, value: bool) -> Result<(), E> {
        self.set(value);
        Ok(())
    }
    fn visit_i64<E>(mut self, value: i64) -> Result<(), E> {
        self.set(value);
        Ok(())
    }
    fn visit_u64<E>(mut self, value: u64) -> Result<(), E> {
        self.set(value);
        Ok(())
    }
    fn visit_f64<E>(mut self, value: f64) -> Result<(), E> {
        self.set(value);
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Reads the facts of an object.
pub(super) fn facts(json: &[u8], selectable: &'static [Selectable]) -> Result<Facts, serde_json::Error> {
    let mut facts = Facts::default();
    let mut values: [String; PATHS_MAX] = Default::default();
    let paths: Vec<_> =
        METADATA.into_iter().chain(selectable.iter().map(|s| s.path)).take(PATHS_MAX).collect();
    let live = (1u32 << paths.len()) - 1;
    let mut walk = Paths { paths, values: &mut values, labels: &mut facts.labels };
    let mut text = serde_json::Deserializer::from_slice(json);
    Level { paths: &mut walk, depth: 0, live }.deserialize(&mut text)?;
    let mut values = values.into_iter();
    let mut next = || values.next().unwrap_or_default();
    (facts.namespace, facts.name, facts.uid) = (next(), next(), next());
    facts.fields = selectable.iter().map(|s| (s.name, next())).collect();
    for (field, s) in facts.fields.iter_mut().zip(selectable) {
        if field.1.is_empty() {
            field.1.push_str(s.default);
        }
    }
    Ok(facts)
}
