//! From the contract's words to the wire's, and back.

use api::{
    GroupVersionResource, Status,
    objects::{Fence, ListOptions, PatchType, Scope, Target, WatchEvent, WatchOptions, Write, WriteOptions},
};
use bytes::Bytes;
use proto::objects as wire;

use super::status;

fn resource(resource: &GroupVersionResource) -> Option<wire::Resource> {
    Some(wire::Resource {
        group: resource.group.clone(),
        version: resource.version.clone(),
        resource: resource.resource.clone(),
    })
}

fn fence(options: &WriteOptions) -> Option<wire::Fence> {
    let Fence { namespace, name, holder, transitions } = options.fence.clone()?;
    Some(wire::Fence { namespace, name, holder, transitions })
}

pub(super) fn get(target: &Target) -> wire::GetRequest {
    wire::GetRequest {
        resource: resource(&target.scope.resource),
        namespace: target.scope.namespace.clone(),
        name: target.name.clone(),
        subresource: target.subresource.clone(),
        resource_version: String::new(),
    }
}

pub(super) fn list(scope: &Scope, options: &ListOptions) -> wire::ListRequest {
    wire::ListRequest {
        resource: resource(&scope.resource),
        namespace: scope.namespace.clone(),
        label_selector: options.label_selector.clone(),
        field_selector: options.field_selector.clone(),
        limit: i64::from(options.limit),
        r#continue: options.continue_token.clone(),
        resource_version: options.resource_version.clone(),
        resource_version_match: String::new(),
    }
}

pub(super) fn watch(scope: &Scope, options: &WatchOptions) -> wire::WatchStart {
    wire::WatchStart {
        resource: resource(&scope.resource),
        namespace: scope.namespace.clone(),
        label_selector: options.label_selector.clone(),
        field_selector: options.field_selector.clone(),
        resource_version: options.resource_version.clone(),
        bookmarks: options.bookmarks,
        send_initial_events: options.send_initial_events,
    }
}

pub(super) fn create(target: &Target, body: Bytes, options: &WriteOptions) -> wire::CreateRequest {
    wire::CreateRequest {
        resource: resource(&target.scope.resource),
        namespace: target.scope.namespace.clone(),
        name: target.name.clone(),
        subresource: target.subresource.clone(),
        body,
        dry_run: options.dry_run,
        field_manager: options.field_manager.clone(),
        fence: fence(options),
    }
}

pub(super) fn update(target: &Target, body: Bytes, options: &WriteOptions) -> wire::UpdateRequest {
    wire::UpdateRequest {
        resource: resource(&target.scope.resource),
        namespace: target.scope.namespace.clone(),
        name: target.name.clone(),
        subresource: target.subresource.clone(),
        body,
        dry_run: options.dry_run,
        field_manager: options.field_manager.clone(),
        fence: fence(options),
    }
}

pub(super) fn patch(
    target: &Target,
    kind: PatchType,
    body: Bytes,
    options: &WriteOptions,
) -> wire::PatchRequest {
    use wire::patch_request::Type;
    let (kind, force) = match kind {
        PatchType::Json => (Type::Json, false),
        PatchType::Merge => (Type::Merge, false),
        PatchType::Strategic => (Type::Strategic, false),
        PatchType::Apply { force } => (Type::Apply, force),
    };
    wire::PatchRequest {
        resource: resource(&target.scope.resource),
        namespace: target.scope.namespace.clone(),
        name: target.name.clone(),
        subresource: target.subresource.clone(),
        r#type: kind.into(),
        body,
        dry_run: options.dry_run,
        field_manager: options.field_manager.clone(),
        force,
        fence: fence(options),
    }
}

pub(super) fn delete(target: &Target, body: Bytes, options: &WriteOptions) -> wire::DeleteRequest {
    wire::DeleteRequest {
        resource: resource(&target.scope.resource),
        namespace: target.scope.namespace.clone(),
        name: target.name.clone(),
        options: body,
        fence: fence(options),
    }
}

pub(super) fn delete_collection(
    scope: &Scope,
    selectors: &ListOptions,
    body: Bytes,
    options: &WriteOptions,
) -> wire::DeleteCollectionRequest {
    wire::DeleteCollectionRequest {
        resource: resource(&scope.resource),
        namespace: scope.namespace.clone(),
        label_selector: selectors.label_selector.clone(),
        field_selector: selectors.field_selector.clone(),
        options: body,
        fence: fence(options),
    }
}

pub(super) fn write(write: Write, options: &WriteOptions) -> wire::Write {
    use wire::write::Request;
    let request = match write {
        Write::Create(target, body) => Request::Create(create(&target, body, options)),
        Write::Update(target, body) => Request::Update(update(&target, body, options)),
        Write::Patch(target, kind, body) => Request::Patch(patch(&target, kind, body, options)),
        Write::Delete(target, body) => Request::Delete(delete(&target, body, options)),
    };
    wire::Write { request: Some(request) }
}

pub(super) fn outcome(outcome: wire::Outcome) -> Result<Bytes, Status> {
    use wire::outcome::Result as Wire;
    match outcome.result {
        Some(Wire::Object(body)) => Ok(body),
        Some(Wire::Status(body)) => Err(status::decode(&body)),
        None => Err(Status::internal("an outcome of a batch is empty")),
    }
}

pub(super) fn event(event: wire::WatchEvent) -> Result<WatchEvent, Status> {
    use wire::watch_event::Type;
    match event.r#type() {
        Type::Added => Ok(WatchEvent::Added(event.object)),
        Type::Modified => Ok(WatchEvent::Modified(event.object)),
        Type::Deleted => Ok(WatchEvent::Deleted(event.object)),
        Type::Bookmark => Ok(WatchEvent::Bookmark {
            resource_version: event.resource_version,
            initial_events_end: event.initial_events_end,
        }),
        Type::Unspecified => Err(Status::internal("a watch event of unknown type")),
    }
}
