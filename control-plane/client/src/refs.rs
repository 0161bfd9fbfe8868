//! References between objects: who controls whom, and what an event is about.

use k8s_openapi::{
    api::core::v1::ObjectReference,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};

use crate::typed::Object;

/// `metadata.name`, or empty.
pub fn name<K: Object>(object: &K) -> &str {
    object.metadata().name.as_deref().unwrap_or("")
}

/// `metadata.namespace`, or empty.
pub fn namespace<K: Object>(object: &K) -> &str {
    object.metadata().namespace.as_deref().unwrap_or("")
}

/// `metadata.uid`, or empty.
pub fn uid<K: Object>(object: &K) -> &str {
    object.metadata().uid.as_deref().unwrap_or("")
}

/// `metadata.resourceVersion` as a number, 0 if it is none.
pub fn revision(meta: &ObjectMeta) -> u64 {
    meta.resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0)
}

/// Whether deletion has begun.
pub fn is_terminating<K: Object>(object: &K) -> bool {
    object.metadata().deletion_timestamp.is_some()
}

/// The one owner that manages the object.
pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|o| o.controller == Some(true))
}

/// Whether the object is managed by the owner with this UID.
pub fn is_controlled_by(meta: &ObjectMeta, uid: &str) -> bool {
    controller_of(meta).is_some_and(|owner| owner.uid == uid)
}

/// The reference that makes `owner` the managing owner of a child.
pub fn controller_reference<K: Object>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::API_VERSION.to_owned(),
        kind: K::KIND.to_owned(),
        name: name(owner).to_owned(),
        uid: uid(owner).to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// What an event about the object refers to.
pub fn object_reference<K: Object>(object: &K) -> ObjectReference {
    let meta = object.metadata();
    ObjectReference {
        api_version: Some(K::API_VERSION.to_owned()),
        kind: Some(K::KIND.to_owned()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}
