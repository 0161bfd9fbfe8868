//! Who holds which name within a group: kinds and resource names belong to one definition each.

use std::collections::HashSet;

use serde_json::Value;

use super::rows::words;
use crate::{Catalog, strategy::rules::text};

/// Names that are taken, with their group.
pub(super) struct Taken(HashSet<(String, String)>);

impl Taken {
    /// What the built-in kinds hold.
    pub(super) fn builtin() -> Self {
        let catalog = Catalog::builtin();
        let names = catalog.rows().iter().flat_map(|row| {
            let names = [&row.plural, &row.singular, &row.kind, &row.list_kind];
            let names: Vec<_> = names.into_iter().chain(&row.short_names).cloned().collect();
            names.into_iter().map(|name| (row.group.clone(), name))
        });
        Self(names.collect())
    }

    /// Takes the names of a definition, all of them or none; answers the one that was taken.
    pub(super) fn take(&mut self, definition: &Value) -> Result<(), String> {
        let group = text(definition, "/spec/group").to_owned();
        let wanted: HashSet<_> = names(definition).into_iter().map(|name| (group.clone(), name)).collect();
        if let Some((_, name)) = wanted.iter().filter(|name| self.0.contains(*name)).min() {
            return Err(name.clone());
        }
        self.0.extend(wanted);
        Ok(())
    }
}

fn names(definition: &Value) -> Vec<String> {
    let mut names = words(definition.pointer("/spec/names/shortNames"));
    for field in ["plural", "singular", "kind", "listKind"] {
        names.push(text(definition, &format!("/spec/names/{field}")).to_owned());
    }
    names
}
