//! How users, roles and tokens are laid out in bytes.
//!
//! | key | value |
//! |---|---|
//! | `u`, `0` | enabled u8, revision u64 LE |
//! | `u`, `u`, name | a record of [`codec`]: hashed password, roles, since |
//! | `u`, `r`, name | a record: permissions |
//! | `u`, `t`, SHA-256 of the secret | a record: user, index of issue and of last renewal |

use std::sync::Arc;

use bincode::{BorrowDecode, Encode};
use bytes::{BufMut, Bytes, BytesMut};

use super::password::Hashed;
use super::state::{Permission, PermissionKind, Role, State, User};
use super::token::{Token, TokenId};
use crate::codec;
use crate::engine::{Batch, Reader};
use crate::mvcc::{Error, layout};

const FACTS: u8 = b'0';
const USERS: u8 = b'u';
const ROLES: u8 = b'r';
const TOKENS: u8 = b't';

#[derive(Encode, BorrowDecode)]
struct UserRecord<'a> {
    password: Option<&'a [u8]>,
    roles: Vec<&'a str>,
    since: u64,
}

#[derive(Encode, BorrowDecode)]
struct RoleRecord<'a> {
    permissions: Vec<(u8, &'a [u8], &'a [u8])>,
}

#[derive(Encode, BorrowDecode)]
struct TokenRecord<'a> {
    user: &'a str,
    issued: u64,
    renewed: u64,
}

fn key(part: u8, name: &[u8]) -> Bytes {
    let mut key = BytesMut::with_capacity(2 + name.len());
    key.put_u8(layout::AUTH);
    key.put_u8(part);
    key.put_slice(name);
    key.freeze()
}

fn put(key: Bytes, record: Option<Result<Bytes, codec::Error>>, batch: &mut Batch) {
    match record {
        Some(record) => batch.put(key, record.expect("what was bounded when it was added fits a record")),
        None => batch.delete(key),
    }
}

/// Records whether auth is on, and its revision.
pub fn write_facts(state: &State, batch: &mut Batch) {
    let mut value = BytesMut::with_capacity(9);
    value.put_u8(u8::from(state.enabled));
    value.put_u64_le(state.revision);
    batch.put(key(FACTS, b""), value.freeze());
}

/// Records a user, or that there is none of that name.
pub fn write_user(name: &str, user: Option<&User>, batch: &mut Batch) {
    let record = user.map(|user| {
        codec::encode(&UserRecord {
            password: user.password.as_ref().map(Hashed::as_bytes),
            roles: user.roles.iter().map(String::as_str).collect(),
            since: user.since,
        })
    });
    put(key(USERS, name.as_bytes()), record, batch);
}

/// Records a role, or that there is none of that name.
pub fn write_role(name: &str, role: Option<&Role>, batch: &mut Batch) {
    let record = role.map(|role| {
        let permissions = role.permissions().iter();
        let permissions =
            permissions.map(|own| (own.kind.number(), own.key.as_ref(), own.range_end.as_ref()));
        codec::encode(&RoleRecord { permissions: permissions.collect() })
    });
    put(key(ROLES, name.as_bytes()), record, batch);
}

/// Records a token, or that it is gone.
pub fn write_token(id: TokenId, token: Option<&Token>, batch: &mut Batch) {
    let record = token.map(|token| {
        codec::encode(&TokenRecord { user: &token.user, issued: token.issued, renewed: token.renewed })
    });
    put(key(TOKENS, &id.0), record, batch);
}

/// Whether an entry of the engine is a token: those do not survive a restore, as the clients of a cluster do not come
/// along with its image.
pub fn is_token(entry: &[u8]) -> bool {
    entry.starts_with(&[layout::AUTH, TOKENS])
}

/// The state an engine holds.
pub fn read_all(reader: &dyn Reader) -> Result<State, Error> {
    let (lower, upper) = layout::table(layout::AUTH);
    let mut cursor = reader.cursor(&lower, &upper);
    cursor.seek(&lower)?;
    let mut state = State::default();
    while let Some((entry, value)) = cursor.entry() {
        take(&mut state, entry, value)?;
        cursor.next()?;
    }
    Ok(state)
}

