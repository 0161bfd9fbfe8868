//! Get.

use api::{Status, objects::Target};
use bytes::Bytes;

use super::{Core, commit::show, core::check_scope, facet::Facet};

/// See [`crate::Registry::get`].
pub(crate) async fn get(core: &Core, target: &Target, resource_version: &str) -> Result<Bytes, Status> {
    let row = core.row(&target.scope)?;
    let facet = Facet::of(&row, &target.subresource)?;
    if row.place.is_none() || !row.serves("get") {
        return Err(Status::method_not_allowed(&row.group_resource(), "get"));
    }
    check_scope(&row, &target.scope.namespace, true)?;
    let cache = core.cache(&row)?;
    match super::list::parse_version(resource_version)? {
        None => core.storage.be_current(&cache).await?,
        Some(revision) => {
            cache.wait_filled(crate::limits::CACHE_FILL_MAX).await?;
            core.storage.wait_for(revision).await?;
        }
    }
    let found = cache.get(&target.scope.namespace, &target.name);
    let found = found.ok_or_else(|| Status::not_found(&row.group_resource(), &target.name))?;
    show(&row, facet, found.json.clone())
}
