//! Create: POST of an object, and the creating half of PUT and apply.

use api::{Reason, Status, meta, objects::Target};
use serde_json::Value;

use super::{Core, binding, commit::Write, core::check_scope, decode, eviction, facet::Facet, metadata};
use crate::{
    Resource,
    admission::Operation,
    clock,
    contract::{Caller, WriteOptions, Written},
    limits,
    storage::Outcome,
    tree::{set, take},
};

/// See [`crate::Registry::create`].
pub(crate) async fn create(
    core: &Core,
    caller: &Caller,
    target: &Target,
    mut body: Value,
    options: &WriteOptions,
) -> Result<Written, Status> {
    let row = core.row(&target.scope)?;
    match (row.group.as_str(), row.plural.as_str(), target.subresource.as_str()) {
        ("", "bindings", "") | ("", "pods", "binding") => {
            return binding::bind(core, caller, target, body, options).await;
        }
        ("", "pods", "eviction") => return eviction::evict(core, caller, target, body, options).await,
        (_, _, "") if row.place.is_some() && row.serves("create") => {}
        _ => return Err(Status::method_not_allowed(&row.group_resource(), "create")),
    }
    check_scope(&row, &target.scope.namespace, false)?;
    if row.namespaced && target.scope.namespace.is_empty() {
        return Err(Status::bad_request("an empty namespace may not be set during creation"));
    }
    let warnings = decode::check(&row.gvk(), row.schema.as_ref(), &mut body, options.field_validation)?;
    if !matches!(meta::resource_version(&body), "" | "0") {
        return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
    }
    metadata::identify(&row, target, &mut body)?;
    decode::to_stored(&row, &mut body);
    create_object(core, caller, &row, target, body, warnings, options, false).await
}

/// Creates from an object in its stored version, defaults applied.
#[expect(clippy::too_many_arguments, reason = "the parts of one request; a struct would only rename them")]
pub(super) async fn create_object(
    core: &Core,
    caller: &Caller,
    row: &Resource,
    target: &Target,
    mut object: Value,
    mut warnings: Vec<String>,
    options: &WriteOptions,
    applied: bool,
) -> Result<Written, Status> {
    let now = clock::now();
    metadata::begin(row, &now, &mut object);
    if row.has_status() && !row.strategy.creates_with_status() {
        take(&mut object, &["status"]);
    }
    let prefix = match meta::name(&object) {
        "" => object.pointer("/metadata/generateName").and_then(Value::as_str).map(str::to_owned),
        _ => None,
    };
    let prefix = prefix.filter(|prefix| !prefix.is_empty());
    let attempts = if prefix.is_some() || row.strategy.claims().is_some() || options.fence.is_some() {
        limits::CLAIM_ATTEMPTS_MAX
    } else {
        1
    };
    let mut collisions = 0;
    for attempt in 0..attempts {
        let last = attempt + 1 == attempts;
        let mut draft = if last { std::mem::take(&mut object) } else { object.clone() };
        if let Some(prefix) = &prefix {
            set(&mut draft, &["metadata", "name"], generated(prefix));
        }
        let target = Target { name: meta::name(&draft).to_owned(), ..target.clone() };
        let write =
            Write { core, caller, row, target: &target, options, facet: Facet::Main, now: &now, applied };
        row.strategy.prepare_create(write.context(), &mut draft);
        let mut mutated = write.mutate(Operation::Create, None, draft).await?;
        write.track(None, mutated.object_mut())?;
        write.validate(None, mutated.object())?;
        if attempt == 0 {
            warnings.extend(row.strategy.warnings(mutated.object()));
        }
        match write.put(None, 0, mutated, attempt > 0).await? {
            Outcome::Done { revision, stored } => {
                return Ok(Written { json: write.answer(&stored, revision)?, warnings, created: true });
            }
            Outcome::Conflict(_) if prefix.is_some() && collisions < limits::GENERATE_NAME_ATTEMPTS => {
                collisions += 1
            }
            Outcome::Conflict(_) if prefix.is_some() => {
                let message = "the server was not able to generate a unique name for the object";
                return Err(Status::failure(Reason::AlreadyExists, message));
            }
            Outcome::Conflict(_) => return Err(Status::already_exists(&row.group_resource(), &target.name)),
            Outcome::SideConflict => {}
        }
    }
    Err(Status::modified(&row.group_resource(), &target.name))
}

/// Upstream keeps names within 63 characters.
fn generated(prefix: &str) -> String {
    const PREFIX_MAX: usize = 58;
    let cut = prefix.char_indices().map(|(at, _)| at).find(|at| *at >= PREFIX_MAX).unwrap_or(prefix.len());
    format!("{}{}", &prefix[..cut], clock::name_suffix())
}
