//! What every cluster has from the first moment: namespaces, roles, priority classes and the service of the
//! API itself.
//!
//! Everything here goes through the verbs, as the user `system:apiserver`, and is safe to repeat: every server
//! does it at every start.

mod objects;
mod roles;
mod servers;

use api::{GroupVersionKind, Reason, Status, objects::Target};
use serde_json::Value;

pub use servers::publish_servers;

use crate::{Caller, Registry, WriteOptions};

/// Who acts.
pub(crate) fn caller() -> Caller {
    Caller {
        user: "system:apiserver".into(),
        uid: String::new(),
        groups: vec!["system:masters".into(), "system:authenticated".into()],
    }
}

fn write_options() -> WriteOptions {
    WriteOptions { field_manager: "kontiki".into(), ..WriteOptions::default() }
}

/// Creates what is missing of the objects every cluster has, and repairs what is held by Services. Safe to
/// call from every server, at any time.
pub async fn ensure(registry: &Registry) -> Result<(), Status> {
    registry.ready().await?;
    for object in objects::all(registry.options()).into_iter().chain(roles::all()) {
        create_missing(registry, object).await?;
    }
    registry.repair_claims().await
}

fn target_of(registry: &Registry, object: &Value) -> Result<Target, Status> {
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or("");
    let kind = GroupVersionKind::from_api_version(text("apiVersion"), text("kind"));
    let catalog = registry.catalog();
    let row = catalog.by_kind(&kind).ok_or_else(Status::no_such_resource)?;
    Ok(Target::new(row.gvr(), api::meta::namespace(object), api::meta::name(object)))
}

async fn create_missing(registry: &Registry, object: Value) -> Result<(), Status> {
    let target = target_of(registry, &object)?;
    // The cache spares a server that starts into an old cluster a hundred transactions.
    if let Some(snapshot) = registry.cached(&target.scope.resource)
        && snapshot.get(&target.scope.namespace, &target.name).is_some()
    {
        return Ok(());
    }
    match registry.create(&caller(), &target, object, &write_options()).await {
        Err(status) if !status.is(Reason::AlreadyExists) => Err(status),
        Ok(_) | Err(_) => Ok(()),
    }
}