fn take(state: &mut State, entry: &[u8], value: &[u8]) -> Result<(), Error> {
    let unknown = || Error::corrupt("auth key", format!("{} bytes", entry.len()));
    let (part, name) = entry.get(1..).and_then(<[u8]>::split_first).ok_or_else(unknown)?;
    match *part {
        FACTS => (state.enabled, state.revision) = facts(value)?,
        USERS => {
            state.users.insert(text(name)?, Arc::new(user(value)?));
        }
        ROLES => {
            state.roles.insert(text(name)?, Arc::new(role(value)?));
        }
        TOKENS => {
            let id = TokenId(name.try_into().map_err(|_| unknown())?);
            state.tokens.insert(id, Arc::new(token(value)?));
        }
        _ => return Err(unknown()),
    }
    Ok(())
}

fn text(name: &[u8]) -> Result<String, Error> {
    String::from_utf8(name.to_vec()).map_err(|error| Error::corrupt("auth name", error.to_string()))
}

fn facts(value: &[u8]) -> Result<(bool, u64), Error> {
    let revision = value.get(1..).and_then(|field| field.try_into().ok()).map(u64::from_le_bytes);
    match (value.first(), revision) {
        (Some(enabled @ (0 | 1)), Some(revision @ 1..=REVISION_MAX)) => Ok((*enabled == 1, revision)),
        _ => Err(Error::corrupt("auth facts", format!("{value:?}"))),
    }
}

/// No store ever counts half as far; and from there on, counting on would overflow.
const REVISION_MAX: u64 = u64::MAX / 2;

fn user(value: &[u8]) -> Result<User, Error> {
    let corrupt = |detail: String| Error::corrupt("user", detail);
    let record: UserRecord<'_> = codec::decode(value).map_err(|error| corrupt(error.to_string()))?;
    let hashed = |bytes| Hashed::decode(bytes).ok_or_else(|| corrupt("its password".to_owned()));
    let roles: Vec<String> = record.roles.into_iter().map(str::to_owned).collect();
    if !roles.is_sorted() {
        return Err(corrupt("its roles are not in order".to_owned()));
    }
    Ok(User { password: record.password.map(hashed).transpose()?, roles, since: record.since })
}

fn role(value: &[u8]) -> Result<Role, Error> {
    let corrupt = |detail: String| Error::corrupt("role", detail);
    let record: RoleRecord<'_> = codec::decode(value).map_err(|error| corrupt(error.to_string()))?;
    let permission = |(kind, key, range_end): (u8, &[u8], &[u8])| {
        let kind = PermissionKind::of_number(kind).ok_or_else(|| corrupt(format!("permission {kind}")))?;
        let (key, range_end) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(range_end));
        let permission = Permission { kind, key, range_end };
        if permission.is_valid() {
            Ok(permission)
        } else {
            Err(corrupt("a permission on nothing".to_owned()))
        }
    };
    Ok(Role::new(record.permissions.into_iter().map(permission).collect::<Result<_, _>>()?))
}

fn token(value: &[u8]) -> Result<Token, Error> {
    let record: TokenRecord<'_> =
        codec::decode(value).map_err(|error| Error::corrupt("token", error.to_string()))?;
    Ok(Token { user: record.user.to_owned(), issued: record.issued, renewed: record.renewed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_records_are_noticed() {
        let cases: [(&[u8], &[u8]); 8] = [
            (b"u", b""),
            (b"u?", b""),
            (b"u0", b"\x02\x01\0\0\0\0\0\0\0"),
            (b"u0", b"\x01\0\0\0\0\0\0\0\0"),
            (b"u0", b"\x01\xff\xff\xff\xff\xff\xff\xff\xff"),
            (b"uu\xff", b""),
            (b"urname", b"\x01\xff"),
            (b"utshort", b""),
        ];
        for (entry, value) in cases {
            assert!(take(&mut State::default(), entry, value).is_err(), "{entry:?} {value:?}");
        }
        let mut state = State::default();
        take(&mut state, b"u0", b"\x01\x07\0\0\0\0\0\0\0").unwrap();
        assert_eq!((state.enabled, state.revision), (true, 7));
    }
}
