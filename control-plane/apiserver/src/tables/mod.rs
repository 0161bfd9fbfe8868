//! Tables: the rows `kubectl get` prints. Which columns a kind has is data; what stands in a cell is a function of
//! the object and the time. Columns and wording are those of k8s.io/kubernetes pkg/printers/internalversion.

mod age;
mod cell;
mod cluster;
mod config;
mod custom;
mod network;
mod pods;
mod policy;
mod storage;
mod workloads;

use api::{Status, status::Cause};
use jiff::Timestamp;
use registry::{Registry, Resource};
use serde_json::{Value, json};

pub use age::human_duration;

/// What a cell is computed from.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    /// The object.
    pub object: &'a Value,
    /// When the table is made.
    pub now: Timestamp,
}

/// One column.
#[derive(Clone, Copy)]
pub struct Column {
    /// Heading.
    pub name: &'static str,
    /// `string`, `integer`, `boolean` or `date`.
    pub kind: &'static str,
    /// `name` for the column that names the object.
    pub format: &'static str,
    /// 0 is always shown, 1 only with `-o wide`.
    pub priority: u8,
    /// For people.
    pub description: &'static str,
    /// What stands in it.
    pub cell: fn(Row<'_>) -> Value,
}

/// A column of text.
const fn text(name: &'static str, description: &'static str, cell: fn(Row<'_>) -> Value) -> Column {
    Column { name, kind: "string", format: "", priority: 0, description, cell }
}

/// A column of text that only `-o wide` shows.
const fn wide(name: &'static str, description: &'static str, cell: fn(Row<'_>) -> Value) -> Column {
    Column { priority: 1, ..text(name, description, cell) }
}

/// A column of whole numbers.
const fn number(name: &'static str, description: &'static str, cell: fn(Row<'_>) -> Value) -> Column {
    Column { kind: "integer", ..text(name, description, cell) }
}

/// A column of yes and no.
const fn boolean(name: &'static str, description: &'static str, cell: fn(Row<'_>) -> Value) -> Column {
    Column { kind: "boolean", ..text(name, description, cell) }
}

/// The name, first in nearly every table.
const NAME: Column = Column {
    name: "Name",
    kind: "string",
    format: "name",
    priority: 0,
    description: "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated.",
    cell: cell::name,
};

/// Time since creation.
const AGE: Column = text(
    "Age",
    "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.",
    cell::age,
);

/// Time of creation.
const CREATED_AT: Column = Column {
    name: "Created At",
    kind: "date",
    format: "",
    priority: 0,
    description: "When the object was created.",
    cell: cell::created_at,
};

/// Columns of kinds that have none of their own.
const DEFAULT: &[Column] = &[NAME, AGE];

fn builtin(group: &str, plural: &str) -> Option<&'static [Column]> {
    [
        workloads::TABLES,
        pods::TABLES,
        network::TABLES,
        config::TABLES,
        storage::TABLES,
        policy::TABLES,
        cluster::TABLES,
    ]
    .into_iter()
    .flatten()
    .find(|(of_group, of_plural, _)| *of_group == group && *of_plural == plural)
    .map(|(_, _, columns)| *columns)
}

/// Group, plural and columns.
type Tables = &'static [(&'static str, &'static str, &'static [Column])];

/// How much of the object comes with its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncludeObject {
    /// Its metadata; the default.
    Metadata,
    /// All of it.
    Object,
    /// Nothing.
    None,
}

impl IncludeObject {
    /// Reads the parameter `includeObject`.
    pub fn parse(text: &str) -> Result<Self, Status> {
        match text {
            "" | "Metadata" => Ok(Self::Metadata),
            "Object" => Ok(Self::Object),
            "None" => Ok(Self::None),
            other => {
                let cause =
                    Cause::not_supported("includeObject", &other.into(), &["Metadata", "None", "Object"]);
                Err(Status::invalid("meta.k8s.io", "TableOptions", "", vec![cause]))
            }
        }
    }
}

/// Makes the rows of one kind.
pub struct Printer(Columns);

enum Columns {
    Builtin(&'static [Column]),
    Custom(Vec<custom::Column>),
}

/// The printer of a resource: built-in columns, those of a CustomResourceDefinition, or name and age.
pub fn printer(registry: &Registry, row: &Resource, subresource: &str) -> Printer {
    let columns = match subresource {
        "scale" => Columns::Builtin(workloads::SCALE),
        _ => match builtin(&row.group, &row.plural) {
            Some(columns) => Columns::Builtin(columns),
            None => match custom::columns(registry, row) {
                Some(columns) => Columns::Custom(columns),
                None => Columns::Builtin(DEFAULT),
            },
        },
    };
    Printer(columns)
}

impl Printer {
    /// One row.
    pub fn row(&self, object: &Value, include: IncludeObject, meta_version: &str, now: Timestamp) -> Value {
        let cells: Vec<Value> = match &self.0 {
            Columns::Builtin(columns) => columns.iter().map(|c| (c.cell)(Row { object, now })).collect(),
            Columns::Custom(columns) => columns.iter().map(|c| c.cell(Row { object, now })).collect(),
        };
        match include {
            IncludeObject::None => json!({"cells": cells, "object": null}),
            IncludeObject::Object => json!({"cells": cells, "object": object}),
            IncludeObject::Metadata => {
                json!({"cells": cells, "object": crate::rest::partial_metadata(object, meta_version)})
            }
        }
    }

    /// A table around rows.
    pub fn table(&self, rows: Vec<Value>, metadata: Value, meta_version: &str, with_columns: bool) -> Value {
        let columns = match (&self.0, with_columns) {
            (_, false) => Value::Null,
            (Columns::Builtin(columns), true) => columns.iter().map(definition).collect(),
            (Columns::Custom(columns), true) => columns.iter().map(custom::Column::definition).collect(),
        };
        json!({
            "kind": "Table",
            "apiVersion": format!("meta.k8s.io/{meta_version}"),
            "metadata": metadata,
            "columnDefinitions": columns,
            "rows": rows,
        })
    }
}

fn definition(column: &Column) -> Value {
    json!({
        "name": column.name,
        "type": column.kind,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    })
}

#[cfg(test)]
mod tests;
