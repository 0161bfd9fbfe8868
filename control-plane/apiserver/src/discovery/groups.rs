//! Plain discovery: groups, versions and resources, from the catalog.

use api::Status;
use registry::{Catalog, Resource};
use serde_json::{Value, json};

use crate::{
    gateway::Context,
    reply::{self, Response},
};

/// Groups in the catalog's order, each with its versions in order of preference; without the core group.
pub fn groups(catalog: &Catalog) -> Vec<(String, Vec<String>)> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for row in catalog.rows().iter().filter(|row| !row.group.is_empty()) {
        let at = match found.iter().position(|(group, _)| *group == row.group) {
            Some(at) => at,
            None => {
                found.push((row.group.clone(), Vec::new()));
                found.len() - 1
            }
        };
        if !found[at].1.contains(&row.version) {
            found[at].1.push(row.version.clone());
        }
    }
    found
}

fn group_value(group: &str, versions: &[String]) -> Value {
    let entry = |version: &String| json!({"groupVersion": format!("{group}/{version}"), "version": version});
    json!({
        "name": group,
        "versions": versions.iter().map(entry).collect::<Vec<_>>(),
        "preferredVersion": versions.first().map(entry),
    })
}

/// `/api`.
pub fn core_versions(context: &Context) -> Response {
    let host = context.headers.get(http::header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    let address = json!({"clientCIDR": "0.0.0.0/0", "serverAddress": host});
    reply::json(
        200,
        &json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [address]}),
    )
}

/// `/apis`.
pub fn group_list(context: &Context) -> Response {
    let all = groups(&context.gateway.registry.catalog());
    let values: Vec<Value> = all.iter().map(|(group, versions)| group_value(group, versions)).collect();
    reply::json(200, &json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": values}))
}

/// `/apis/<group>`.
pub fn group(context: &Context, wanted: &str) -> Result<Response, Status> {
    let all = groups(&context.gateway.registry.catalog());
    let (group, versions) =
        all.iter().find(|(group, _)| group == wanted).ok_or_else(Status::no_such_resource)?;
    let mut value = group_value(group, versions);
    value["kind"] = "APIGroup".into();
    value["apiVersion"] = "v1".into();
    Ok(reply::json(200, &value))
}

/// `/api/v1` and `/apis/<group>/<version>`.
pub fn resources(context: &Context, group: &str, version: &str) -> Result<Response, Status> {
    let catalog = context.gateway.registry.catalog();
    let rows: Vec<_> = catalog.rows().iter().filter(|r| r.group == group && r.version == version).collect();
    let first = rows.first().ok_or_else(Status::no_such_resource)?;
    let mut list: Vec<Value> = rows.iter().flat_map(|row| entries(row)).collect();
    list.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    Ok(reply::json(
        200,
        &json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": first.api_version(), "resources": list}),
    ))
}

fn entries(row: &Resource) -> Vec<Value> {
    let mut main = json!({
        "name": row.plural,
        "singularName": row.singular,
        "namespaced": row.namespaced,
        "kind": row.kind,
        "verbs": row.verbs,
    });
    if !row.short_names.is_empty() {
        main["shortNames"] = json!(row.short_names);
    }
    if !row.categories.is_empty() {
        main["categories"] = json!(row.categories);
    }
    if row.place.is_some() {
        main["storageVersionHash"] = super::digest(row.api_version().as_bytes())[..12].into();
    }
    let mut out = vec![main];
    for sub in &row.subresources {
        let mut entry = json!({
            "name": format!("{}/{}", row.plural, sub.name),
            "singularName": "",
            "namespaced": row.namespaced,
            "kind": sub.kind.kind,
            "verbs": sub.verbs,
        });
        if sub.kind.group != row.group || sub.kind.version != row.version {
            entry["group"] = sub.kind.group.clone().into();
            entry["version"] = sub.kind.version.clone().into();
        }
        out.push(entry);
    }
    out
}
