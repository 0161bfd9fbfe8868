//! The rows of the catalog that one definition makes, a row for each served version.

use std::{cmp::Reverse, sync::Arc};

use api::{
    GroupVersionKind, meta,
    schema::{SchemaError, Table},
};
use serde_json::Value;

use crate::{
    Resource, Subresource,
    catalog::{self, Place, Schema},
    strategy::rules::{items, text},
};

const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const STATUS_VERBS: [&str; 3] = ["get", "patch", "update"];

/// What a definition serves; versions in the order in which discovery prefers them.
pub(super) fn rows(definition: &Value) -> Result<Vec<Resource>, SchemaError> {
    let mut versions: Vec<&Value> =
        items(definition.pointer("/spec/versions")).filter(|v| v["served"] == true).collect();
    versions.sort_by_key(|version| Reverse(priority(text(version, "/name"))));
    versions.into_iter().map(|version| row(definition, version)).collect()
}

fn row(definition: &Value, version: &Value) -> Result<Resource, SchemaError> {
    let spec = |pointer: &str| text(definition, pointer).to_owned();
    let (group, kind, plural) = (spec("/spec/group"), spec("/spec/names/kind"), spec("/spec/names/plural"));
    let gvk = GroupVersionKind::new(&group, text(version, "/name"), &kind);
    let table = Arc::new(Table::custom(&gvk, &version["schema"]["openAPIV3Schema"])?);
    let schema = table.kind(&gvk).map(|ty| Schema::own(Arc::clone(&table), ty));
    let stored = items(definition.pointer("/spec/versions")).find(|v| v["storage"] == true);
    let stored = stored.map_or(gvk.version.as_str(), |v| text(v, "/name"));
    let status = version.pointer("/subresources/status").map(|_| Subresource {
        name: "status".into(),
        kind: gvk.clone(),
        verbs: STATUS_VERBS.map(str::to_owned).into(),
    });
    let dying = meta::is_terminating(definition);
    Ok(Resource {
        version: gvk.version.clone(),
        list_kind: spec("/spec/names/listKind"),
        singular: spec("/spec/names/singular"),
        namespaced: text(definition, "/spec/scope") == "Namespaced",
        short_names: words(definition.pointer("/spec/names/shortNames")),
        categories: words(definition.pointer("/spec/names/categories")),
        // What goes gets nothing new, or its end would never come.
        verbs: VERBS.iter().filter(|v| !dying || **v != "create").map(|v| (*v).to_owned()).collect(),
        subresources: status.into_iter().collect(),
        place: Some(Place {
            kind: GroupVersionKind::new(&group, stored, &kind),
            prefix: catalog::prefix(&group, &plural),
        }),
        mixed: items(definition.pointer("/spec/versions")).count() > 1
            || items(definition.pointer("/status/storedVersions")).count() > 1,
        strategy: &super::definition::Custom,
        schema,
        group,
        kind,
        plural,
    })
}

/// The strings of a list.
pub(super) fn words(list: Option<&Value>) -> Vec<String> {
    items(list).filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Upstream's order of versions: `v2`, `v1`, `v1beta1`, `v1alpha1`, and then other names in reverse.
fn priority(version: &str) -> (u8, u64, u64, Reverse<String>) {
    let other = || (0, 0, 0, Reverse(version.to_owned()));
    let Some(rest) = version.strip_prefix('v') else { return other() };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let Ok(major) = rest[..digits].parse() else { return other() };
    let (rank, minor) = match &rest[digits..] {
        "" => return (3, major, 0, Reverse(String::new())),
        rest if rest.starts_with("beta") => (2, &rest[4..]),
        rest if rest.starts_with("alpha") => (1, &rest[5..]),
        _ => return other(),
    };
    minor.parse().map_or_else(|_not_a_number| other(), |minor| (rank, major, minor, Reverse(String::new())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_versions_come_first() {
        let mut versions = ["v1alpha1", "v1", "foo", "v2", "v1beta2", "v1beta10"];
        versions.sort_by_key(|version| Reverse(priority(version)));
        assert_eq!(versions, ["v2", "v1", "v1beta10", "v1beta2", "v1alpha1", "foo"]);
    }
}
