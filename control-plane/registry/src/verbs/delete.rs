//! Delete: preconditions, propagation, grace, finalizers, and then the object.

use std::sync::Arc;

use api::{Status, meta, objects::Target, status::Cause};
use serde_json::{Value, json};

use super::{Core, commit, commit::Write, core::check_scope, facet::Facet, modify::is_finished};
use crate::{
    Resource,
    admission::{self, Operation, Request},
    clock,
    contract::{Caller, Deleted, Encoded, WriteOptions},
    limits,
    storage::{Outcome, codec},
    strategy::{
        Grace,
        rules::{items, text},
    },
    tree::{set, take},
};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// `DeleteOptions`, parsed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wish {
    grace_s: Option<i64>,
    uid: String,
    resource_version: String,
    propagation: Option<Propagation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Propagation {
    Background,
    Foreground,
    Orphan,
}

impl Wish {
    /// Reads and checks `DeleteOptions`.
    pub(super) fn parse(options: &Value) -> Result<Self, Status> {
        if !options.is_object() && !options.is_null() {
            return Err(Status::bad_request("DeleteOptions must be a JSON object"));
        }
        let invalid = |cause| Status::invalid("meta.k8s.io", "DeleteOptions", "", vec![cause]);
        let orphan = options.get("orphanDependents").and_then(Value::as_bool);
        let policy = text(options, "/propagationPolicy");
        if orphan.is_some() && !policy.is_empty() {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            return Err(invalid(Cause::invalid("propagationPolicy", &policy.into(), why)));
        }
        let propagation = match (policy, orphan) {
            ("", None) => None,
            ("", Some(true)) | ("Orphan", _) => Some(Propagation::Orphan),
            ("", Some(false)) | ("Background", _) => Some(Propagation::Background),
            ("Foreground", _) => Some(Propagation::Foreground),
            (other, _) => {
                let supported = ["Background", "Foreground", "Orphan"];
                return Err(invalid(Cause::not_supported("propagationPolicy", &other.into(), &supported)));
            }
        };
        let grace_s = match options.get("gracePeriodSeconds") {
            None | Some(Value::Null) => None,
            Some(value) => Some(
                value
                    .as_i64()
                    .ok_or_else(|| Status::bad_request("gracePeriodSeconds must be a whole number"))?,
            ),
        };
        Ok(Self {
            grace_s,
            uid: text(options, "/preconditions/uid").to_owned(),
            resource_version: text(options, "/preconditions/resourceVersion").to_owned(),
            propagation,
        })
    }

    fn check(&self, row: &Resource, object: &Value) -> Result<(), Status> {
        let differs = |what: &str, wanted: &str, is: &str| {
            let why = format!(
                "the {what} in the precondition ({wanted}) does not match the {what} in record ({is}). The object might have been deleted and then recreated"
            );
            Status::conflict(&row.group_resource(), meta::name(object), &why)
        };
        if !self.uid.is_empty() && self.uid != meta::uid(object) {
            return Err(differs("UID", &self.uid, meta::uid(object)));
        }
        if !self.resource_version.is_empty() && self.resource_version != meta::resource_version(object) {
            return Err(differs("ResourceVersion", &self.resource_version, meta::resource_version(object)));
        }
        Ok(())
    }

    /// The finalizers after the deletion was asked for, if that changes them.
    fn finalizers(&self, row: &Resource, object: &Value) -> Option<Vec<String>> {
        let before: Vec<String> = meta::finalizers(object).map(str::to_owned).collect();
        let has = |name: &str| before.iter().any(|f| f == name);
        let keep = match self.propagation {
            Some(Propagation::Orphan) => Some(ORPHAN),
            Some(Propagation::Foreground) => Some(FOREGROUND),
            Some(Propagation::Background) => None,
            None if has(ORPHAN) => Some(ORPHAN),
            None if has(FOREGROUND) => Some(FOREGROUND),
            None if row.strategy.orphans_by_default() => Some(ORPHAN),
            None => None,
        };
        let mut after: Vec<String> =
            before.iter().filter(|f| *f != ORPHAN && *f != FOREGROUND).cloned().collect();
        after.extend(keep.map(str::to_owned));
        (after != before).then_some(after)
    }
}

enum Attempt {
    Done(Deleted),
    Beaten(Option<Arc<Encoded>>),
    Again,
}

/// See [`crate::Registry::delete`].
pub(crate) async fn delete(
    core: &Core,
    caller: &Caller,
    target: &Target,
    delete_options: Value,
    options: &WriteOptions,
) -> Result<Deleted, Status> {
    let row = core.row(&target.scope)?;
    if row.place.is_none() || !row.serves("delete") || !target.subresource.is_empty() {
        return Err(Status::method_not_allowed(&row.group_resource(), "delete"));
    }
    check_scope(&row, &target.scope.namespace, true)?;
    let wish = Wish::parse(&delete_options)?;
    let mut options = options.clone();
    options.dry_run |= items(delete_options.get("dryRun")).any(|stage| stage == "All");
    one(core, caller, &row, target, &wish, &options).await
}

