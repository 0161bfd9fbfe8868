//! OpenAPI documents, generated from the schema table and from what the caller says is served.
//!
//! [`v3`] makes one document per group and version, [`v2`] one for everything, as JSON or in the protobuf encoding
//! that client-go asks for ([`gnostic`]). What kubectl needs of them: kinds on operations and schemas
//! (`x-kubernetes-group-version-kind`), the `fieldValidation` parameter on PATCH (it then leaves validation to the
//! server), the strategic-merge content type and patch markers (client-side apply), descriptions (explain).
//!
//! ```text
//! ResourceDoc --paths--> [Operation] --+
//! Table ------schema---> {schemas}   --+--> v3 | v2 --> JSON --gnostic--> protobuf
//! ```
//!
//! Making a document takes milliseconds to tens of milliseconds; callers keep the result.

pub mod gnostic;
mod paths;
mod schema;
pub mod v2;
pub mod v3;

#[cfg(test)]
mod tests;

use crate::GroupVersionKind;
use crate::schema::Table;

/// The Kubernetes version whose API this is.
pub const LEVEL: &str = "v1.36.0";

/// One served resource.
#[derive(Clone, Debug)]
pub struct ResourceDoc<'a> {
    /// Where its kind is described: the built-in table, or a custom resource's own.
    pub table: &'a Table,
    /// API group; empty for core.
    pub group: &'a str,
    /// Version within the group.
    pub version: &'a str,
    /// Kind of its objects.
    pub kind: &'a str,
    /// Plural, as in paths.
    pub plural: &'a str,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Such as `get`, `list`, `create`, `deletecollection`.
    pub verbs: Vec<&'a str>,
    /// Its subresources.
    pub subresources: Vec<SubresourceDoc<'a>>,
}

/// One subresource.
#[derive(Clone, Debug)]
pub struct SubresourceDoc<'a> {
    /// Such as `status`.
    pub name: &'a str,
    /// `apiVersion` of its kind, such as `autoscaling/v1`; empty when it is the resource's own.
    pub api_version: &'a str,
    /// Its kind, such as `Scale`; empty when it is the resource's own.
    pub kind: &'a str,
    /// Such as `get`, `patch`, `update`.
    pub verbs: Vec<&'a str>,
}

impl ResourceDoc<'_> {
    fn gvk(&self) -> GroupVersionKind {
        GroupVersionKind::new(self.group, self.version, self.kind)
    }

    /// `/api/v1` or `/apis/apps/v1`.
    fn root(&self) -> String {
        if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        }
    }
}
