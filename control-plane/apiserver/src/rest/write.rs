//! create, update, patch, delete and deletecollection.

use api::{GroupVersionKind, Status, meta, status::Cause};
use hyper::body::Incoming;
use registry::{Deleted, FieldValidation, PatchBody, Resource, WriteOptions, Written};
use serde_json::Value;

use super::{body, object, options, read, review};
use crate::{
    authz::{escalation, upsert},
    gateway::Context,
    reply::{self, Response},
};

/// Creates an object, posts to a subresource, or answers a review.
pub async fn create(context: &Context, row: &Resource, incoming: Incoming) -> Result<Response, Status> {
    let wanted = object::wanted(context)?;
    let options = options::write(&context.query, &context.headers, "CreateOptions")?;
    let decoded = decode(context, row, incoming, &options).await?;
    if row.place.is_none() {
        let answer = review::answer(context, row, decoded.value)?;
        return object::encode(201, wanted.encoding, &answer);
    }
    if context.what.subresource == "token" {
        let answer = review::token(context, decoded.value).await?;
        return object::encode(201, wanted.encoding, &answer);
    }
    let target = context.what.target();
    let authorizer = &context.gateway.authorizer;
    escalation::check_create(authorizer, &context.who, &target, &decoded.value)?;
    let registry = &context.gateway.registry;
    let written = registry.create(&context.who.caller, &target, decoded.value, &options).await?;
    finish(context, row, wanted, 201, written, decoded.warnings)
}

/// Replaces an object or a subresource.
pub async fn update(context: &Context, row: &Resource, incoming: Incoming) -> Result<Response, Status> {
    let wanted = object::wanted(context)?;
    let options = options::write(&context.query, &context.headers, "UpdateOptions")?;
    let decoded = decode(context, row, incoming, &options).await?;
    let target = context.what.target();
    let named = meta::name(&decoded.value);
    if !named.is_empty() && named != target.name {
        let message =
            format!("the name of the object ({named}) does not match the name on the URL ({})", target.name);
        return Err(Status::bad_request(message));
    }
    let gateway = &context.gateway;
    if row.strategy.create_on_update() {
        upsert::check(gateway, &context.who, &target).await?;
    }
    let value = escalation::check_update(gateway, &context.who, &target, decoded.value).await?;
    let written = gateway.registry.update(&context.who.caller, &target, value, &options).await?;
    let code = if written.created { 201 } else { 200 };
    finish(context, row, wanted, code, written, decoded.warnings)
}

/// Patches an object or a subresource.
pub async fn patch(context: &Context, row: &Resource, incoming: Incoming) -> Result<Response, Status> {
    let wanted = object::wanted(context)?;
    let options = options::write(&context.query, &context.headers, "PatchOptions")?;
    let media = body::media(&context.headers);
    let bytes = body::read(incoming).await?;
    let (patch, warnings) = read_patch(context, &media, &bytes, &options)?;
    let target = context.what.target();
    let gateway = &context.gateway;
    if matches!(patch, PatchBody::Apply { .. }) {
        upsert::check(gateway, &context.who, &target).await?;
    }
    let written = match escalation::concerns(&target) {
        true => escalation::patch(gateway, &context.who, &target, patch, &options).await?,
        false => gateway.registry.patch(&context.who.caller, &target, patch, &options).await?,
    };
    let code = if written.created { 201 } else { 200 };
    finish(context, row, wanted, code, written, warnings)
}

fn read_patch(
    context: &Context,
    media: &str,
    bytes: &[u8],
    options: &WriteOptions,
) -> Result<(PatchBody, Vec<String>), Status> {
    let force = context.query.get("force").is_some().then(|| context.query.flag("force"));
    let apply = matches!(media, "application/apply-patch+yaml" | "application/apply-patch+cbor");
    if force.is_some() && !apply {
        return Err(invalid_options(Cause::forbidden("force", "may not be specified for non-apply patch")));
    }
    let json = || body::json(bytes, options.field_validation);
    Ok(match media {
        "application/json-patch+json" => json().map(|d| (PatchBody::Json(d.value), d.warnings))?,
        "application/merge-patch+json" => json().map(|d| (PatchBody::Merge(d.value), d.warnings))?,
        "application/strategic-merge-patch+json" => {
            json().map(|d| (PatchBody::Strategic(d.value), d.warnings))?
        }
        "application/apply-patch+yaml" => {
            if context.query.get("fieldManager").unwrap_or_default().is_empty() {
                return Err(invalid_options(Cause::required("fieldManager", "is required for apply patch")));
            }
            let decoded =
                if bytes.trim_ascii_start().starts_with(b"{") { json() } else { body::yaml(bytes) }?;
            (PatchBody::Apply { object: decoded.value, force: force.unwrap_or(false) }, decoded.warnings)
        }
        _ => {
            let message = "the body of the request was in an unknown format - accepted media types include: \
                application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, \
                application/apply-patch+yaml";
            return Err(Status::failure(api::Reason::UnsupportedMediaType, message));
        }
    })
}

