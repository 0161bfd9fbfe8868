//! Update: PUT of an object or of a subresource.

use api::{Status, meta, objects::Target, status::Cause};
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
    catalog::conversion,
    contract::{Caller, WriteOptions, Written},
};

/// See [`crate::Registry::update`].
pub(crate) async fn update(
    core: &Core,
    caller: &Caller,
    target: &Target,
    mut body: Value,
    options: &WriteOptions,
) -> Result<Written, Status> {
    let row = core.row(&target.scope)?;
    let facet = Facet::of(&row, &target.subresource)?;
    if row.place.is_none() || !row.serves("update") {
        return Err(Status::method_not_allowed(&row.group_resource(), "update"));
    }
    check_scope(&row, &target.scope.namespace, true)?;
    let warnings =
        decode::check(&facet.kind(&row), facet.schema(&row).as_ref(), &mut body, options.field_validation)?;
    metadata::identify(&row, target, &mut body)?;
    let unconditional = matches!(meta::resource_version(&body), "" | "0");
    if unconditional
        && !row.strategy.unconditional_update()
        && facet == Facet::Main
        && !row.strategy.create_on_update()
    {
        let cause =
            Cause::invalid("metadata.resourceVersion", &Value::from(0), "must be specified for an update");
        return Err(Status::invalid(&row.group, &row.kind, &target.name, vec![cause]));
    }
    match facet {
        Facet::Main => decode::to_stored(&row, &mut body),
        Facet::Scale => {}
        _ => conversion::to_stored(&row, &mut body),
    }
    let modify = Modify { core, caller, row: &row, target, options, facet };
    let change = |old: &Value| {
        if unconditional && facet == Facet::Main && !row.strategy.unconditional_update() {
            let cause = Cause::invalid(
                "metadata.resourceVersion",
                &Value::from(0),
                "must be specified for an update",
            );
            return Err(Status::invalid(&row.group, &row.kind, &target.name, vec![cause]));
        }
        let object = facet.merge(&row, old, body.clone())?;
        Ok(Proposal { object, warnings: warnings.clone(), applied: false })
    };
    if let Some(written) = modify.run(change).await? {
        return Ok(written);
    }
    let missing = || Status::not_found(&row.group_resource(), &target.name);
    if facet != Facet::Main || !row.strategy.create_on_update() || !meta::uid(&body).is_empty() {
        return Err(missing());
    }
    if !unconditional {
        return Err(Status::modified(&row.group_resource(), &target.name));
    }
    create_object(core, caller, &row, target, body, warnings, options, false).await
}
