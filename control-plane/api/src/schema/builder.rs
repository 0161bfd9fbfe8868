//! Puts a table together, sharing equal anonymous types.

use std::collections::HashMap;

use super::shape::{Field, ListKind, Rules, Shape, Type};
use super::table::{Doc, Docs, Table, TypeId};
use crate::GroupVersionKind;

/// A table under construction.
#[derive(Default)]
pub(super) struct Builder {
    types: Vec<Type>,
    names: HashMap<String, TypeId>,
    kinds: Vec<(GroupVersionKind, TypeId)>,
}

impl Builder {
    /// Reserves an id for a named object, whose fields come later.
    pub(super) fn declare(&mut self, name: &str, doc: Doc, shape: Shape) -> TypeId {
        let id = self.push(Type { name: name.to_owned(), doc, shape, rules: None });
        self.names.insert(name.to_owned(), id);
        id
    }

    /// Adds an anonymous type.
    pub(super) fn anonymous(&mut self, shape: Shape, rules: Option<Box<Rules>>) -> TypeId {
        self.push(Type { name: String::new(), doc: Doc::default(), shape, rules })
    }

    /// Sets the fields of a declared object.
    pub(super) fn set_fields(&mut self, id: TypeId, mut new: Vec<Field>) {
        new.sort_by(|a, b| a.name.cmp(&b.name));
        if let Shape::Object { fields, .. } = &mut self.types[id.0 as usize].shape {
            *fields = new;
        }
    }

    /// Takes the fields of an object out; empty for other shapes.
    pub(super) fn take_fields(&mut self, id: TypeId) -> Vec<Field> {
        match &mut self.types[id.0 as usize].shape {
            Shape::Object { fields, .. } => std::mem::take(fields),
            _ => Vec::new(),
        }
    }

    /// Names a kind of this type.
    pub(super) fn kind(&mut self, gvk: GroupVersionKind, id: TypeId) {
        self.kinds.push((gvk, id));
    }

    /// A declared type.
    pub(super) fn named(&self, name: &str) -> Option<TypeId> {
        self.names.get(name).copied()
    }

    /// How many types there are.
    pub(super) fn len(&self) -> usize {
        self.types.len()
    }

    /// Copies a type and all it refers to from another table, without documentation.
    pub(super) fn import(&mut self, from: &Table, id: TypeId) -> TypeId {
        let source = from.get(id);
        if let Some(done) = self.named(&source.name).filter(|_| !source.name.is_empty()) {
            return done;
        }
        let mut shape = source.shape.clone();
        let mut fields = Vec::new();
        match &mut shape {
            Shape::Object { fields: theirs, .. } => fields = std::mem::take(theirs),
            Shape::List { item, .. } => *item = self.import(from, *item),
            Shape::Map { value, .. } => *value = self.import(from, *value),
            _ => {}
        }
        let new = match source.name.as_str() {
            "" => self.anonymous(shape, None),
            name => self.declare(name, Doc::default(), shape),
        };
        for field in &mut fields {
            field.ty = self.import(from, field.ty);
            field.doc = Doc::default();
            field.rules.clear();
        }
        self.set_fields(new, fields);
        new
    }

    /// The finished table.
    pub(super) fn finish(self, docs: Docs, custom: bool) -> Table {
        Table::new(self.types, self.names, self.kinds.into_iter().collect(), docs, custom)
    }

    fn push(&mut self, ty: Type) -> TypeId {
        let id = u32::try_from(self.types.len()).expect("tables are bounded far below 2^32 types");
        self.types.push(ty);
        TypeId(id)
    }
}

/// An object without fields yet.
pub(super) fn object(preserve_unknown: bool, atomic: bool) -> Shape {
    Shape::Object { fields: Vec::new(), preserve_unknown, atomic }
}

/// A plain string.
pub(super) fn string() -> Shape {
    Shape::String { format: None, enum_values: Vec::new() }
}

/// A list from the column that describes it: empty, `set`, or the map keys.
pub(super) fn list_kind(text: &str) -> ListKind {
    match text {
        "" => ListKind::Atomic,
        "set" => ListKind::Set,
        keys => ListKind::Map { keys: keys.split(',').map(str::to_owned).collect() },
    }
}
