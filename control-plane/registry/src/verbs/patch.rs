//! Patch: the four formats, on an object or on a subresource. An apply may create.

use api::{GroupVersionKind, Status, apply, objects::Target, patch, status::Reason};
use serde_json::Value;

use super::{
    Core,
    core::check_scope,
    create::create_object,
    decode,
    facet::Facet,
    metadata,
    modify::{Modify, Proposal},
};
use crate::{
    Resource,
    catalog::{Schema, conversion},
    clock,
    contract::{Caller, FieldValidation, PatchBody, WriteOptions, Written},
};

/// See [`crate::Registry::patch`].
pub(crate) async fn patch(
    core: &Core,
    caller: &Caller,
    target: &Target,
    mut body: PatchBody,
    options: &WriteOptions,
) -> Result<Written, Status> {
    let row = core.row(&target.scope)?;
    let facet = Facet::of(&row, &target.subresource)?;
    if row.place.is_none() || !row.serves("patch") {
        return Err(Status::method_not_allowed(&row.group_resource(), "patch"));
    }
    check_scope(&row, &target.scope.namespace, true)?;
    let patcher =
        Patcher { row: &row, target, options, facet, kind: facet.kind(&row), schema: facet.schema(&row) };
    let mut warnings = Vec::new();
    if let PatchBody::Apply { object, .. } = &mut body {
        warnings = decode::check(&patcher.kind, patcher.schema.as_ref(), object, options.field_validation)?;
        metadata::identify(&row, target, object)?;
        if options.field_manager.is_empty() {
            return Err(Status::failure(
                Reason::Invalid,
                "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
            ));
        }
    }
    let modify = Modify { core, caller, row: &row, target, options, facet };
    let written = modify.run(|old| patcher.change(old, &body)).await?;
    if let Some(mut written) = written {
        written.warnings.extend(warnings);
        return Ok(written);
    }
    let PatchBody::Apply { object, force } = &body else {
        return Err(Status::not_found(&row.group_resource(), &target.name));
    };
    if facet != Facet::Main {
        return Err(Status::not_found(&row.group_resource(), &target.name));
    }
    let mut object = patcher.applied(None, object, *force)?;
    decode::to_stored(&row, &mut object);
    create_object(core, caller, &row, target, object, warnings, options, true).await
}

struct Patcher<'a> {
    row: &'a Resource,
    target: &'a Target,
    options: &'a WriteOptions,
    facet: Facet,
    kind: GroupVersionKind,
    schema: Option<Schema>,
}

impl Patcher<'_> {
    /// What the patch makes of the stored object.
    fn change(&self, old: &Value, body: &PatchBody) -> Result<Proposal, Status> {
        let mut served = old.clone();
        conversion::to_served(self.row, &mut served);
        let view = self.facet.view(served);
        let mut patched = match body {
            PatchBody::Json(patch) => patch::json(&view, patch)?,
            PatchBody::Merge(patch) => patch::merge(&view, patch)?,
            PatchBody::Strategic(patch) => {
                let schema = self.schema.as_ref().ok_or_else(|| {
                    let message = "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
                    Status::failure(Reason::UnsupportedMediaType, message)
                })?;
                patch::strategic::apply(schema.table(), schema.ty, &view, patch)?
            }
            PatchBody::Apply { object, force } => self.applied(Some(&view), object, *force)?,
        };
        let applied = matches!(body, PatchBody::Apply { .. });
        let validation = if applied { FieldValidation::Ignore } else { self.options.field_validation };
        let warnings = decode::check(&self.kind, self.schema.as_ref(), &mut patched, validation)?;
        metadata::identify(self.row, self.target, &mut patched)?;
        match self.facet {
            Facet::Main => decode::to_stored(self.row, &mut patched),
            Facet::Scale => {}
            _ => conversion::to_stored(self.row, &mut patched),
        }
        let object = self.facet.merge(self.row, old, patched)?;
        Ok(Proposal { object, warnings, applied: applied && self.facet != Facet::Scale })
    }

    fn applied(&self, live: Option<&Value>, object: &Value, force: bool) -> Result<Value, Status> {
        let schema = self
            .schema
            .as_ref()
            .ok_or_else(|| Status::internal("a kind without a schema cannot be applied"))?;
        let now = clock::now();
        let api_version = self.row.api_version();
        let manager = apply::Manager {
            name: &self.options.field_manager,
            api_version: &api_version,
            subresource: &self.target.subresource,
            time: &now,
        };
        apply::apply(schema.table(), schema.ty, live, object, &manager, force)
    }
}
