//! Users, roles and tokens: the value that changes make the next one of.

use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;
use store_client::KeyRange;

use super::password::Hashed;
use super::span::{Set, Span};
use super::token::{Token, TokenId};
use super::{ROOT, span};

/// What a permission allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PermissionKind {
    /// To read.
    Read,
    /// To write and delete.
    Write,
    /// Both.
    ReadWrite,
}

impl PermissionKind {
    /// The number etcd's protocol has for it; also in records.
    pub fn number(self) -> u8 {
        match self {
            Self::Read => 0,
            Self::Write => 1,
            Self::ReadWrite => 2,
        }
    }

    /// The kind of a number.
    pub fn of_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Read),
            1 => Some(Self::Write),
            2 => Some(Self::ReadWrite),
            _ => None,
        }
    }
}

/// Something a role may do, as it was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// What.
    pub kind: PermissionKind,
    /// On which keys: the first.
    pub key: Bytes,
    /// The end, as in etcd's requests: nothing for one key, a zero byte for no end.
    pub range_end: Bytes,
}

impl Permission {
    /// The keys.
    pub fn keys(&self) -> KeyRange {
        let (key, end) = (self.key.clone(), self.range_end.clone());
        match end.as_ref() {
            [] => KeyRange::Key(key),
            [0] => KeyRange::From(key),
            [..] => KeyRange::Interval { start: key, end },
        }
    }

    /// Whether it makes sense: some keys, beginning with one.
    pub fn is_valid(&self) -> bool {
        !self.key.is_empty() && (matches!(self.range_end.as_ref(), [] | [0]) || self.key < self.range_end)
    }
}

/// A set of permissions with a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    permissions: Vec<Permission>,
    read: Set,
    write: Set,
}

impl Role {
    /// A role that may do this.
    pub fn new(mut permissions: Vec<Permission>) -> Self {
        permissions.sort_by(|a, b| a.key.cmp(&b.key));
        let union = |without: PermissionKind| {
            let granted = permissions.iter().filter(|permission| permission.kind != without);
            Set::union(granted.map(|permission| Span::of(&permission.keys())).collect())
        };
        let (read, write) = (union(PermissionKind::Write), union(PermissionKind::Read));
        Self { read, write, permissions }
    }

    /// What it may do, in the order of first keys.
    pub fn permissions(&self) -> &[Permission] {
        &self.permissions
    }
}

/// Somebody who may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// What the password is recognized by; none for users who only have certificates.
    pub password: Option<Hashed>,
    /// The names of the roles, in order.
    pub roles: Vec<String>,
    /// The revision of users and roles at which the user was added or got the present password. What was found out
    /// about the name before is about somebody else.
    pub since: u64,
}

impl User {
    /// Whether the user may do everything.
    pub fn is_root(&self) -> bool {
        self.has(ROOT)
    }

    /// Whether the user has a role.
    pub fn has(&self, role: &str) -> bool {
        self.roles.binary_search_by(|own| own.as_str().cmp(role)).is_ok()
    }
}

/// Everything about users. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Whether callers must be known.
    pub enabled: bool,
    /// Counter of changes of users and roles, from 1; not the store's revision.
    pub revision: u64,
    /// Users by name.
    pub users: OrdMap<String, Arc<User>>,
    /// Roles by name.
    pub roles: OrdMap<String, Arc<Role>>,
    /// Tokens that are good.
    pub tokens: OrdMap<TokenId, Arc<Token>>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            enabled: false,
            revision: 1,
            users: OrdMap::new(),
            roles: OrdMap::new(),
            tokens: OrdMap::new(),
        }
    }
}

impl State {
    /// Whether the roles of a user, together, allow to read a range.
    pub fn may_read(&self, user: &User, keys: &KeyRange) -> bool {
        let roles = user.roles.iter().filter_map(|role| self.roles.get(role));
        span::cover(roles.map(|role| &role.read), keys)
    }

    /// Whether the roles of a user, together, allow to write to a range.
    pub fn may_write(&self, user: &User, keys: &KeyRange) -> bool {
        let roles = user.roles.iter().filter_map(|role| self.roles.get(role));
        span::cover(roles.map(|role| &role.write), keys)
    }
}
