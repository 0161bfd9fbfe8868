//! Aggregated discovery: everything in one answer (`APIGroupDiscoveryList`), tagged so that clients cache it.

use api::Status;
use registry::{Catalog, Resource};
use serde_json::{Value, json};

use super::{digest, tagged};
use crate::{gateway::Context, reply::Response, rest::negotiate};

/// The aggregated form when the client prefers it, else `plain`.
pub fn or(context: &Context, plain: fn(&Context) -> Response, core: bool) -> Result<Response, Status> {
    for range in negotiate::accepted(&context.headers) {
        let aggregated = range.parameter("as") == "APIGroupDiscoveryList"
            && range.parameter("g") == "apidiscovery.k8s.io"
            && matches!(range.media.as_str(), "application/json" | "*/*");
        if aggregated {
            match range.parameter("v") {
                "v2" => return Ok(document(context, core, "v2")),
                "v2beta1" => return Ok(document(context, core, "v2beta1")),
                _ => {}
            }
        } else if range.parameters.is_empty()
            && matches!(range.media.as_str(), "application/json" | "application/*" | "*/*")
        {
            return Ok(plain(context));
        }
    }
    Ok(plain(context))
}

fn document(context: &Context, core: bool, version: &'static str) -> Response {
    let value = build(&context.gateway.registry.catalog(), core, version);
    let body = serde_json::to_vec(&value).expect("a tree of strings can be written");
    let tag = digest(&body);
    let content_type = match version {
        "v2" => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        _ => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
    };
    tagged(context, content_type, body.into(), &tag)
}

fn build(catalog: &Catalog, core: bool, version: &str) -> Value {
    let groups = match core {
        true => vec![(String::new(), vec!["v1".to_owned()])],
        false => super::groups::groups(catalog),
    };
    let items: Vec<Value> = groups
        .iter()
        .map(|(group, versions)| {
            let mut metadata = json!({"creationTimestamp": null});
            if !group.is_empty() {
                metadata["name"] = group.clone().into();
            }
            let versions: Vec<Value> = versions.iter().map(|v| of_version(catalog, group, v)).collect();
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {},
        "items": items,
    })
}

fn of_version(catalog: &Catalog, group: &str, version: &str) -> Value {
    let mut rows: Vec<&Resource> = catalog
        .rows()
        .iter()
        .filter(|r| r.group == group && r.version == version)
        .map(AsRef::as_ref)
        .collect();
    rows.sort_by(|a, b| a.plural.cmp(&b.plural));
    json!({"version": version, "freshness": "Current", "resources": rows.iter().map(|r| of_resource(r)).collect::<Vec<_>>()})
}

fn of_resource(row: &Resource) -> Value {
    let mut value = json!({
        "resource": row.plural,
        "responseKind": {"group": row.group, "version": row.version, "kind": row.kind},
        "scope": if row.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": row.singular,
        "verbs": row.verbs,
    });
    if !row.short_names.is_empty() {
        value["shortNames"] = json!(row.short_names);
    }
    if !row.categories.is_empty() {
        value["categories"] = json!(row.categories);
    }
    let subresources: Vec<Value> = row
        .subresources
        .iter()
        .map(|sub| {
            json!({
                "subresource": sub.name,
                "responseKind": {"group": sub.kind.group, "version": sub.kind.version, "kind": sub.kind.kind},
                "verbs": sub.verbs,
            })
        })
        .collect();
    if !subresources.is_empty() {
        value["subresources"] = json!(subresources);
    }
    value
}
