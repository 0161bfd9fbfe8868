//! Errors of the store as gRPC statuses: the only place that chooses a code.

use store_client::remote::{NEWEST_REVISION, OLDEST_REVISION};
use store_client::{Denial, Error, Revision, validate};
use tonic::{Code, Status};

use crate::auth::password::TOO_MANY;
use crate::history;

/// What etcd says for an error.
pub fn status(error: Error) -> Status {
    match error {
        Error::Compacted { oldest } => with_revision(
            Status::out_of_range("etcdserver: mvcc: required revision has been compacted"),
            OLDEST_REVISION,
            oldest,
        ),
        Error::FutureRevision { newest } => with_revision(
            Status::out_of_range("etcdserver: mvcc: required revision is a future revision"),
            NEWEST_REVISION,
            newest,
        ),
        Error::LeaseNotFound => Status::not_found("etcdserver: requested lease not found"),
        Error::LeaseExists => Status::failed_precondition("etcdserver: lease already exists"),
        Error::Denied(denial) => denied(denial),
        Error::Invalid(text) => {
            let code =
                if text == validate::LEASE_TTL_TOO_LARGE { Code::OutOfRange } else { Code::InvalidArgument };
            Status::new(code, format!("etcdserver: {text}"))
        }
        Error::TooLarge(_) => request_too_large(),
        Error::NoSpace(_) => Status::resource_exhausted("etcdserver: mvcc: database space exceeded"),
        Error::Timeout(_) => Status::unavailable("etcdserver: request timed out"),
        Error::Unavailable(text) if text == raft::Error::NoLeader.to_string() => no_leader(),
        Error::Unavailable(text) if text == TOO_MANY => {
            Status::resource_exhausted(format!("etcdserver: {text}"))
        }
        Error::Unavailable(text) if text == raft::Error::Stopped.to_string() => {
            Status::unavailable("etcdserver: server stopped")
        }
        Error::Unavailable(text) => Status::unavailable(format!("etcdserver: {text}")),
        Error::Slow => Status::resource_exhausted("etcdserver: the watcher fell behind"),
        Error::Internal(text) => Status::internal(format!("etcdserver: {text}")),
    }
}

/// Why a caller is refused.
pub fn denied(denial: Denial) -> Status {
    let code = match denial {
        Denial::RootUserMissing
        | Denial::RootRoleMissing
        | Denial::UserExists
        | Denial::UserNotFound
        | Denial::RoleExists
        | Denial::RoleNotFound
        | Denial::RoleNotGranted
        | Denial::PermissionNotGranted
        | Denial::NotEnabled => Code::FailedPrecondition,
        Denial::UserEmpty
        | Denial::RoleEmpty
        | Denial::Failed
        | Denial::PermissionNotGiven
        | Denial::InvalidManagement
        | Denial::OldRevision => Code::InvalidArgument,
        Denial::PermissionDenied => Code::PermissionDenied,
        Denial::InvalidToken => Code::Unauthenticated,
    };
    Status::new(code, format!("etcdserver: {denial}"))
}

/// Why a watch ends. Of denials etcd sends the whole error as Go prints it, and its clients compare that word by word
/// to find out whether they should log in again.
pub fn watch_reason(error: Error) -> String {
    let is_denial = matches!(error, Error::Denied(_));
    let status = status(error);
    if is_denial { go_error(&status) } else { status.message().to_owned() }
}

/// A refusal as Go prints it.
pub fn go_error(status: &Status) -> String {
    let code = match status.code() {
        Code::InvalidArgument => "InvalidArgument",
        Code::PermissionDenied => "PermissionDenied",
        Code::Unauthenticated => "Unauthenticated",
        _ => "FailedPrecondition",
    };
    format!("rpc error: code = {code} desc = {}", status.message())
}

/// What is wrong with a question to history.
pub fn history(error: history::Error) -> Status {
    let text = format!("kontiki: {error}");
    match error {
        history::Error::Before { .. } => Status::out_of_range(text),
        history::Error::Newer { .. } => Status::failed_precondition(text),
        history::Error::NothingDeleted { .. } => Status::not_found(text),
        history::Error::Changed { .. } => Status::aborted(text),
        history::Error::Store(error) => status(error),
    }
}

/// Tells our own clients what etcd's protocol has no field for.
fn with_revision(mut status: Status, name: &'static str, revision: Revision) -> Status {
    status.metadata_mut().insert(name, revision.0.into());
    status
}

