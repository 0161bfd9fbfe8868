//! Which children belong to an owner: adoption of orphans that match, release of children that no longer do.
//!
//! Pure; the rules are upstream's controller reference rules. A child is known by its owner's UID, never by name.

use std::sync::Arc;

use client::{
    Client, Error, Object, labels,
    refs::{self, controller_of},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
use serde_json::json;

use crate::environment::patch_seen;

/// What an owner should do about the objects that might be its children.
pub(crate) struct Claim<K> {
    /// Its children.
    pub(crate) mine: Vec<Arc<K>>,
    /// Orphans that match its selector.
    pub(crate) adopt: Vec<Arc<K>>,
    /// Children that no longer match.
    pub(crate) release: Vec<Arc<K>>,
}

/// Sorts candidates for the owner with this UID.
pub(crate) fn claim<K: Object>(
    owner_uid: &str,
    owner_ends: bool,
    selector: &LabelSelector,
    candidates: Vec<Arc<K>>,
) -> Claim<K> {
    let mut claim = Claim { mine: Vec::new(), adopt: Vec::new(), release: Vec::new() };
    for object in candidates {
        let meta = object.metadata();
        let selected = labels::matches(selector, meta.labels.as_ref());
        match controller_of(meta) {
            Some(owner) if owner.uid != owner_uid => {}
            Some(_) if selected => claim.mine.push(object),
            Some(_) if owner_ends => {}
            Some(_) => claim.release.push(object),
            None if selected && !owner_ends && meta.deletion_timestamp.is_none() => claim.adopt.push(object),
            None => {}
        }
    }
    claim
}

/// Makes the adoptions and releases true, and answers all children. The owner is read again before the first
/// adoption: a stale cache must not adopt for an owner that is gone.
pub(crate) async fn settle<O: Object, K: Object>(
    client: &Client,
    owner: &O,
    claim: Claim<K>,
) -> Result<Vec<Arc<K>>, Error> {
    let mut mine = claim.mine;
    for child in &claim.release {
        let owners = without(child.metadata().owner_references.as_deref().unwrap_or(&[]), refs::uid(owner));
        let released = patch_seen(client, &**child, json!({"metadata": {"ownerReferences": owners}})).await;
        if let Err(error) = released
            && !error.is_not_found()
        {
            return Err(error);
        }
    }
    if !claim.adopt.is_empty() && may_adopt(client, owner).await? {
        for orphan in &claim.adopt {
            let mut owners = orphan.metadata().owner_references.clone().unwrap_or_default();
            owners.push(refs::controller_reference(owner));
            match patch_seen(client, &**orphan, json!({"metadata": {"ownerReferences": owners}})).await {
                Ok(adopted) => mine.push(Arc::new(adopted)),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(mine)
}

async fn may_adopt<O: Object>(client: &Client, owner: &O) -> Result<bool, Error> {
    let fresh = client.find::<O>(refs::namespace(owner), refs::name(owner)).await?;
    Ok(fresh.is_some_and(|fresh| refs::uid(&fresh) == refs::uid(owner) && !refs::is_terminating(&fresh)))
}

fn without(owners: &[OwnerReference], uid: &str) -> Vec<OwnerReference> {
    owners.iter().filter(|o| o.uid != uid).cloned().collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;

    use super::*;

    #[test]
    fn children_are_matched_by_uid_and_selector() {
        let selector: LabelSelector = serde_json::from_value(json!({"matchLabels": {"app": "web"}})).unwrap();
        let owned = |uid: &str| json!([{"apiVersion": "v1", "kind": "X", "name": "x", "uid": uid, "controller": true}]);
        let cases = [
            ("mine", json!({"labels": {"app": "web"}, "ownerReferences": owned("me")}), false, "mine"),
            ("foreign", json!({"labels": {"app": "web"}, "ownerReferences": owned("other")}), false, "none"),
            ("relabeled", json!({"labels": {"app": "db"}, "ownerReferences": owned("me")}), false, "release"),
            (
                "relabeled, owner ends",
                json!({"labels": {"app": "db"}, "ownerReferences": owned("me")}),
                true,
                "none",
            ),
            ("orphan", json!({"labels": {"app": "web"}}), false, "adopt"),
            ("orphan, owner ends", json!({"labels": {"app": "web"}}), true, "none"),
            (
                "ending",
                json!({"labels": {"app": "web"}, "deletionTimestamp": "2026-01-01T00:00:00Z"}),
                false,
                "none",
            ),
            ("unrelated", json!({"labels": {"app": "db"}}), false, "none"),
        ];
        for (name, metadata, owner_ends, expect) in cases {
            let pod: Pod = serde_json::from_value(json!({"metadata": metadata})).unwrap();
            let claim = claim("me", owner_ends, &selector, vec![Arc::new(pod)]);
            let lists =
                [("mine", claim.mine.len()), ("adopt", claim.adopt.len()), ("release", claim.release.len())];
            let found = lists.iter().find(|(_, n)| *n == 1).map_or("none", |(list, _)| list);
            assert_eq!(found, expect, "{name}");
        }
    }
}
