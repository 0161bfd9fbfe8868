//! `/openapi/v2` and `/openapi/v3`, made from the schema table and the catalog.
//!
//! Documents are large and rarely asked for (kubectl keeps them by their hash), so they are made anew for each
//! request that needs the bytes; only their hashes are kept, for as long as the catalog stays the same.

use std::sync::Arc;

use api::{
    Status,
    openapi::{self, ResourceDoc, SubresourceDoc},
    schema::Table,
};
use bytes::Bytes;
use http::{HeaderValue, header};
use parking_lot::Mutex;
use registry::{Catalog, Resource};

use super::tagged;
use crate::{
    gateway::Context,
    reply::{self, Response},
    rest::negotiate,
};

/// Hashes of the documents of one catalog.
#[derive(Default)]
pub struct Documents(Mutex<Option<Known>>);

struct Known {
    catalog: Arc<Catalog>,
    /// Path below `/openapi/v3` and hash.
    hashes: Arc<Vec<(String, String)>>,
}

impl Documents {
    fn known(&self, catalog: &Arc<Catalog>) -> Option<Arc<Vec<(String, String)>>> {
        let known = self.0.lock();
        known.as_ref().filter(|known| Arc::ptr_eq(&known.catalog, catalog)).map(|known| known.hashes.clone())
    }

    fn keep(&self, catalog: &Arc<Catalog>, hashes: &Arc<Vec<(String, String)>>) {
        *self.0.lock() = Some(Known { catalog: catalog.clone(), hashes: hashes.clone() });
    }
}

fn words(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}

fn describe(row: &Resource) -> ResourceDoc<'_> {
    let own = row.gvk();
    let subresources = row.subresources.iter().map(|sub| SubresourceDoc {
        name: &sub.name,
        api_version: if sub.kind == own { "" } else { api_version(&sub.kind.group, &sub.kind.version) },
        kind: if sub.kind == own { "" } else { &sub.kind.kind },
        verbs: words(&sub.verbs),
    });
    ResourceDoc {
        table: Table::builtin(),
        group: &row.group,
        version: &row.version,
        kind: &row.kind,
        plural: &row.plural,
        namespaced: row.namespaced,
        verbs: words(&row.verbs),
        subresources: subresources.collect(),
    }
}

/// `apiVersion` of the few kinds that subresources speak beside their own.
fn api_version(group: &str, version: &str) -> &'static str {
    match (group, version) {
        ("autoscaling", _) => "autoscaling/v1",
        ("policy", _) => "policy/v1",
        ("authentication.k8s.io", _) => "authentication.k8s.io/v1",
        _ => "v1",
    }
}

fn is_described(row: &Resource) -> bool {
    Table::builtin().kind(&row.gvk()).is_some()
}

fn group_document(catalog: &Catalog, group: &str, version: &str) -> Bytes {
    let rows = catalog.rows().iter().filter(|r| r.group == group && r.version == version && is_described(r));
    let docs: Vec<ResourceDoc<'_>> = rows.map(|row| describe(row)).collect();
    serde_json::to_vec(&openapi::v3::group_document(&docs)).expect("a tree can be written").into()
}

fn versions(catalog: &Catalog) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for row in catalog.rows() {
        let name = (row.group.clone(), row.version.clone());
        if !found.contains(&name) {
            found.push(name);
        }
    }
    found
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Status::internal("a document could not be made"))
}

async fn hashes(context: &Context) -> Result<Arc<Vec<(String, String)>>, Status> {
    let catalog = context.gateway.registry.catalog();
    let documents = &context.gateway.documents;
    if let Some(known) = documents.known(&catalog) {
        return Ok(known);
    }
    let of = catalog.clone();
    let made = blocking(move || {
        let hash = |(group, version): (String, String)| {
            let document = group_document(&of, &group, &version);
            (openapi::v3::path(&group, &version), openapi::v3::hash(&document))
        };
        Arc::new(versions(&of).into_iter().map(hash).collect::<Vec<_>>())
    })
    .await?;
    documents.keep(&catalog, &made);
    Ok(made)
}

/// `/openapi/v3`.
pub async fn v3_index(context: &Context) -> Result<Response, Status> {
    let hashes = hashes(context).await?;
    let index = openapi::v3::index(hashes.iter().map(|(path, hash)| (path.as_str(), hash.as_str())));
    Ok(reply::json(200, &index))
}

/// `/openapi/v3/api/v1` and `/openapi/v3/apis/<group>/<version>`. Asked for with its hash it may be kept forever.
pub async fn v3(context: &Context, group: &str, version: &str) -> Result<Response, Status> {
    let path = openapi::v3::path(group, version);
    let hashes = hashes(context).await?;
    let (_, hash) = hashes.iter().find(|(known, _)| *known == path).ok_or_else(Status::no_such_resource)?;
    let asked = context.query.get("hash");
    if let Some(stale) = asked.filter(|h| h != hash && !h.is_empty()) {
        tracing::debug!(stale, "an older OpenAPI document was asked for");
        let mut response = reply::empty(301);
        if let Ok(location) = HeaderValue::from_str(&format!("/openapi/v3/{path}?hash={hash}")) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        return Ok(response);
    }
    let catalog = context.gateway.registry.catalog();
    let (group, version) = (group.to_owned(), version.to_owned());
    let document = blocking(move || group_document(&catalog, &group, &version)).await?;
    let mut response = tagged(context, reply::JSON, document, hash);
    if asked.is_some() {
        let forever = HeaderValue::from_static("public, immutable");
        response.headers_mut().insert(header::CACHE_CONTROL, forever);
    }
    Ok(response)
}

/// `/openapi/v2`, as JSON or in the protobuf encoding that client-go prefers.
pub async fn v2(context: &Context) -> Result<Response, Status> {
    let protobuf = negotiate::accepted(&context.headers)
        .iter()
        .find_map(|range| match range.media.as_str() {
            media if media.starts_with("application/com.github.proto-openapi.spec.v2") => Some(true),
            "application/json" | "application/*" | "*/*" => Some(false),
            _ => None,
        })
        .unwrap_or(false);
    let catalog = context.gateway.registry.catalog();
    let (document, tag) = blocking(move || {
        let rows = catalog.rows().iter().filter(|row| is_described(row));
        let docs: Vec<ResourceDoc<'_>> = rows.map(|row| describe(row)).collect();
        let document = openapi::v2::document(&docs);
        let bytes = match protobuf {
            true => openapi::gnostic::encode(&document),
            false => serde_json::to_vec(&document).expect("a tree can be written"),
        };
        let tag = openapi::v3::hash(&bytes);
        (bytes, tag)
    })
    .await?;
    let content_type = if protobuf { openapi::gnostic::MEDIA_TYPE } else { reply::JSON };
    Ok(tagged(context, content_type, document.into(), &tag))
}
