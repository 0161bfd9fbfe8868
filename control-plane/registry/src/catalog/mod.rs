//! The resources that are served: everything the router, discovery, RBAC names, the verbs and the watch cache
//! need to know of a kind, as data. Adding a kind is adding a row (see [`rows`]).

pub(crate) mod conversion;
mod rows;

use std::{collections::HashMap, sync::Arc};

use api::{
    GroupResource, GroupVersionKind, GroupVersionResource,
    schema::{Table, TypeId},
};

use crate::strategy::{self, Strategy};

/// A subresource of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subresource {
    /// `status`, `scale`, `exec`, ...
    pub name: String,
    /// The kind it speaks.
    pub kind: GroupVersionKind,
    /// Verbs as discovery shows them.
    pub verbs: Vec<String>,
}

/// Where the objects of a resource are kept. Several versions, and even groups, may share one place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// What the stored objects say they are.
    pub kind: GroupVersionKind,
    /// Key prefix in the store, with a slash at the end: `/registry/apps/deployments/`.
    pub prefix: String,
}

/// One served resource in one version.
pub struct Resource {
    /// API group; empty for the core group.
    pub group: String,
    /// Version within the group.
    pub version: String,
    /// Kind of one object.
    pub kind: String,
    /// Kind of a list.
    pub list_kind: String,
    /// Name in paths.
    pub plural: String,
    /// Name on the command line.
    pub singular: String,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Such as `po`.
    pub short_names: Vec<String>,
    /// Such as `all`.
    pub categories: Vec<String>,
    /// Verbs as discovery shows them.
    pub verbs: Vec<String>,
    /// What else can be asked of an object.
    pub subresources: Vec<Subresource>,
    /// Where objects are kept; `None` for reviews, which the transport answers.
    pub place: Option<Place>,
    /// What is particular about the kind.
    pub strategy: &'static dyn Strategy,
    /// What objects look like; `None` when the table does not have the kind.
    pub schema: Option<Schema>,
}

/// The type of a kind, and the table it is in.
#[derive(Clone, Debug)]
pub struct Schema {
    table: Tables,
    /// The type.
    pub ty: TypeId,
}

#[derive(Clone, Debug)]
enum Tables {
    Builtin,
    Own(Arc<Table>),
}

impl Schema {
    /// The type of a built-in kind.
    pub fn builtin(kind: &GroupVersionKind) -> Option<Self> {
        Table::builtin().kind(kind).map(|ty| Self { table: Tables::Builtin, ty })
    }

    /// A type of a custom resource.
    pub fn own(table: Arc<Table>, ty: TypeId) -> Self {
        Self { table: Tables::Own(table), ty }
    }

    /// The table of the type.
    pub fn table(&self) -> &Table {
        match &self.table {
            Tables::Builtin => Table::builtin(),
            Tables::Own(table) => table,
        }
    }
}

impl std::fmt::Debug for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Resource({}/{} {})", self.group, self.version, self.plural)
    }
}

impl Resource {
    /// Group, version and kind of an object.
    pub fn gvk(&self) -> GroupVersionKind {
        GroupVersionKind::new(&self.group, &self.version, &self.kind)
    }

    /// Group, version and resource.
    pub fn gvr(&self) -> GroupVersionResource {
        GroupVersionResource::new(&self.group, &self.version, &self.plural)
    }

    /// Group and resource, as messages name them.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource { group: self.group.clone(), resource: self.plural.clone() }
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// One of its subresources.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }

    /// Whether `status` is written apart from the rest.
    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }

    /// Whether objects are stored in another version than this row serves.
    pub fn is_converted(&self) -> bool {
        self.place
            .as_ref()
            .is_some_and(|place| place.kind.group != self.group || place.kind.version != self.version)
    }

    /// Whether a verb of discovery is served.
    pub fn serves(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }
}

/// Every resource that is served at one moment. Grows by building a new one.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    rows: Vec<Arc<Resource>>,
    by_resource: HashMap<GroupVersionResource, Arc<Resource>>,
}

impl Catalog {
    /// The built-in kinds.
    pub fn builtin() -> Self {
        Self::from_rows(rows::ROWS.iter().map(|row| Arc::new(row.resource())).collect())
    }

    fn from_rows(rows: Vec<Arc<Resource>>) -> Self {
        let by_resource = rows.iter().map(|row| (row.gvr(), Arc::clone(row))).collect();
        Self { rows, by_resource }
    }

    /// This catalog and one more row, which replaces its equal.
    pub fn with(&self, row: Arc<Resource>) -> Self {
        let name = row.gvr();
        let mut rows: Vec<_> = self.rows.iter().filter(|other| other.gvr() != name).cloned().collect();
        rows.push(row);
        Self::from_rows(rows)
    }

    /// This catalog without one resource.
    pub fn without(&self, name: &GroupVersionResource) -> Self {
        Self::from_rows(self.rows.iter().filter(|row| row.gvr() != *name).cloned().collect())
    }

    /// All rows; groups and their versions in upstream's order of preference.
    pub fn rows(&self) -> &[Arc<Resource>] {
        &self.rows
    }

    /// The row of a resource.
    pub fn get(&self, resource: &GroupVersionResource) -> Option<&Arc<Resource>> {
        self.by_resource.get(resource)
    }

    /// The row that serves objects of a kind.
    pub fn by_kind(&self, kind: &GroupVersionKind) -> Option<&Arc<Resource>> {
        self.rows.iter().find(|r| r.kind == kind.kind && r.group == kind.group && r.version == kind.version)
    }
}

/// Words of a row are borrowed; this is how they become owned.
fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

impl rows::Row {
    fn resource(&self) -> Resource {
        let (group, version) = (self.group, self.version);
        let subresources = self.subresources.iter().map(|sub| Subresource {
            name: sub.name.into(),
            kind: match sub.kind {
                "" => GroupVersionKind::new(group, version, self.kind),
                other => GroupVersionKind::from_api_version(sub.api_version, other),
            },
            verbs: owned(sub.verbs),
        });
        let (stored_group, stored_version) = self.stored.unwrap_or((group, version));
        let place = self.is_stored().then(|| Place {
            kind: GroupVersionKind::new(stored_group, stored_version, self.kind),
            prefix: prefix(stored_group, self.plural),
        });
        Resource {
            group: group.into(),
            version: version.into(),
            kind: self.kind.into(),
            list_kind: format!("{}List", self.kind),
            plural: self.plural.into(),
            singular: self.kind.to_lowercase(),
            namespaced: self.namespaced,
            short_names: owned(self.short_names),
            categories: owned(self.categories),
            verbs: owned(self.verbs),
            subresources: subresources.collect(),
            place,
            strategy: strategy::of(stored_group, self.plural),
            schema: Schema::builtin(&GroupVersionKind::new(group, version, self.kind)),
        }
    }
}

/// Key prefix of a resource in the store.
pub fn prefix(group: &str, plural: &str) -> String {
    let group = if group.is_empty() { "core" } else { group };
    format!("/registry/{group}/{plural}/")
}
