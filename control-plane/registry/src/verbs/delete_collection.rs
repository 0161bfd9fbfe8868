//! Delete everything that matches.

use api::{
    Reason, Status,
    objects::{Scope, Target},
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value;

use super::{Core, delete, list};
use crate::{
    contract::{Caller, ListOptions, Listed, WriteOptions},
    limits,
    strategy::rules::items,
};

/// See [`crate::Registry::delete_collection`]. Deletions run side by side, so the store commits them together.
pub(crate) async fn delete_collection(
    core: &Core,
    caller: &Caller,
    scope: &Scope,
    options: &ListOptions,
    delete_options: Value,
    write: &WriteOptions,
) -> Result<Listed, Status> {
    let row = core.row(scope)?;
    if row.place.is_none() || !row.serves("deletecollection") {
        return Err(Status::method_not_allowed(&row.group_resource(), "deletecollection"));
    }
    let wish = delete::Wish::parse(&delete_options)?;
    let mut write = write.clone();
    write.dry_run |= items(delete_options.get("dryRun")).any(|stage| stage == "All");
    let listed = list::list(core, scope, options).await?;
    let (row, wish, write) = (&row, &wish, &write);
    stream::iter(listed.items.iter().cloned())
        .map(|object| async move {
            let target = Target::new(scope.resource.clone(), &object.namespace, &object.name);
            match delete::one(core, caller, row, &target, wish, write).await {
                Err(status) if !status.is(Reason::NotFound) => Err(status),
                Ok(_) | Err(_) => Ok(()),
            }
        })
        .buffer_unordered(limits::DELETE_BATCH)
        .try_collect::<()>()
        .await?;
    Ok(listed)
}