fn invalid_options(cause: Cause) -> Status {
    Status::invalid("meta.k8s.io", "PatchOptions", "", vec![cause])
}

/// Deletes one object.
pub async fn delete(context: &Context, row: &Resource, incoming: Incoming) -> Result<Response, Status> {
    let wanted = object::wanted(context)?;
    let (delete_options, options) = delete_options(context, incoming).await?;
    let registry = &context.gateway.registry;
    match registry.delete(&context.who.caller, &context.what.target(), delete_options, &options).await? {
        Deleted::Gone(status) => Ok(reply::status(&status)),
        Deleted::Terminating(json) => object::answer(context, row, wanted, 200, json),
    }
}

/// Deletes everything that matches.
pub async fn delete_collection(
    context: &Context,
    row: &Resource,
    incoming: Incoming,
) -> Result<Response, Status> {
    let wanted = object::wanted(context)?;
    let (delete_options, options) = delete_options(context, incoming).await?;
    let selection = options::list(&context.query)?;
    let (registry, scope) = (&context.gateway.registry, context.what.scope());
    let caller = &context.who.caller;
    let deleted = registry.delete_collection(caller, &scope, &selection, delete_options, &options).await?;
    read::answer(context, row, wanted, deleted)
}

async fn delete_options(context: &Context, incoming: Incoming) -> Result<(Value, WriteOptions), Status> {
    let mut write = options::write(&context.query, &context.headers, "DeleteOptions")?;
    let bytes = body::read(incoming).await?;
    let body = match bytes.is_empty() {
        true => None,
        false => {
            let kind = GroupVersionKind::new("", "v1", "DeleteOptions");
            Some(body::decode(&context.headers, &kind, &bytes, FieldValidation::Ignore)?.value)
        }
    };
    if let Some(body) = &body {
        let kind = body.get("kind").and_then(Value::as_str).unwrap_or("DeleteOptions");
        if !body.is_object() || kind != "DeleteOptions" {
            return Err(Status::bad_request(format!(
                "decoded object cannot be converted to DeleteOptions: {kind}"
            )));
        }
        let dry = body.get("dryRun").and_then(Value::as_array).is_some_and(|d| d.iter().any(|v| v == "All"));
        write.dry_run |= dry;
    }
    Ok((options::delete(&context.query, body)?, write))
}

async fn decode(
    context: &Context,
    row: &Resource,
    incoming: Incoming,
    options: &WriteOptions,
) -> Result<body::Decoded, Status> {
    let bytes = body::read(incoming).await?;
    if bytes.is_empty() && !(row.place.is_none() || context.what.subresource == "token") {
        return Err(Status::bad_request("no body was sent"));
    }
    let decoded = if bytes.is_empty() {
        body::Decoded { value: serde_json::json!({}), warnings: Vec::new() }
    } else {
        let kind =
            row.subresource(&context.what.subresource).map_or_else(|| row.gvk(), |sub| sub.kind.clone());
        body::decode(&context.headers, &kind, &bytes, options.field_validation)?
    };
    if !decoded.value.is_object() {
        return Err(Status::bad_request("the body is not an object"));
    }
    Ok(decoded)
}

fn finish(
    context: &Context,
    row: &Resource,
    wanted: super::negotiate::Wanted,
    code: u16,
    written: Written,
    mut warnings: Vec<String>,
) -> Result<Response, Status> {
    let mut response = object::answer(context, row, wanted, code, written.json)?;
    warnings.extend(written.warnings);
    reply::warn(&mut response, &warnings);
    Ok(response)
}
