//! Why users, roles and permissions refuse a request.

/// Which rule of authentication or authorization refused. The texts are etcd's, without its `etcdserver: ` prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// Auth cannot be switched on without a user root.
    #[error("root user does not exist")]
    RootUserMissing,
    /// Auth cannot be switched on while root has not the role root.
    #[error("root user does not have root role")]
    RootRoleMissing,
    /// A user of that name exists already.
    #[error("user name already exists")]
    UserExists,
    /// A request without a user, or a user without a name.
    #[error("user name is empty")]
    UserEmpty,
    /// No such user.
    #[error("user name not found")]
    UserNotFound,
    /// A role of that name exists already.
    #[error("role name already exists")]
    RoleExists,
    /// No such role.
    #[error("role name not found")]
    RoleNotFound,
    /// A role without a name.
    #[error("role name is empty")]
    RoleEmpty,
    /// Wrong user or password.
    #[error("authentication failed, invalid user ID or password")]
    Failed,
    /// A grant that does not say what.
    #[error("permission not given")]
    PermissionNotGiven,
    /// The user may not do that.
    #[error("permission denied")]
    PermissionDenied,
    /// The user has not the role that is to be revoked.
    #[error("role is not granted to the user")]
    RoleNotGranted,
    /// The role has not the permission that is to be revoked.
    #[error("permission is not granted to the role")]
    PermissionNotGranted,
    /// Auth is switched off.
    #[error("authentication is not enabled")]
    NotEnabled,
    /// The token is unknown, has ended, or is not what its signature says.
    #[error("invalid auth token")]
    InvalidToken,
    /// A change that would lock everybody out, or makes no sense.
    #[error("invalid auth management")]
    InvalidManagement,
    /// Users or roles have changed since the caller was identified.
    #[error("revision of auth store is old")]
    OldRevision,
}

impl Denial {
    /// All of them. Answers in the log name them by their place here: only ever add at the end.
    pub const ALL: [Self; 17] = [
        Self::RootUserMissing,
        Self::RootRoleMissing,
        Self::UserExists,
        Self::UserEmpty,
        Self::UserNotFound,
        Self::RoleExists,
        Self::RoleNotFound,
        Self::RoleEmpty,
        Self::Failed,
        Self::PermissionNotGiven,
        Self::PermissionDenied,
        Self::RoleNotGranted,
        Self::PermissionNotGranted,
        Self::NotEnabled,
        Self::InvalidToken,
        Self::InvalidManagement,
        Self::OldRevision,
    ];

    /// The denial with this text.
    pub fn of_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|denial| denial.to_string() == text)
    }

    /// The denial that a member's message tells.
    pub fn of_status(message: &str) -> Option<Self> {
        Self::of_text(message.strip_prefix("etcdserver: ")?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_denial_is_found_by_its_text() {
        for denial in Denial::ALL {
            assert_eq!(Denial::of_text(&denial.to_string()), Some(denial));
        }
        assert_eq!(Denial::of_text("no such text"), None);
        assert_eq!(Denial::of_status("etcdserver: permission denied"), Some(Denial::PermissionDenied));
    }
}
