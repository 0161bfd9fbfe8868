//! Between the messages of the wire and the words of the API.

use api::{
    GroupVersionResource, Reason, Status,
    objects::{Fence, Scope, Target},
};
use bytes::Bytes;
use proto::objects as wire;
use registry::{FieldValidation, WriteOptions};
use serde_json::Value;
use tonic::{
    Code,
    metadata::{MetadataMap, MetadataValue},
};

/// Name of the metadata entry that holds the Kubernetes Status.
const STATUS: &str = "kontiki-status-bin";

/// Bytes of a Status that travel in metadata; larger ones lose their details.
const STATUS_BYTES_MAX: usize = 6 * 1024;

/// The one translation of a [`Status`] to gRPC.
pub fn failure(status: &Status) -> tonic::Status {
    let code = match status.reason {
        Some(Reason::NotFound) => Code::NotFound,
        Some(Reason::AlreadyExists) => Code::AlreadyExists,
        Some(Reason::Conflict) => Code::Aborted,
        Some(Reason::Unauthorized) => Code::Unauthenticated,
        Some(Reason::Forbidden) => Code::PermissionDenied,
        Some(Reason::Gone | Reason::Expired) => Code::OutOfRange,
        Some(Reason::Timeout | Reason::ServerTimeout) => Code::DeadlineExceeded,
        Some(Reason::TooManyRequests | Reason::RequestEntityTooLarge) => Code::ResourceExhausted,
        Some(Reason::ServiceUnavailable) => Code::Unavailable,
        Some(Reason::MethodNotAllowed) => Code::Unimplemented,
        Some(Reason::Invalid | Reason::BadRequest | Reason::NotAcceptable | Reason::UnsupportedMediaType) => {
            Code::InvalidArgument
        }
        Some(Reason::InternalError | Reason::StoreReadError | Reason::Unknown) | None => Code::Internal,
    };
    let mut metadata = MetadataMap::new();
    metadata.insert_bin(STATUS, MetadataValue::from_bytes(&encode(status)));
    let message: String = status.message.chars().take(1024).collect();
    tonic::Status::with_metadata(code, message, metadata)
}

fn encode(status: &Status) -> Vec<u8> {
    let whole = json(status);
    if whole.len() <= STATUS_BYTES_MAX {
        return whole;
    }
    let mut short = status.clone();
    short.message = short.message.chars().take(1024).collect();
    short.details = None;
    json(&short)
}

/// A Status as JSON.
pub fn json(status: &Status) -> Vec<u8> {
    serde_json::to_vec(status).expect("a Status is made of strings and numbers")
}

/// The resource of a message.
pub fn resource(resource: Option<wire::Resource>) -> Result<GroupVersionResource, Status> {
    let resource = resource.filter(|r| !r.resource.is_empty() && !r.version.is_empty());
    let resource = resource.ok_or_else(|| Status::bad_request("the message names no resource"))?;
    Ok(GroupVersionResource { group: resource.group, version: resource.version, resource: resource.resource })
}

/// The collection of a message.
pub fn scope(of: Option<wire::Resource>, namespace: String) -> Result<Scope, Status> {
    Ok(Scope { resource: resource(of)?, namespace })
}

/// The object of a message.
pub fn target(
    of: Option<wire::Resource>,
    namespace: String,
    name: String,
    subresource: String,
) -> Result<Target, Status> {
    Ok(Target { scope: scope(of, namespace)?, name, subresource })
}

/// The options of a write.
pub fn options(dry_run: bool, field_manager: String, fence: Option<wire::Fence>, user: &str) -> WriteOptions {
    let field_manager = if field_manager.is_empty() { user.to_owned() } else { field_manager };
    WriteOptions {
        dry_run,
        field_manager,
        field_validation: FieldValidation::Warn,
        fence: fence.map(self::fence),
    }
}

fn fence(fence: wire::Fence) -> Fence {
    Fence {
        namespace: fence.namespace,
        name: fence.name,
        holder: fence.holder,
        transitions: fence.transitions,
    }
}

/// A body, which must be an object.
pub fn body(bytes: &Bytes) -> Result<Value, Status> {
    if bytes.len() > crate::limits::BODY_BYTES_MAX {
        let limit = crate::limits::BODY_BYTES_MAX;
        return Err(Status::failure(
            Reason::RequestEntityTooLarge,
            format!("Request entity too large: limit is {limit}"),
        ));
    }
    let value: Value =
        serde_json::from_slice(bytes).map_err(|e| Status::bad_request(format!("json parse error: {e}")))?;
    if value.is_object() { Ok(value) } else { Err(Status::bad_request("the body is not an object")) }
}

/// `DeleteOptions`, or null.
pub fn delete_options(bytes: &Bytes) -> Result<Value, Status> {
    if bytes.is_empty() { Ok(Value::Null) } else { body(bytes) }
}

#[cfg(test)]
mod tests {
    use api::GroupResource;

    use super::*;

    #[test]
    fn the_status_travels_in_the_metadata() {
        let pods = GroupResource { group: String::new(), resource: "pods".into() };
        let sent = failure(&Status::not_found(&pods, "p"));
        assert_eq!(sent.code(), Code::NotFound);
        let bytes = sent.metadata().get_bin(STATUS).unwrap().to_bytes().unwrap();
        let back: Status = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(back, Status::not_found(&pods, "p"));
    }
}