/// Deletes one object.
pub(super) async fn one(
    core: &Core,
    caller: &Caller,
    row: &Resource,
    target: &Target,
    wish: &Wish,
    options: &WriteOptions,
) -> Result<Deleted, Status> {
    let (namespace, name) = (&target.scope.namespace, &target.name);
    let cache = core.cache(row)?;
    let mut fresh = !cache.is_filled();
    let mut current = match fresh {
        true => core.storage.read(&cache, namespace, name).await?,
        false => cache.get(namespace, name),
    };
    for round in 0..limits::WRITE_ATTEMPTS_MAX {
        let result = match &current {
            Some(current) => attempt(core, caller, row, target, wish, options, current, round > 0).await,
            None if fresh => return Err(Status::not_found(&row.group_resource(), name)),
            None => Ok(Attempt::Again),
        };
        match result {
            Ok(Attempt::Done(deleted)) => return Ok(deleted),
            Ok(Attempt::Beaten(found)) => current = found,
            Err(status) if fresh => return Err(status),
            Ok(Attempt::Again) | Err(_) => current = core.storage.read(&cache, namespace, name).await?,
        }
        fresh = true;
    }
    Err(Status::modified(&row.group_resource(), name))
}

#[expect(clippy::too_many_arguments, reason = "the parts of one request; a struct would only rename them")]
async fn attempt(
    core: &Core,
    caller: &Caller,
    row: &Resource,
    target: &Target,
    wish: &Wish,
    options: &WriteOptions,
    current: &Encoded,
    retry: bool,
) -> Result<Attempt, Status> {
    let old = codec::tree(&current.json)?;
    wish.check(row, &old)?;
    let now = clock::now();
    let write = Write { core, caller, row, target, options, facet: Facet::Main, now: &now, applied: true };
    let request = Request {
        core,
        caller,
        row,
        namespace: &target.scope.namespace,
        name: &target.name,
        subresource: "",
        operation: Operation::Delete,
        old: Some(&old),
    };
    admission::delete(&request).await?;
    let outcome = match marked(row, wish, &old, &now) {
        Marked::Go => write.remove(&old, current.revision, retry).await?,
        Marked::Unchanged => {
            return Ok(Attempt::Done(Deleted::Terminating(commit::show(
                row,
                Facet::Main,
                current.json.clone(),
            )?)));
        }
        Marked::Stay(object) => {
            let mutated = admission::terminating(object);
            write.put(Some(&old), current.revision, mutated, retry).await?
        }
    };
    Ok(match outcome {
        Outcome::Done { stored, .. } if stored.is_empty() => Attempt::Done(Deleted::Gone(Status::success(
            &row.group_resource(),
            meta::name(&old),
            meta::uid(&old),
        ))),
        Outcome::Done { revision, stored } => {
            Attempt::Done(Deleted::Terminating(write.answer(&stored, revision)?))
        }
        Outcome::Conflict(found) => Attempt::Beaten(found.and_then(|kv| core.cache(row).ok()?.object(&kv))),
        Outcome::SideConflict => Attempt::Again,
    })
}

/// What a deletion makes of an object.
#[derive(Debug, PartialEq)]
enum Marked {
    /// Nothing holds it.
    Go,
    /// It is terminating already, and this changes nothing.
    Unchanged,
    /// It stays, so marked.
    Stay(Value),
}

/// Decides how a deletion goes.
fn marked(row: &Resource, wish: &Wish, old: &Value, now: &str) -> Marked {
    let mut object = old.clone();
    if let Some(finalizers) = wish.finalizers(row, old) {
        match finalizers.is_empty() {
            true => _ = take(&mut object, &["metadata", "finalizers"]),
            false => set(&mut object, &["metadata", "finalizers"], json!(finalizers)),
        }
    }
    let grace_s = match row.strategy.grace(old, wish.grace_s) {
        Grace::None => 0,
        Grace::Seconds(seconds) => seconds,
    };
    if meta::is_terminating(old) {
        shorten(&mut object, old, grace_s, wish.grace_s.is_some());
    } else {
        set(&mut object, &["metadata", "deletionTimestamp"], clock::after(now, grace_s));
        set(&mut object, &["metadata", "deletionGracePeriodSeconds"], grace_s);
        if row.strategy.has_generation() {
            set(&mut object, &["metadata", "generation"], meta::generation(old) + 1);
        }
        row.strategy.prepare_terminating(&mut object);
    }
    if is_finished(row, &object) {
        Marked::Go
    } else if object == *old {
        Marked::Unchanged
    } else {
        Marked::Stay(object)
    }
}

/// A second deletion may shorten the grace period of the first, never prolong it.
fn shorten(object: &mut Value, old: &Value, grace_s: i64, asked: bool) {
    let before_s = old.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0);
    if !asked || grace_s >= before_s {
        return;
    }
    let due = text(old, "/metadata/deletionTimestamp");
    set(object, &["metadata", "deletionTimestamp"], clock::after(due, grace_s - before_s));
    set(object, &["metadata", "deletionGracePeriodSeconds"], grace_s);
}