/// Nobody leads.
pub fn no_leader() -> Status {
    Status::unavailable("etcdserver: no leader")
}

/// The request exceeds the limit.
pub fn request_too_large() -> Status {
    Status::invalid_argument("etcdserver: request is too large")
}

/// The request contradicts itself.
pub fn invalid(text: &str) -> Status {
    Status::invalid_argument(format!("etcdserver: {text}"))
}

/// The lease ended while its owner waited. etcd gives this and the following no code of its own.
pub fn session_expired() -> Status {
    Status::unknown("mutex: session is expired")
}

/// A candidate that does not lead proclaims something.
pub fn not_leader() -> Status {
    Status::unknown("election: not leader")
}

/// Nobody was elected.
pub fn no_elected_leader() -> Status {
    Status::unknown("election: no leader")
}

/// A proclamation or resignation that does not say whose.
pub fn missing_leader_key() -> Status {
    Status::unknown("\"leader\" field must be provided")
}

/// No such member.
pub fn member_not_found() -> Status {
    Status::not_found("etcdserver: member not found")
}

/// A failed change of the membership.
pub fn membership(error: raft::Error) -> Status {
    match error {
        raft::Error::Membership(text) => Status::failed_precondition(format!("etcdserver: {text}")),
        other => status(crate::server::raft_error(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_texts_are_etcds() {
        let table = [
            (
                Error::Compacted { oldest: Revision(1) },
                Code::OutOfRange,
                "etcdserver: mvcc: required revision has been compacted",
            ),
            (
                Error::FutureRevision { newest: Revision(1) },
                Code::OutOfRange,
                "etcdserver: mvcc: required revision is a future revision",
            ),
            (Error::LeaseNotFound, Code::NotFound, "etcdserver: requested lease not found"),
            (Error::LeaseExists, Code::FailedPrecondition, "etcdserver: lease already exists"),
            (
                Error::Invalid(validate::DUPLICATE_KEY.into()),
                Code::InvalidArgument,
                "etcdserver: duplicate key given in txn request",
            ),
            (
                Error::Invalid(validate::EMPTY_KEY.into()),
                Code::InvalidArgument,
                "etcdserver: key is not provided",
            ),
            (
                Error::Invalid(validate::TOO_MANY_OPS.into()),
                Code::InvalidArgument,
                "etcdserver: too many operations in txn request",
            ),
            (
                Error::Invalid(validate::LEASE_TTL_TOO_LARGE.into()),
                Code::OutOfRange,
                "etcdserver: too large lease TTL",
            ),
            (Error::TooLarge("x".into()), Code::InvalidArgument, "etcdserver: request is too large"),
            (
                Error::NoSpace("x".into()),
                Code::ResourceExhausted,
                "etcdserver: mvcc: database space exceeded",
            ),
            (
                Error::Unavailable(raft::Error::NoLeader.to_string()),
                Code::Unavailable,
                "etcdserver: no leader",
            ),
            (Error::Timeout("x".into()), Code::Unavailable, "etcdserver: request timed out"),
            (Error::Unavailable(TOO_MANY.into()), Code::ResourceExhausted, "etcdserver: too many requests"),
            (Denial::UserEmpty.into(), Code::InvalidArgument, "etcdserver: user name is empty"),
            (Denial::PermissionDenied.into(), Code::PermissionDenied, "etcdserver: permission denied"),
            (Denial::InvalidToken.into(), Code::Unauthenticated, "etcdserver: invalid auth token"),
            (Denial::OldRevision.into(), Code::InvalidArgument, "etcdserver: revision of auth store is old"),
            (
                Denial::NotEnabled.into(),
                Code::FailedPrecondition,
                "etcdserver: authentication is not enabled",
            ),
            (
                Denial::Failed.into(),
                Code::InvalidArgument,
                "etcdserver: authentication failed, invalid user ID or password",
            ),
        ];
        for (error, code, text) in table {
            let status = status(error);
            assert_eq!((status.code(), status.message()), (code, text));
        }
    }
    #[test]
    fn a_watch_that_is_denied_ends_with_what_go_prints() {
        let reason = watch_reason(Denial::InvalidToken.into());
        assert_eq!(reason, "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token");
        let compacted = watch_reason(Error::Compacted { oldest: Revision(3) });
        assert_eq!(compacted, "etcdserver: mvcc: required revision has been compacted");
    }
}
