//! The table of types and how to find one.

use std::collections::{BTreeMap, HashMap};
use std::sync::{LazyLock, OnceLock};

use super::shape::{Field, Shape, Type};
use crate::GroupVersionKind;

/// A type within one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeId(pub u32);

/// A piece of documentation within one table; 0 is the empty one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Doc(pub u32);

/// All types of the built-in kinds, or those of one custom resource.
#[derive(Debug)]
pub struct Table {
    types: Vec<Type>,
    names: HashMap<String, TypeId>,
    kinds: BTreeMap<GroupVersionKind, TypeId>,
    docs: Docs,
    custom: bool,
}

/// Texts by number: given as such, or deflated until the first one is asked for.
#[derive(Debug)]
pub(super) enum Docs {
    /// In memory.
    Plain(Vec<String>),
    /// Deflated and separated by NUL.
    Packed(&'static [u8], OnceLock<Vec<String>>),
}

impl Table {
    /// The table of all built-in kinds, loaded on first use (a few milliseconds).
    pub fn builtin() -> &'static Self {
        static TABLE: LazyLock<Table> = LazyLock::new(super::load::builtin);
        &TABLE
    }

    pub(super) fn new(
        types: Vec<Type>,
        names: HashMap<String, TypeId>,
        kinds: BTreeMap<GroupVersionKind, TypeId>,
        docs: Docs,
        custom: bool,
    ) -> Self {
        Self { types, names, kinds, docs, custom }
    }

    /// The type of a kind.
    pub fn kind(&self, gvk: &GroupVersionKind) -> Option<TypeId> {
        self.kinds.get(gvk).copied()
    }

    /// The type of this name, such as `io.k8s.api.core.v1.PodSpec`.
    pub fn by_name(&self, name: &str) -> Option<TypeId> {
        self.names.get(name).copied()
    }

    /// The type of an id that came from this table.
    pub fn get(&self, id: TypeId) -> &Type {
        &self.types[id.0 as usize]
    }

    /// All kinds, in order of group, version, kind.
    pub fn kinds(&self) -> impl Iterator<Item = (&GroupVersionKind, TypeId)> {
        self.kinds.iter().map(|(gvk, id)| (gvk, *id))
    }

    /// All types.
    pub fn types(&self) -> impl Iterator<Item = (TypeId, &Type)> {
        (0..).map(TypeId).zip(&self.types)
    }

    /// A field of an object type; `None` for other shapes.
    pub fn field(&self, id: TypeId, name: &str) -> Option<&Field> {
        let Shape::Object { fields, .. } = &self.get(id).shape else { return None };
        let at = fields.binary_search_by(|f| f.name.as_str().cmp(name)).ok()?;
        Some(&fields[at])
    }

    /// The text of a piece of documentation.
    pub fn doc(&self, doc: Doc) -> &str {
        let texts = match &self.docs {
            Docs::Plain(texts) => texts,
            Docs::Packed(bytes, texts) => texts.get_or_init(|| super::load::unpack(bytes)),
        };
        texts.get(doc.0 as usize).map_or("", String::as_str)
    }

    /// Whether this is the table of a custom resource: nulls and zero values stay, and wrong types are a matter
    /// of [`validate`](super::validate) rather than of decoding.
    pub fn is_custom(&self) -> bool {
        self.custom
    }
}
