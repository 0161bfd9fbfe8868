//! What changes users, roles and tokens, as it stands in the log.

use bincode::{BorrowDecode, Encode};
use bytes::Bytes;

use super::password::Hashed;
use super::state::{Permission, PermissionKind};
use super::token::TokenId;
use crate::codec;

/// A change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// From now on callers must be known.
    Enable,
    /// From now on everybody may do everything, and no token is good any more.
    Disable,
    /// Add a user.
    UserAdd {
        /// Its name.
        name: String,
        /// What its password is recognized by; without one, only certificates stand for the user.
        password: Option<Hashed>,
    },
    /// Delete a user.
    UserDelete(String),
    /// Give a user another password. One that has none keeps having none.
    UserPassword {
        /// The user.
        name: String,
        /// What the password is recognized by.
        password: Hashed,
    },
    /// Give a user a role.
    UserGrant {
        /// The user.
        name: String,
        /// The role.
        role: String,
    },
    /// Take a role from a user.
    UserRevoke {
        /// The user.
        name: String,
        /// The role.
        role: String,
    },
    /// Add a role.
    RoleAdd(String),
    /// Delete a role, from its users too.
    RoleDelete(String),
    /// Allow a role something; replaces what it was allowed on the same range.
    RoleGrant {
        /// The role.
        name: String,
        /// What it may do.
        permission: Permission,
    },
    /// Take back what a role was allowed on a range.
    RoleRevoke {
        /// The role.
        name: String,
        /// The first key, as it was granted.
        key: Bytes,
        /// The end, as it was granted.
        range_end: Bytes,
    },
    /// A user has shown a password: from now on a token stands for the user.
    TokenIssue {
        /// The user.
        user: String,
        /// The revision of users and roles when the password was compared.
        revision: u64,
        /// The token.
        token: TokenId,
    },
    /// Tokens were used.
    TokensRenew(Vec<TokenId>),
    /// End tokens that were not used for long, as the leader of a term sees it. Without effect in any other term.
    TokensExpire {
        /// The term.
        term: u64,
        /// The tokens, each with the index of its last renewal that the leader knew.
        tokens: Vec<(TokenId, u64)>,
    },
}

/// The record of a change. Variants and fields are only ever added at the end.
#[derive(Encode, BorrowDecode)]
pub(crate) enum ChangeRecord<'a> {
    Enable,
    Disable,
    UserAdd { name: &'a str, password: Option<&'a [u8]> },
    UserDelete(&'a str),
    UserPassword { name: &'a str, password: &'a [u8] },
    UserGrant { name: &'a str, role: &'a str },
    UserRevoke { name: &'a str, role: &'a str },
    RoleAdd(&'a str),
    RoleDelete(&'a str),
    RoleGrant { name: &'a str, kind: u8, key: &'a [u8], range_end: &'a [u8] },
    RoleRevoke { name: &'a str, key: &'a [u8], range_end: &'a [u8] },
    TokenIssue { user: &'a str, revision: u64, token: [u8; 32] },
    TokensRenew(Vec<[u8; 32]>),
    TokensExpire { term: u64, tokens: Vec<([u8; 32], u64)> },
}

impl Change {
    pub(crate) fn record(&self) -> ChangeRecord<'_> {
        match self {
            Self::Enable => ChangeRecord::Enable,
            Self::Disable => ChangeRecord::Disable,
            Self::UserAdd { name, password } => {
                ChangeRecord::UserAdd { name, password: password.as_ref().map(Hashed::as_bytes) }
            }
            Self::UserDelete(name) => ChangeRecord::UserDelete(name),
            Self::UserPassword { name, password } => {
                ChangeRecord::UserPassword { name, password: password.as_bytes() }
            }
            Self::UserGrant { name, role } => ChangeRecord::UserGrant { name, role },
            Self::UserRevoke { name, role } => ChangeRecord::UserRevoke { name, role },
            Self::RoleAdd(name) => ChangeRecord::RoleAdd(name),
            Self::RoleDelete(name) => ChangeRecord::RoleDelete(name),
            Self::RoleGrant { name, permission: Permission { kind, key, range_end } } => {
                ChangeRecord::RoleGrant { name, kind: kind.number(), key, range_end }
            }
            Self::RoleRevoke { name, key, range_end } => ChangeRecord::RoleRevoke { name, key, range_end },
            Self::TokenIssue { user, revision, token } => {
                ChangeRecord::TokenIssue { user, revision: *revision, token: token.0 }
            }
            Self::TokensRenew(tokens) => {
                ChangeRecord::TokensRenew(tokens.iter().map(|token| token.0).collect())
            }
            Self::TokensExpire { term, tokens } => ChangeRecord::TokensExpire {
                term: *term,
                tokens: tokens.iter().map(|(token, renewed)| (token.0, *renewed)).collect(),
            },
        }
    }

    pub(crate) fn of_record(record: &ChangeRecord<'_>) -> Result<Self, codec::Error> {
        let hashed = |bytes: &[u8]| {
            Hashed::decode(bytes).ok_or_else(|| codec::Error::Malformed("a hashed password".to_owned()))
        };
        let text = |text: &&str| (*text).to_owned();
        Ok(match record {
            ChangeRecord::Enable => Self::Enable,
            ChangeRecord::Disable => Self::Disable,
            ChangeRecord::UserAdd { name, password } => {
                Self::UserAdd { name: text(name), password: password.map(hashed).transpose()? }
            }
            ChangeRecord::UserDelete(name) => Self::UserDelete(text(name)),
            ChangeRecord::UserPassword { name, password } => {
                Self::UserPassword { name: text(name), password: hashed(password)? }
            }
            ChangeRecord::UserGrant { name, role } => Self::UserGrant { name: text(name), role: text(role) },
            ChangeRecord::UserRevoke { name, role } => {
                Self::UserRevoke { name: text(name), role: text(role) }
            }
            ChangeRecord::RoleAdd(name) => Self::RoleAdd(text(name)),
            ChangeRecord::RoleDelete(name) => Self::RoleDelete(text(name)),
            ChangeRecord::RoleGrant { name, kind, key, range_end } => Self::RoleGrant {
                name: text(name),
                permission: Permission {
                    kind: PermissionKind::of_number(*kind)
                        .ok_or_else(|| codec::Error::Malformed(format!("permission {kind}")))?,
                    key: Bytes::copy_from_slice(key),
                    range_end: Bytes::copy_from_slice(range_end),
                },
            },
            ChangeRecord::RoleRevoke { name, key, range_end } => Self::RoleRevoke {
                name: text(name),
                key: Bytes::copy_from_slice(key),
                range_end: Bytes::copy_from_slice(range_end),
            },
            ChangeRecord::TokenIssue { user, revision, token } => {
                Self::TokenIssue { user: text(user), revision: *revision, token: TokenId(*token) }
            }
            ChangeRecord::TokensRenew(tokens) => {
                Self::TokensRenew(tokens.iter().copied().map(TokenId).collect())
            }
            ChangeRecord::TokensExpire { term, tokens } => Self::TokensExpire {
                term: *term,
                tokens: tokens.iter().map(|(token, renewed)| (TokenId(*token), *renewed)).collect(),
            },
        })
    }
}
