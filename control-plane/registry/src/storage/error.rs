//! The one table that turns failures of the store into a Kubernetes `Status`.

use api::{Reason, Status};
use store_client::Error;

/// What the caller is told.
pub(crate) fn status(error: &Error) -> Status {
    match error {
        Error::Compacted { .. } => Status::expired("The resourceVersion for the provided list is too old."),
        Error::FutureRevision { newest } => too_large(newest.0),
        Error::TooLarge(why) => {
            Status::failure(Reason::RequestEntityTooLarge, format!("Request is too large: {why}"))
        }
        Error::Slow => Status::expired("the watch fell behind and was cut off"),
        Error::NoSpace(why) => Status::unavailable(format!("the store is out of space: {why}")),
        Error::Unavailable(why) => Status::unavailable(format!("the store is unavailable: {why}")),
        Error::Timeout(why) => Status::timeout(format!("the store did not answer in time: {why}")),
        Error::LeaseNotFound
        | Error::LeaseExists
        | Error::Denied(_)
        | Error::Invalid(_)
        | Error::Internal(_) => Status::internal(error),
    }
}

/// Upstream's words for a resource version from the future.
pub(crate) fn too_large(current: i64) -> Status {
    Status::timeout(format!("Too large resource version: current: {current}"))
}
