//! Writes that create when there is nothing to change: server-side apply, and replacing kinds that may be created
//! so. Who may only change things must not create them this way.

use api::{Reason, Status, objects::Target};

use super::forbidden;
use crate::{authn::Identity, gateway::Gateway, request::Attributes};

/// Refuses unless the object exists or the caller may create it.
pub async fn check(gateway: &Gateway, who: &Identity, target: &Target) -> Result<(), Status> {
    if !target.subresource.is_empty() {
        return Ok(());
    }
    let what = Attributes::of("create", target);
    let Some(why) = gateway.authorizer.authorize(who, &what).refusal() else { return Ok(()) };
    match gateway.registry.get(target, "").await {
        Ok(_) => Ok(()),
        Err(status) if status.is(Reason::NotFound) => Err(forbidden(who, &what, &why)),
        Err(status) => Err(status),
    }
}
