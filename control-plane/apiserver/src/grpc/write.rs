//! create, update, patch, delete, deletecollection, and batches of the first four.

use api::{Status, objects::Target};
use bytes::Bytes;
use futures::{StreamExt, stream};
use proto::objects as wire;
use registry::{Deleted, ListOptions, PatchBody};

use super::{Call, convert};
use crate::{
    authn::token,
    authz::{escalation, upsert},
    limits,
    request::Attributes,
};

/// Creates an object, posts to a subresource, or asks for a token.
pub async fn create(call: &Call, request: wire::CreateRequest) -> Result<Bytes, Status> {
    let wire::CreateRequest { resource, namespace, name, subresource, body, dry_run, field_manager, fence } =
        request;
    let target = convert::target(resource, namespace, name, subresource)?;
    let options = convert::options(dry_run, field_manager, fence, &call.who.caller.user);
    let mut what = Attributes::of("create", &target);
    if target.subresource.is_empty() {
        what.name.clear();
    }
    let gateway = &call.gateway;
    call.perform(&what, async {
        let body = convert::body(&body)?;
        if target.subresource == "token" {
            return token(call, &target, body).await;
        }
        escalation::check_create(&gateway.authorizer, &call.who, &target, &body)?;
        Ok(gateway.registry.create(&call.who.caller, &target, body, &options).await?.json)
    })
    .await
}

async fn token(call: &Call, target: &Target, body: serde_json::Value) -> Result<Bytes, Status> {
    let issuer = call.gateway.authenticator.issuer().ok_or_else(Status::no_such_resource)?;
    let answer = token::request::answer(&call.gateway.registry, issuer, &call.who, target, body).await?;
    serde_json::to_vec(&answer).map(Bytes::from).map_err(Status::internal)
}

/// Replaces an object or a subresource.
pub async fn update(call: &Call, request: wire::UpdateRequest) -> Result<Bytes, Status> {
    let wire::UpdateRequest { resource, namespace, name, subresource, body, dry_run, field_manager, fence } =
        request;
    let target = convert::target(resource, namespace, name, subresource)?;
    let options = convert::options(dry_run, field_manager, fence, &call.who.caller.user);
    let gateway = &call.gateway;
    call.perform(&Attributes::of("update", &target), async {
        let row = gateway.registry.catalog().get(&target.scope.resource).cloned();
        if row.is_some_and(|row| row.strategy.create_on_update()) {
            upsert::check(gateway, &call.who, &target).await?;
        }
        let body = escalation::check_update(gateway, &call.who, &target, convert::body(&body)?).await?;
        Ok(gateway.registry.update(&call.who.caller, &target, body, &options).await?.json)
    })
    .await
}

/// Patches an object or a subresource.
pub async fn patch(call: &Call, request: wire::PatchRequest) -> Result<Bytes, Status> {
    let patch = read_patch(&request)?;
    let wire::PatchRequest { resource, namespace, name, subresource, dry_run, field_manager, fence, .. } =
        request;
    let target = convert::target(resource, namespace, name, subresource)?;
    let options = convert::options(dry_run, field_manager, fence, &call.who.caller.user);
    let gateway = &call.gateway;
    call.perform(&Attributes::of("patch", &target), async {
        if matches!(patch, PatchBody::Apply { .. }) {
            upsert::check(gateway, &call.who, &target).await?;
        }
        let written = match escalation::concerns(&target) {
            true => escalation::patch(gateway, &call.who, &target, patch, &options).await?,
            false => gateway.registry.patch(&call.who.caller, &target, patch, &options).await?,
        };
        Ok(written.json)
    })
    .await
}

fn read_patch(request: &wire::PatchRequest) -> Result<PatchBody, Status> {
    use wire::patch_request::Type;
    let value = || {
        serde_json::from_slice(&request.body)
            .map_err(|e| Status::bad_request(format!("json parse error: {e}")))
    };
    if request.body.len() > limits::BODY_BYTES_MAX {
        convert::body(&request.body)?;
    }
    Ok(match request.r#type() {
        Type::Json => PatchBody::Json(value()?),
        Type::Merge => PatchBody::Merge(value()?),
        Type::Strategic => PatchBody::Strategic(value()?),
        Type::Apply => PatchBody::Apply { object: value()?, force: request.force },
        Type::Unspecified => return Err(Status::bad_request("the message names no type of patch")),
    })
}

/// Deletes one object.
pub async fn delete(call: &Call, request: wire::DeleteRequest) -> Result<Bytes, Status> {
    let wire::DeleteRequest { resource, namespace, name, options: body, fence } = request;
    let target = convert::target(resource, namespace, name, String::new())?;
    let options = convert::options(false, String::new(), fence, &call.who.caller.user);
    call.perform(&Attributes::of("delete", &target), async {
        let delete_options = convert::delete_options(&body)?;
        match call.gateway.registry.delete(&call.who.caller, &target, delete_options, &options).await? {
            Deleted::Gone(status) => Ok(convert::json(&status).into()),
            Deleted::Terminating(json) => Ok(json),
        }
    })
    .await
}

/// Deletes everything that matches.
pub async fn delete_collection(call: &Call, request: wire::DeleteCollectionRequest) -> Result<Bytes, Status> {
    let scope = convert::scope(request.resource, request.namespace)?;
    let what =
        Attributes::of_many("deletecollection", &scope, &request.field_selector, &request.label_selector);
    let options = convert::options(false, String::new(), request.fence, &call.who.caller.user);
    let selection = ListOptions {
        label_selector: request.label_selector,
        field_selector: request.field_selector,
        ..ListOptions::default()
    };
    call.perform(&what, async {
        let body = convert::delete_options(&request.options)?;
        let registry = &call.gateway.registry;
        registry.delete_collection(&call.who.caller, &scope, &selection, body, &options).await?;
        let done = Status::success(&scope.resource.group_resource(), "", "");
        Ok(convert::json(&done).into())
    })
    .await
}

/// Performs writes side by side, so that they share commits; outcomes keep the order of the requests.
pub async fn batch(call: &Call, request: wire::BatchRequest) -> Result<wire::BatchResponse, Status> {
    if request.writes.len() > limits::GRPC_BATCH_WRITES_MAX {
        return Err(Status::bad_request(format!(
            "a batch has at most {} writes",
            limits::GRPC_BATCH_WRITES_MAX
        )));
    }
    let outcomes =
        stream::iter(request.writes).map(|write| one(call, write)).buffered(limits::GRPC_BATCH_PARALLEL);
    Ok(wire::BatchResponse { outcomes: outcomes.collect().await })
}

async fn one(call: &Call, write: wire::Write) -> wire::Outcome {
    use wire::{outcome::Result as Outcome, write::Request};
    let outcome = match write.request {
        Some(Request::Create(request)) => create(call, request).await,
        Some(Request::Update(request)) => update(call, request).await,
        Some(Request::Patch(request)) => patch(call, request).await,
        Some(Request::Delete(request)) => delete(call, request).await,
        None => Err(Status::bad_request("an empty write")),
    };
    let result = match outcome {
        Ok(json) => Outcome::Object(json),
        Err(status) => Outcome::Status(convert::json(&status).into()),
    };
    wire::Outcome { result: Some(result) }
}
