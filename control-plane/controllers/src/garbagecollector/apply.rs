//! Finds out about owners, deletes, and clears finalizers.

use api::{
    Reason, Status,
    objects::{PatchType, Target},
};
use bytes::Bytes;
use client::{
    Error,
    driver::After,
    informer::PartialObject,
    typed::{Deletion, decode},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::{Value, json};

use super::{Controller, Item, plan};
use crate::limits;

impl Controller {
    pub(super) async fn apply(&self, item: &Item, object: &PartialObject) -> Result<After, Error> {
        let meta = &object.metadata;
        if plan::orphans_dependents(meta) {
            return self.orphan(item, meta).await;
        }
        if plan::waits_for_dependents(meta) {
            return self.finish_foreground(item, meta).await;
        }
        if meta.deletion_timestamp.is_some() {
            return Ok(After::Change);
        }
        let mut owners = Vec::new();
        let mut unresolved = false;
        for owner in meta.owner_references.iter().flatten() {
            match self.state_of(meta, owner).await? {
                Some(state) => owners.push((owner, state)),
                // A kind nobody knows (yet): its owner counts as there, and is looked for again.
                None => {
                    unresolved = true;
                    owners.push((owner, plan::Owner::Solid));
                }
            }
        }
        let has_dependents = !self.graph.dependents(meta.uid.as_deref().unwrap_or("")).is_empty();
        match plan::judge(meta, &owners, has_dependents) {
            plan::Verdict::Keep => {}
            plan::Verdict::Unlink(uids) => self.unlink(item, meta, &uids).await?,
            plan::Verdict::Delete(propagation) => {
                let uid = meta.uid.as_deref().unwrap_or("");
                let deletion = Deletion { propagation: Some(propagation), ..Deletion::of_uid(uid) };
                let outcome = self
                    .client
                    .objects()
                    .delete(&target(item), deletion.body(), self.client.write_options())
                    .await;
                gone_is_fine(item, "delete", outcome)?;
            }
        }
        Ok(if unresolved { After::Delay(limits::OWNER_RECHECK) } else { After::Change })
    }

    /// `None` if the owner's kind is unknown. The cache may say that an owner is there; that it is not, only
    /// the API may say.
    async fn state_of(
        &self,
        meta: &ObjectMeta,
        owner: &OwnerReference,
    ) -> Result<Option<plan::Owner>, Error> {
        let Some(kind) = self.kinds.find(&owner.api_version, &owner.kind) else { return Ok(None) };
        let namespace = if kind.namespaced { meta.namespace.as_deref().unwrap_or("") } else { "" };
        if kind.namespaced && namespace.is_empty() {
            return Ok(None);
        }
        let item = Item { resource: kind.resource, key: client::ObjectKey::new(namespace, &owner.name) };
        let cached = self.graph.get(&item).filter(|o| o.metadata.uid.as_ref() == Some(&owner.uid));
        if let Some(cached) = cached {
            return Ok(Some(present(&cached.metadata)));
        }
        match self.client.objects().get(&target(&item)).await {
            Ok(body) => {
                let found: PartialObject = decode(&body)?;
                let same = found.metadata.uid.as_ref() == Some(&owner.uid);
                Ok(Some(if same { present(&found.metadata) } else { plan::Owner::Absent }))
            }
            Err(status) if status.is(Reason::NotFound) => Ok(Some(plan::Owner::Absent)),
            Err(status) => Err(failed(&item, "get owner", status)),
        }
    }

    /// The object waits for its dependents: sends those that block it away, and lets it go after the last.
    async fn finish_foreground(&self, item: &Item, meta: &ObjectMeta) -> Result<After, Error> {
        let uid = meta.uid.as_deref().unwrap_or("");
        let mut blocked = false;
        for dependent in self.graph.dependents(uid) {
            let Some(object) = self.graph.get(&dependent) else { continue };
            let blocks = |o: &OwnerReference| o.uid == uid && o.block_owner_deletion == Some(true);
            blocked |= object.metadata.owner_references.iter().flatten().any(blocks);
            if object.metadata.deletion_timestamp.is_none() {
                Box::pin(self.apply(&dependent, &object)).await?;
            }
        }
        if !blocked {
            self.remove_finalizer(item, meta, plan::FOREGROUND).await?;
            return Ok(After::Change);
        }
        Ok(After::Delay(limits::OWNER_RECHECK))
    }

    /// The object's dependents are to be left alone: they forget it, then it may go.
    async fn orphan(&self, item: &Item, meta: &ObjectMeta) -> Result<After, Error> {
        let uid = meta.uid.clone().unwrap_or_default();
        for dependent in self.graph.dependents(&uid) {
            if let Some(object) = self.graph.get(&dependent) {
                self.unlink(&dependent, &object.metadata, std::slice::from_ref(&uid)).await?;
            }
        }
        self.remove_finalizer(item, meta, plan::ORPHAN).await?;
        Ok(After::Change)
    }

    async fn unlink(&self, item: &Item, meta: &ObjectMeta, uids: &[String]) -> Result<(), Error> {
        let left: Vec<&OwnerReference> =
            meta.owner_references.iter().flatten().filter(|o| !uids.contains(&o.uid)).collect();
        self.patch(item, meta, json!({"ownerReferences": left})).await
    }

    async fn remove_finalizer(&self, item: &Item, meta: &ObjectMeta, finalizer: &str) -> Result<(), Error> {
        let left: Vec<&String> = meta.finalizers.iter().flatten().filter(|f| *f != finalizer).collect();
        self.patch(item, meta, json!({"finalizers": left})).await
    }

    /// Patches metadata of exactly the state we saw.
    async fn patch(&self, item: &Item, meta: &ObjectMeta, mut metadata: Value) -> Result<(), Error> {
        metadata["uid"] = json!(meta.uid);
        metadata["resourceVersion"] = json!(meta.resource_version);
        let body = Bytes::from(json!({"metadata": metadata}).to_string());
        let options = self.client.write_options();
        let outcome = self.client.objects().patch(&target(item), PatchType::Merge, body, options).await;
        gone_is_fine(item, "patch", outcome)
    }
}

fn target(item: &Item) -> Target {
    Target::new(item.resource.clone(), &item.key.namespace, &item.key.name)
}

fn present(meta: &ObjectMeta) -> plan::Owner {
    if plan::waits_for_dependents(meta) { plan::Owner::Waiting } else { plan::Owner::Solid }
}

fn gone_is_fine(item: &Item, doing: &'static str, outcome: Result<Bytes, Status>) -> Result<(), Error> {
    match outcome {
        Err(status) if !status.is(Reason::NotFound) => Err(failed(item, doing, status)),
        _ => Ok(()),
    }
}

fn failed(item: &Item, doing: &'static str, source: Status) -> Error {
    let what = format!("{} {}", item.resource.group_resource(), item.key);
    Error::Api { doing, what, source: Box::new(source) }
}
