//! How a Kubernetes `Status` travels in a gRPC status, and what a failure says about the server.

use std::error::Error;

use api::{Reason, Status};
use tonic::Code;

/// Binary metadata entry that holds the Kubernetes Status as JSON.
const METADATA_KEY: &str = "kontiki-status-bin";

/// What to make of a failed call.
pub(super) struct Verdict {
    /// For the caller.
    pub(super) status: Status,
    /// The server or the way to it is at fault; another may do better.
    pub(super) move_on: bool,
    /// No server has seen the call.
    pub(super) never_sent: bool,
}

pub(super) fn judge(failure: &tonic::Status) -> Verdict {
    if let Some(status) = embedded(failure) {
        let move_on = status.is(Reason::ServiceUnavailable);
        return Verdict { status, move_on, never_sent: false };
    }
    let move_on =
        matches!(failure.code(), Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal);
    Verdict { status: from_code(failure), move_on, never_sent: is_connect_failure(failure) }
}

/// The Kubernetes Status of a gRPC status; made up from the code if the server did not send one.
pub(super) fn from_grpc(failure: &tonic::Status) -> Status {
    embedded(failure).unwrap_or_else(|| from_code(failure))
}

/// Decodes a Status; a body that is none becomes an internal error.
pub(super) fn decode(body: &[u8]) -> Status {
    serde_json::from_slice(body).unwrap_or_else(|e| Status::internal(format!("undecodable status: {e}")))
}

fn embedded(failure: &tonic::Status) -> Option<Status> {
    let bytes = failure.metadata().get_bin(METADATA_KEY)?.to_bytes().ok()?;
    Some(decode(&bytes))
}

fn from_code(failure: &tonic::Status) -> Status {
    let message = match failure.source() {
        Some(cause) => format!("{}: {}", failure.message(), crate::error::chain(cause)),
        None => failure.message().to_owned(),
    };
    match failure.code() {
        Code::Unauthenticated => Status::failure(Reason::Unauthorized, message),
        Code::PermissionDenied => Status::failure(Reason::Forbidden, message),
        Code::InvalidArgument | Code::OutOfRange => Status::bad_request(message),
        Code::DeadlineExceeded => Status::timeout(message),
        Code::Unimplemented => Status::failure(Reason::MethodNotAllowed, message),
        Code::ResourceExhausted => Status::too_many_requests(message, 1),
        Code::Unavailable | Code::Cancelled | Code::Unknown | Code::Aborted => Status::unavailable(message),
        _ => Status::internal(message),
    }
}

fn is_connect_failure(failure: &tonic::Status) -> bool {
    let mut cause = failure.source();
    while let Some(next) = cause {
        if next.is::<tonic::ConnectError>() {
            return true;
        }
        cause = next.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use api::GroupResource;
    use tonic::metadata::{MetadataMap, MetadataValue};

    use super::*;

    #[test]
    fn a_status_in_the_metadata_is_the_answer() {
        let resource = GroupResource { group: String::new(), resource: "pods".into() };
        let sent = Status::not_found(&resource, "a");
        let mut metadata = MetadataMap::new();
        metadata.insert_bin(METADATA_KEY, MetadataValue::from_bytes(&serde_json::to_vec(&sent).unwrap()));
        let verdict = judge(&tonic::Status::with_metadata(Code::NotFound, "x", metadata));
        assert_eq!(verdict.status, sent);
        assert!(!verdict.move_on && !verdict.never_sent);
    }

    #[test]
    fn a_bare_unavailable_moves_on_without_repeating_writes() {
        let verdict = judge(&tonic::Status::unavailable("gone"));
        assert!(verdict.status.is(Reason::ServiceUnavailable));
        assert!(verdict.move_on && !verdict.never_sent);
    }
}
