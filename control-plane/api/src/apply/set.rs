//! Sets of field paths, and their written form `fieldsV1`.
//!
//! | element | written | means |
//! |---|---|---|
//! | `Field` | `f:name` | a field of an object or a key of a map |
//! | `Key` | `k:{"name":"a"}` | an item of a list of type map, by its key fields |
//! | `Item` | `v:"a"` | an item of a list of type set |
//! | `Index` | `i:3` | an item by position (only read, never written) |
//!
//! A set is a tree; `.` marks that the path itself belongs to it, not only what is below.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// One step of a path. Values are held as canonical JSON text, which orders and compares them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// A field or a map key.
    Field(String),
    /// An item of a keyed list: the key fields as a JSON object.
    Key(String),
    /// An item of a list that is a set.
    Item(String),
    /// An item by position.
    Index(usize),
}

impl Element {
    fn written(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(key) => format!("k:{key}"),
            Self::Item(value) => format!("v:{value}"),
            Self::Index(at) => format!("i:{at}"),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        let canonical = |text: &str| serde_json::from_str::<Value>(text).ok().map(|value| value.to_string());
        match kind {
            "f" => Some(Self::Field(rest.to_owned())),
            "k" => canonical(rest).map(Self::Key),
            "v" => canonical(rest).map(Self::Item),
            "i" => rest.parse().ok().map(Self::Index),
            _ => None,
        }
    }

    /// As it appears in a path shown to people: `.name`, `[name="a"]`, `[="a"]`.
    fn shown(&self) -> String {
        match self {
            Self::Field(name) => format!(".{name}"),
            Self::Key(key) => {
                let parsed: Map<String, Value> = serde_json::from_str(key).unwrap_or_default();
                let parts: Vec<String> = parsed.iter().map(|(k, v)| format!("{k}={v}")).collect();
                format!("[{}]", parts.join(","))
            }
            Self::Item(value) => format!("[={value}]"),
            Self::Index(at) => format!("[{at}]"),
        }
    }
}

/// Deepest `fieldsV1` that is read; objects are bounded by the decoder's depth, this bounds hand-made records.
const DEPTH_MAX: usize = 128;

/// A set of paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// Whether the path that leads here is itself in the set.
    pub here: bool,
    /// What is in the set below.
    pub below: BTreeMap<Element, Set>,
}

impl Set {
    /// The set of nothing but the path that leads here.
    pub fn leaf() -> Self {
        Self { here: true, below: BTreeMap::new() }
    }

    /// Whether no path is in the set.
    pub fn is_empty(&self) -> bool {
        !self.here && self.below.values().all(Self::is_empty)
    }

    /// Adds what is below one element.
    pub fn insert(&mut self, element: Element, set: Set) {
        if !set.is_empty() {
            self.below.entry(element).or_default().add(set);
        }
    }

    /// Adds every path of another set.
    pub fn add(&mut self, other: Set) {
        self.here |= other.here;
        for (element, set) in other.below {
            self.below.entry(element).or_default().add(set);
        }
    }

    /// Paths in both.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let below = self
            .below
            .iter()
            .filter_map(|(element, set)| {
                let both = set.intersect(other.below.get(element)?);
                (!both.is_empty()).then(|| (element.clone(), both))
            })
            .collect();
        Self { here: self.here && other.here, below }
    }

    /// Paths here but not there.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let below = self
            .below
            .iter()
            .filter_map(|(element, set)| {
                let rest = other.below.get(element).map_or_else(|| set.clone(), |there| set.minus(there));
                (!rest.is_empty()).then(|| (element.clone(), rest))
            })
            .collect();
        Self { here: self.here && !other.here, below }
    }

    /// Takes out what identifies an object rather than configures it; nobody owns these.
    pub fn strip_identity(&mut self) {
        let field = |name: &str| Element::Field(name.to_owned());
        self.below.remove(&field("apiVersion"));
        self.below.remove(&field("kind"));
        if let Some(metadata) = self.below.get_mut(&field("metadata")) {
            for name in IDENTITY {
                metadata.below.remove(&field(name));
            }
            metadata.here = false;
            if metadata.is_empty() {
                self.below.remove(&field("metadata"));
            }
        }
        self.here = false;
    }

    /// Every path as people read it, `.spec.replicas`.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect("", &mut paths);
        paths
    }

    fn collect(&self, prefix: &str, paths: &mut Vec<String>) {
        if self.here {
            paths.push(prefix.to_owned());
        }
        for (element, set) in &self.below {
            set.collect(&format!("{prefix}{}", element.shown()), paths);
        }
    }

    /// The written form.
    pub fn write(&self) -> Value {
        let mut map = Map::new();
        if self.here && !self.below.is_empty() {
            map.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for (element, set) in &self.below {
            map.insert(element.written(), set.write());
        }
        Value::Object(map)
    }

    /// Reads the written form; `None` when it is not one.
    pub fn read(value: &Value) -> Option<Self> {
        let map = value.as_object()?;
        let mut set = Self::default();
        for (name, below) in map {
            if name == "." {
                set.here = true;
            } else {
                set.below.insert(Element::parse(name)?, Self::read_below(below, 1)?);
            }
        }
        Some(set)
    }

    fn read_below(value: &Value, depth: usize) -> Option<Self> {
        let map = value.as_object()?;
        if depth > DEPTH_MAX {
            return None;
        }
        if map.is_empty() {
            return Some(Self::leaf());
        }
        let mut set = Self::default();
        for (name, below) in map {
            if name == "." {
                set.here = true;
            } else {
                set.below.insert(Element::parse(name)?, Self::read_below(below, depth + 1)?);
            }
        }
        Some(set)
    }
}

/// Fields of `metadata` that are never owned.
const IDENTITY: [&str; 10] = [
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "clusterName",
    "generation",
    "managedFields",
    "resourceVersion",
    "deletionTimestamp",
];
