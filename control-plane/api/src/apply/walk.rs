//! Walks objects along the schema: which fields they name, how they differ, how one merges into another.
//!
//! The schema decides what is one field: a scalar, an atomic list or map and an untyped tree are leaves; an
//! object, a granular map, a keyed list and a set are walked into.

use serde_json::{Map, Value};

use super::set::{Element, Set};
use crate::schema::{ListKind, Shape, Table, TypeId};

/// How a value is to be walked.
enum Walk<'a> {
    Leaf,
    /// An object or a map.
    Fields(TypeId),
    /// A list whose items have an identity.
    Items {
        item: TypeId,
        keys: Option<&'a [String]>,
    },
}

fn walk(table: &Table, ty: Option<TypeId>) -> Walk<'_> {
    let Some(id) = ty else { return Walk::Leaf };
    match &table.get(id).shape {
        Shape::Object { atomic: false, .. } | Shape::Map { atomic: false, .. } => Walk::Fields(id),
        Shape::List { item, kind: ListKind::Map { keys } } => Walk::Items { item: *item, keys: Some(keys) },
        Shape::List { item, kind: ListKind::Set } => Walk::Items { item: *item, keys: None },
        _ => Walk::Leaf,
    }
}

/// The type of a field, and whether it is declared (else a key of a map).
fn field_type(table: &Table, ty: TypeId, name: &str) -> (Option<TypeId>, bool) {
    match table.field(ty, name) {
        Some(field) => (Some(field.ty), true),
        None => match &table.get(ty).shape {
            Shape::Map { value, .. } => (Some(*value), false),
            _ => (None, false),
        },
    }
}

/// The identity of a list item; `None` when a keyed item lacks all its keys, which validation will refuse.
fn identity(table: &Table, item: TypeId, keys: Option<&[String]>, value: &Value) -> Option<Element> {
    let Some(keys) = keys else { return Some(Element::Item(value.to_string())) };
    let mut key = Map::new();
    for name in keys {
        let default = || table.field(item, name).and_then(|field| field.default.clone());
        if let Some(part) = value.get(name).cloned().or_else(default) {
            key.insert(name.clone(), part);
        }
    }
    (!key.is_empty()).then(|| Element::Key(Value::Object(key).to_string()))
}

