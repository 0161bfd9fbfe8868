//! Server-side apply: who owns which field, and what an applied configuration changes.
//!
//! ```text
//!   live object + managedFields        configuration of manager M
//!            \                                /
//!             merge by the schema  ->  prune what M owned and no longer names
//!                        |
//!             compare with live  ->  fields of other managers that changed = conflicts (or taken by force)
//!                        |
//!             managedFields: M owns exactly what it named
//! ```
//!
//! The semantics are those of sigs.k8s.io/structured-merge-diff: [`set`] holds sets of field paths, [`walk`]
//! computes them from objects and their differences, [`managed`] reads and writes `metadata.managedFields`.
//! Everything here is a pure function; the time is passed in.

use serde_json::Value;

use crate::{
    schema::{Table, TypeId},
    status::{Cause, CauseType, Details, Reason, Status},
};

pub mod managed;
pub mod set;
pub mod walk;

use managed::{Managers, Operation};
use set::Set;

/// Who writes, as recorded in `metadata.managedFields`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager<'a> {
    /// `fieldManager` of the request.
    pub name: &'a str,
    /// The version the manager speaks, such as `apps/v1`.
    pub api_version: &'a str,
    /// `status`, `scale`, ... or empty.
    pub subresource: &'a str,
    /// Now, as RFC 3339 with seconds.
    pub time: &'a str,
}

/// Merges the configuration `applied` of a manager into `live` (or creates from it). The result carries the
/// new `managedFields`. Conflicts are a 409 with one cause per field, unless `force` is set.
pub fn apply(
    table: &Table,
    ty: TypeId,
    live: Option<&Value>,
    applied: &Value,
    manager: &Manager<'_>,
    force: bool,
) -> Result<Value, Status> {
    if applied
        .pointer("/metadata/managedFields")
        .is_some_and(|fields| fields.as_array().is_none_or(|f| !f.is_empty()))
    {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let empty = Value::Object(serde_json::Map::new());
    let live = live.unwrap_or(&empty);
    let mut managers = Managers::read(live)?;
    let mut named = walk::fields(table, ty, applied);
    named.strip_identity();
    let before = managers.take_apply(manager);
    let mut merged = walk::merge(table, ty, live, applied);
    if let Some(before) = &before {
        let stale = before.minus(&named).minus(&managers.union());
        walk::remove(table, ty, &mut merged, &stale, &managers.union());
    }
    let difference = walk::compare(table, ty, live, &merged);
    let changed = difference.changed().intersect(&named);
    let conflicts = managers.conflicts(&changed);
    if !conflicts.is_empty() && !force {
        return Err(conflict(&conflicts));
    }
    managers.give_up(&changed);
    managers.give_up(&difference.removed);
    managers.put(manager, Operation::Apply, named);
    managers.write(&mut merged);
    Ok(merged)
}

/// Records in `new` that `manager` wrote, by create, update or patch, what differs from `live`.
pub fn track(
    table: &Table,
    ty: TypeId,
    live: Option<&Value>,
    new: &mut Value,
    manager: &Manager<'_>,
) -> Result<(), Status> {
    let empty = Value::Object(serde_json::Map::new());
    let given =
        new.get_mut("metadata").and_then(Value::as_object_mut).and_then(|m| m.remove("managedFields"));
    // Sending an empty list resets the record; sending a changed one replaces it; anything else is ignored, as
    // a client that never saw the field must not erase it.
    let mut managers = match (&given, live) {
        (Some(Value::Array(entries)), _) if is_reset(entries) => Managers::default(),
        (Some(entries), Some(_)) => {
            Managers::parse(entries).or_else(|_| Managers::read(live.unwrap_or(&empty)))?
        }
        (_, Some(live)) => Managers::read(live)?,
        (_, None) => Managers::default(),
    };
    let mut difference = walk::compare(table, ty, live.unwrap_or(&empty), new);
    difference.strip_identity();
    if !difference.is_empty() {
        let changed = difference.changed();
        managers.give_up_except(&changed, manager);
        managers.give_up(&difference.removed);
        managers.add_update(manager, changed);
    }
    managers.write(new);
    Ok(())
}

fn is_reset(entries: &[Value]) -> bool {
    match entries {
        [] => false,
        [only] => only.as_object().is_some_and(serde_json::Map::is_empty),
        _ => false,
    }
}

fn conflict(conflicts: &[(String, Set)]) -> Status {
    let mut causes = Vec::new();
    for (manager, fields) in conflicts {
        for path in fields.paths() {
            causes.push(Cause {
                kind: CauseType::FieldManagerConflict,
                message: format!("conflict with {manager}"),
                field: path,
            });
        }
    }
    let shown: Vec<String> = conflicts
        .iter()
        .map(|(manager, fields)| {
            let paths = fields.paths();
            match paths.as_slice() {
                [one] => format!("conflict with {manager}: {one}"),
                many => format!("conflicts with {manager}:\n- {}", many.join("\n- ")),
            }
        })
        .collect();
    let count = causes.len();
    let plural = if count == 1 { "conflict" } else { "conflicts" };
    let message = format!("Apply failed with {count} {plural}: {}", shown.join("\n"));
    let mut status = Status::failure(Reason::Conflict, message);
    status.details = Some(Box::new(Details { causes, ..Details::default() }));
    status
}

#[cfg(test)]
mod tests;
