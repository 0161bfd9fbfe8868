//! On whose behalf something is done.

use std::sync::Arc;

/// What a request brings to say who sent it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing.
    #[default]
    None,
    /// A token.
    Token(Secret),
    /// The common name of a client certificate that was verified.
    CommonName(String),
}

/// Something that must not be printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Who acts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Caller {
    /// The process that embeds the store, or the store itself: nothing is checked.
    #[default]
    Trusted,
    /// A client that did not say who it is; may do everything while auth is off, and nothing while it is on.
    Nobody,
    /// A user.
    User(Arc<Identity>),
}

/// A user, and since when that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user's name.
    pub name: String,
    /// The revision of users and roles when the name was found out: when that has moved on, it has to be found out
    /// again.
    pub revision: u64,
    /// What the name was found out from.
    pub credentials: Credentials,
    /// The revision is that of a signature, so to look again would find the same.
    pub signed: bool,
}

impl Caller {
    /// A user as a command in the log names it.
    pub fn user(name: &str, revision: u64) -> Self {
        Self::User(Arc::new(Identity { name: name.to_owned(), revision, ..Identity::default() }))
    }
}