fn is_empty_container(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

/// Every field that `value` names.
pub fn fields(table: &Table, ty: TypeId, value: &Value) -> Set {
    named(table, Some(ty), value)
}

fn named(table: &Table, ty: Option<TypeId>, value: &Value) -> Set {
    match (walk(table, ty), value) {
        (Walk::Fields(id), Value::Object(map)) => {
            let mut set = Set::default();
            for (name, value) in map {
                let (ty, declared) = field_type(table, id, name);
                let mut below = named(table, ty, value);
                below.here |= !declared || value.is_null() || is_empty_container(value);
                set.insert(Element::Field(name.clone()), below);
            }
            set
        }
        (Walk::Items { item, keys }, Value::Array(list)) => {
            let mut set = Set::default();
            for value in list {
                if let Some(id) = identity(table, item, keys, value) {
                    let mut below = named(table, Some(item), value);
                    below.here = true;
                    set.insert(id, below);
                }
            }
            set
        }
        _ => Set::leaf(),
    }
}

/// How a new object differs from an old one.
#[derive(Debug, Default)]
pub struct Difference {
    /// Fields only the new one has.
    pub added: Set,
    /// Fields that both have, with other values.
    pub modified: Set,
    /// Fields only the old one has.
    pub removed: Set,
}

impl Difference {
    /// Added and modified fields.
    pub fn changed(&self) -> Set {
        let mut changed = self.added.clone();
        changed.add(self.modified.clone());
        changed
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    /// See [`Set::strip_identity`].
    pub fn strip_identity(&mut self) {
        self.added.strip_identity();
        self.modified.strip_identity();
        self.removed.strip_identity();
    }
}

/// Compares two objects of type `ty`.
pub fn compare(table: &Table, ty: TypeId, old: &Value, new: &Value) -> Difference {
    let mut difference = Difference::default();
    differ(table, Some(ty), Some(old), Some(new), &mut difference);
    difference
}

fn differ(
    table: &Table,
    ty: Option<TypeId>,
    old: Option<&Value>,
    new: Option<&Value>,
    into: &mut Difference,
) {
    match (old, new) {
        (None, None) => {}
        (Some(old), Some(new)) if old == new => {}
        (None, Some(new)) => into.added.add(one_sided(table, ty, new)),
        (Some(old), None) => into.removed.add(one_sided(table, ty, old)),
        (Some(old), Some(new)) => match (walk(table, ty), old, new) {
            (Walk::Fields(id), Value::Object(old), Value::Object(new)) => {
                let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
                for name in names {
                    let (ty, _) = field_type(table, id, name);
                    step(table, ty, Element::Field(name.clone()), old.get(name), new.get(name), into);
                }
            }
            (Walk::Items { item, keys }, Value::Array(old), Value::Array(new)) => {
                items(table, item, keys, old, new, into);
            }
            _ => into.modified.here = true,
        },
    }
}

fn step(
    table: &Table,
    ty: Option<TypeId>,
    element: Element,
    old: Option<&Value>,
    new: Option<&Value>,
    into: &mut Difference,
) {
    let mut below = Difference::default();
    differ(table, ty, old, new, &mut below);
    if !below.is_empty() {
        into.added.insert(element.clone(), below.added);
        into.modified.insert(element.clone(), below.modified);
        into.removed.insert(element, below.removed);
    }
}

fn items(
    table: &Table,
    item: TypeId,
    keys: Option<&[String]>,
    old: &[Value],
    new: &[Value],
    into: &mut Difference,
) {
    let index = |list: &'_ [Value]| -> std::collections::BTreeMap<Element, usize> {
        list.iter()
            .enumerate()
            .filter_map(|(at, value)| Some((identity(table, item, keys, value)?, at)))
            .collect()
    };
    let (old_index, new_index) = (index(old), index(new));
    for (id, at) in &old_index {
        let new = new_index.get(id).map(|at| &new[*at]);
        step(table, Some(item), id.clone(), Some(&old[*at]), new, into);
    }
    for (id, at) in new_index.iter().filter(|(id, _)| !old_index.contains_key(*id)) {
        step(table, Some(item), id.clone(), None, Some(&new[*at]), into);
    }
}

/// Every field of a subtree that only one side has. Maps and list items count themselves, declared objects do
/// not: an object that is always there is not something a writer added.
fn one_sided(table: &Table, ty: Option<TypeId>, value: &Value) -> Set {
    let mut set = named(table, ty, value);
    set.here |= match ty.map(|id| &table.get(id).shape) {
        Some(Shape::Object { .. }) => is_empty_container(value) || ty.is_none(),
        _ => true,
    };
    mark_maps(table, ty, value, &mut set);
    set
}

fn mark_maps(table: &Table, ty: Option<TypeId>, value: &Value, set: &mut Set) {
    let (Walk::Fields(id), Value::Object(map)) = (walk(table, ty), value) else { return };
    if matches!(table.get(id).shape, Shape::Map { .. }) {
        set.here = true;
    }
    for (name, value) in map {
        if let Some(below) = set.below.get_mut(&Element::Field(name.clone())) {
            mark_maps(table, field_type(table, id, name).0, value, below);
        }
    }
}

/// Merges `applied` into `live`: what it names wins, the rest stays.
pub fn merge(table: &Table, ty: TypeId, live: &Value, applied: &Value) -> Value {
    merged(table, Some(ty), Some(live), applied)
}

fn merged(table: &Table, ty: Option<TypeId>, live: Option<&Value>, applied: &Value) -> Value {
    match (walk(table, ty), live, applied) {
        (Walk::Fields(id), Some(Value::Object(live)), Value::Object(applied)) => {
            let mut result = live.clone();
            for (name, value) in applied {
                let ty = field_type(table, id, name).0;
                if value.is_null() {
                    result.remove(name);
                    continue;
                }
                let value = merged(table, ty, live.get(name), value);
                result.insert(name.clone(), value);
            }
            Value::Object(result)
        }
        (Walk::Items { item, keys }, Some(Value::Array(live)), Value::Array(applied)) => {
            Value::Array(merged_items(table, item, keys, live, applied))
        }
        _ => applied.clone(),
    }
}

/// Applied items come in their own order; live items that are not applied stay before the applied item that
/// they preceded.
fn merged_items(
    table: &Table,
    item: TypeId,
    keys: Option<&[String]>,
    live: &[Value],
    applied: &[Value],
) -> Vec<Value> {
    let ids = |list: &[Value]| -> Vec<Option<Element>> {
        list.iter().map(|v| identity(table, item, keys, v)).collect()
    };
    let (live_ids, applied_ids) = (ids(live), ids(applied));
    let mut result = Vec::with_capacity(live.len() + applied.len());
    let mut next_live = 0;
    for (value, id) in applied.iter().zip(&applied_ids) {
        let at = id.as_ref().and_then(|id| live_ids.iter().position(|other| other.as_ref() == Some(id)));
        if let Some(at) = at {
            while next_live < at {
                if !applied_ids.contains(&live_ids[next_live]) {
                    result.push(live[next_live].clone());
                }
                next_live += 1;
            }
        }
        result.push(merged(table, Some(item), at.map(|at| &live[at]), value));
    }
    for at in next_live..live.len() {
        if !applied_ids.contains(&live_ids[at]) {
            result.push(live[at].clone());
        }
    }
    result
}

/// Removes the fields of `stale` from `value`, but for containers in which `kept` still has fields.
pub fn remove(table: &Table, ty: TypeId, value: &mut Value, stale: &Set, kept: &Set) {
    removed(table, Some(ty), value, stale, Some(kept));
}

fn removed(table: &Table, ty: Option<TypeId>, value: &mut Value, stale: &Set, kept: Option<&Set>) {
    match (walk(table, ty), value) {
        (Walk::Fields(id), Value::Object(map)) => {
            for (element, below) in &stale.below {
                let Element::Field(name) = element else { continue };
                let kept = kept.and_then(|kept| kept.below.get(element)).filter(|kept| !kept.is_empty());
                if below.here && kept.is_none() {
                    map.remove(name);
                } else if let Some(child) = map.get_mut(name) {
                    let was_empty = is_empty_container(child);
                    removed(table, field_type(table, id, name).0, child, below, kept);
                    if !was_empty && is_empty_container(child) {
                        map.remove(name);
                    }
                }
            }
        }
        (Walk::Items { item, keys }, Value::Array(list)) => list.retain_mut(|value| {
            let Some(id) = identity(table, item, keys, value) else { return true };
            let Some(below) = stale.below.get(&id) else { return true };
            let kept = kept.and_then(|kept| kept.below.get(&id)).filter(|kept| !kept.is_empty());
            if below.here && kept.is_none() {
                return false;
            }
            removed(table, Some(item), value, below, kept);
            true
        }),
        _ => {}
    }
}
