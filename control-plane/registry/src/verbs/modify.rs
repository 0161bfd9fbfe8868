//! The loop behind every change of an object that exists: read, change, compare, write, or begin again.
//!
//! The first attempt starts from the watch cache, which may be a moment old. That is safe, because the
//! transaction compares the revision; an error found on such a state is checked on a fresh one before the
//! caller hears of it.

use std::sync::Arc;

use api::{Status, meta, objects::Target};
use serde_json::Value;

use super::{Core, commit::Write, facet::Facet, metadata};
use crate::{
    Resource,
    admission::Operation,
    clock,
    contract::{Caller, Encoded, WriteOptions, Written},
    limits,
    storage::{Outcome, codec},
    strategy::rules::items,
    tree::{set, take},
};

/// What a change proposes: the whole object in its stored version, as the facet's writer wants it.
pub(super) struct Proposal {
    pub(super) object: Value,
    pub(super) warnings: Vec<String>,
    /// Whether `managedFields` are written already, by an apply.
    pub(super) applied: bool,
}

/// What became of one attempt.
enum Attempt {
    Done(Written),
    /// Somebody was faster; this is what is there now.
    Beaten(Option<Arc<Encoded>>),
    /// Something beside the object was in the way.
    Again,
}

/// A change of one object.
pub(super) struct Modify<'a> {
    pub(super) core: &'a Core,
    pub(super) caller: &'a Caller,
    pub(super) row: &'a Resource,
    pub(super) target: &'a Target,
    pub(super) options: &'a WriteOptions,
    pub(super) facet: Facet,
}

impl Modify<'_> {
    /// Runs `change` on the current object until the result could be written. `Ok(None)`: there is no object.
    pub(super) async fn run(
        &self,
        mut change: impl FnMut(&Value) -> Result<Proposal, Status> + Send,
    ) -> Result<Option<Written>, Status> {
        let (namespace, name) = (&self.target.scope.namespace, &self.target.name);
        let cache = self.core.cache(self.row)?;
        let mut fresh = !cache.is_filled();
        let mut current = match fresh {
            true => self.core.storage.read(&cache, namespace, name).await?,
            false => cache.get(namespace, name),
        };
        for attempt in 0..limits::WRITE_ATTEMPTS_MAX {
            let result = match &current {
                Some(current) => self.attempt(current, &mut change, attempt > 0).await,
                None if fresh => return Ok(None),
                None => Ok(Attempt::Again),
            };
            match result {
                Ok(Attempt::Done(written)) => return Ok(Some(written)),
                Ok(Attempt::Beaten(found)) => current = found,
                Err(status) if fresh => return Err(status),
                Ok(Attempt::Again) | Err(_) => {
                    current = self.core.storage.read(&cache, namespace, name).await?
                }
            }
            fresh = true;
        }
        Err(Status::modified(&self.row.group_resource(), name))
    }

    async fn attempt(
        &self,
        current: &Encoded,
        change: &mut (impl FnMut(&Value) -> Result<Proposal, Status> + Send),
        retry: bool,
    ) -> Result<Attempt, Status> {
        let old = codec::tree(&current.json)?;
        let now = clock::now();
        let Proposal { object: mut new, mut warnings, applied } = change(&old)?;
        let write = Write {
            core: self.core,
            caller: self.caller,
            row: self.row,
            target: self.target,
            options: self.options,
            facet: self.facet,
            now: &now,
            applied,
        };
        metadata::carry_over(self.row, &old, &mut new)?;
        match self.facet {
            Facet::Main | Facet::Scale | Facet::EphemeralContainers | Facet::Resize => {
                self.row.strategy.prepare_update(write.context(), &old, &mut new);
                metadata::count_generation(self.row, &old, &mut new);
            }
            Facet::Status | Facet::Approval => {
                self.row.strategy.prepare_status(write.context(), &old, &mut new)
            }
            Facet::Finalize => {}
        }
        let mut mutated = write.mutate(Operation::Update, Some(&old), new).await?;
        write.validate(Some(&old), mutated.object())?;
        let unchanged = is_unchanged(&old, mutated.object_mut(), applied);
        if unchanged && !is_finished(self.row, mutated.object()) {
            let json = super::commit::show(self.row, self.facet, current.json.clone())?;
            return Ok(Attempt::Done(Written { json, warnings, created: false }));
        }
        write.track(Some(&old), mutated.object_mut())?;
        warnings.extend(if self.facet == Facet::Main {
            self.row.strategy.warnings(mutated.object())
        } else {
            Vec::new()
        });
        let outcome = if is_finished(self.row, mutated.object()) {
            // The last finalizer went: so does the object, and the writer sees its last state.
            let last = mutated.object().clone();
            match write.remove(&old, current.revision, retry).await? {
                Outcome::Done { revision, .. } => Outcome::Done { revision, stored: codec::encode(&last)? },
                other => other,
            }
        } else {
            write.put(Some(&old), current.revision, mutated, retry).await?
        };
        Ok(match outcome {
            Outcome::Done { revision, stored } => {
                Attempt::Done(Written { json: write.answer(&stored, revision)?, warnings, created: false })
            }
            Outcome::Conflict(found) => {
                let cache = self.core.cache(self.row)?;
                Attempt::Beaten(found.and_then(|kv| cache.object(&kv)))
            }
            Outcome::SideConflict => Attempt::Again,
        })
    }
}

/// Whether a terminating object has nothing left to wait for.
pub(super) fn is_finished(row: &Resource, object: &Value) -> bool {
    meta::is_terminating(object)
        && meta::finalizers(object).next().is_none()
        && object.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0) == 0
        && !row.strategy.is_held(object)
}

/// Whether a write would change nothing but the record of who wrote when.
fn is_unchanged(old: &Value, new: &mut Value, applied: bool) -> bool {
    let record = take(new, &["metadata", "managedFields"]);
    let before = old.pointer("/metadata/managedFields");
    let same_record = match (&record, before) {
        (None, _) => true,
        (Some(record), Some(before)) if applied => is_same_record(record, before),
        (Some(record), Some(before)) => record == before,
        (Some(_), None) => false,
    };
    let same = same_record && {
        let (Some(a), Some(b)) = (old.as_object(), new.as_object()) else { return false };
        let rest = |key: &&String| *key != "metadata";
        a.keys().filter(rest).eq(b.keys().filter(rest))
            && a.iter().filter(|(key, _)| *key != "metadata").all(|(key, value)| b.get(key) == Some(value))
            && is_same_metadata(a.get("metadata"), b.get("metadata"))
    };
    if let Some(record) = record {
        set(new, &["metadata", "managedFields"], record);
    }
    same
}

fn is_same_metadata(old: Option<&Value>, new: Option<&Value>) -> bool {
    let (Some(Value::Object(old)), Some(Value::Object(new))) = (old, new) else { return false };
    let kept = |key: &&String| *key != "managedFields";
    old.keys().chain(new.keys()).filter(kept).all(|key| old.get(key) == new.get(key))
}

fn is_same_record(a: &Value, b: &Value) -> bool {
    let timeless = |record: &Value| -> Vec<Value> {
        let mut entries: Vec<Value> = items(Some(record)).cloned().collect();
        entries.iter_mut().for_each(|entry| _ = take(entry, &["time"]));
        entries
    };
    timeless(a) == timeless(b)
}
