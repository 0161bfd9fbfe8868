//! `metadata.managedFields`: one entry per manager, operation, version and subresource.

use serde_json::{Value, json};

use super::{Manager, set::Set};
use crate::status::Status;

/// How a manager came to own its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// By server-side apply.
    Apply,
    /// By create, update or another patch.
    Update,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

#[derive(Clone, Debug)]
struct Entry {
    manager: String,
    operation: Operation,
    api_version: String,
    subresource: String,
    time: String,
    fields: Set,
}

impl Entry {
    fn is(&self, manager: &Manager<'_>, operation: Operation) -> bool {
        self.manager == manager.name
            && self.operation == operation
            && self.api_version == manager.api_version
            && self.subresource == manager.subresource
    }

    /// As upstream names the other side of a conflict.
    fn shown(&self) -> String {
        let mut shown = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            shown = format!("{shown} with subresource {:?}", self.subresource);
        }
        if self.operation == Operation::Update {
            shown = format!("{shown} using {}", self.api_version);
        }
        shown
    }
}

/// Most managers that wrote by update and are kept apart; older ones are folded into one, as upstream does.
const UPDATE_MANAGERS_MAX: usize = 10;

/// Everybody who owns fields of one object.
#[derive(Clone, Debug, Default)]
pub struct Managers {
    entries: Vec<Entry>,
}

impl Managers {
    /// Reads the record of an object; none is an empty record.
    pub fn read(object: &Value) -> Result<Self, Status> {
        object.pointer("/metadata/managedFields").map_or_else(|| Ok(Self::default()), Self::parse)
    }

    /// Reads the value of `metadata.managedFields`.
    pub fn parse(value: &Value) -> Result<Self, Status> {
        let mut entries = Vec::new();
        for entry in value.as_array().into_iter().flatten() {
            let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let operation = match text("operation").as_str() {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                other => {
                    return Err(Status::bad_request(format!(
                        "metadata.managedFields: invalid operation {other:?}"
                    )));
                }
            };
            let fields = entry
                .get("fieldsV1")
                .map_or_else(|| Some(Set::default()), Set::read)
                .ok_or_else(|| Status::bad_request("metadata.managedFields: fieldsV1 cannot be read"))?;
            entries.push(Entry {
                manager: text("manager"),
                operation,
                api_version: text("apiVersion"),
                subresource: text("subresource"),
                time: text("time"),
                fields,
            });
        }
        Ok(Self { entries })
    }

    /// Writes the record into an object; an empty record removes the field.
    pub fn write(mut self, object: &mut Value) {
        self.entries.retain(|entry| !entry.fields.is_empty());
        self.fold_old_updates();
        let Some(object) = object.as_object_mut() else { return };
        let metadata = object.entry("metadata").or_insert_with(|| json!({}));
        let Some(metadata) = metadata.as_object_mut() else { return };
        if self.entries.is_empty() {
            metadata.remove("managedFields");
            return;
        }
        let written = self.entries.iter().map(|entry| {
            let mut written = json!({
                "manager": entry.manager,
                "operation": entry.operation.name(),
                "apiVersion": entry.api_version,
                "fieldsType": "FieldsV1",
                "fieldsV1": entry.fields.write(),
            });
            if !entry.time.is_empty() {
                written["time"] = json!(entry.time);
            }
            if !entry.subresource.is_empty() {
                written["subresource"] = json!(entry.subresource);
            }
            written
        });
        metadata.insert("managedFields".to_owned(), Value::Array(written.collect()));
    }

    fn fold_old_updates(&mut self) {
        let updates = |entries: &[Entry]| entries.iter().filter(|e| e.operation == Operation::Update).count();
        while updates(&self.entries) > UPDATE_MANAGERS_MAX {
            let mut order: Vec<usize> = (0..self.entries.len())
                .filter(|at| self.entries[*at].operation == Operation::Update)
                .collect();
            order.sort_by(|a, b| self.entries[*a].time.cmp(&self.entries[*b].time));
            let oldest = self.entries.remove(order[0]);
            let next = if order[1] > order[0] { order[1] - 1 } else { order[1] };
            let into = &mut self.entries[next];
            into.manager = "ancient-changes".to_owned();
            into.fields.add(oldest.fields);
        }
    }

    /// Takes out what the manager applied before, if it did.
    pub fn take_apply(&mut self, manager: &Manager<'_>) -> Option<Set> {
        let at = self.entries.iter().position(|entry| {
            entry.operation == Operation::Apply
                && entry.manager == manager.name
                && entry.subresource == manager.subresource
        })?;
        Some(self.entries.remove(at).fields)
    }

    /// Everything that somebody owns.
    pub fn union(&self) -> Set {
        let mut all = Set::default();
        for entry in &self.entries {
            all.add(entry.fields.clone());
        }
        all
    }

    /// Who owns fields of `changed`, and which.
    pub fn conflicts(&self, changed: &Set) -> Vec<(String, Set)> {
        self.entries
            .iter()
            .map(|entry| (entry.shown(), entry.fields.intersect(changed)))
            .filter(|(_, fields)| !fields.is_empty())
            .collect()
    }

    /// Takes fields away from everybody.
    pub fn give_up(&mut self, fields: &Set) {
        if fields.is_empty() {
            return;
        }
        for entry in &mut self.entries {
            entry.fields = entry.fields.minus(fields);
        }
    }

    /// Takes fields away from everybody but the manager's own record of updates.
    pub fn give_up_except(&mut self, fields: &Set, manager: &Manager<'_>) {
        for entry in self.entries.iter_mut().filter(|entry| !entry.is(manager, Operation::Update)) {
            entry.fields = entry.fields.minus(fields);
        }
    }

    /// Adds an entry.
    pub fn put(&mut self, manager: &Manager<'_>, operation: Operation, fields: Set) {
        self.entries.push(Entry {
            manager: manager.name.to_owned(),
            operation,
            api_version: manager.api_version.to_owned(),
            subresource: manager.subresource.to_owned(),
            time: manager.time.to_owned(),
            fields,
        });
    }

    /// Adds fields to the manager's record of updates.
    pub fn add_update(&mut self, manager: &Manager<'_>, fields: Set) {
        match self.entries.iter_mut().find(|entry| entry.is(manager, Operation::Update)) {
            Some(entry) => {
                if !fields.is_empty() {
                    entry.fields.add(fields);
                    entry.time = manager.time.to_owned();
                }
            }
            None => self.put(manager, Operation::Update, fields),
        }
    }
}
