//! How keys, versions and the other tables are laid out in bytes.
//!
//! A key may hold any byte, and versions of one key must sort together and before those of any longer key. So
//! `00` inside a key is written `00 ff`, and the key ends with `00 01`.
//!
//! | version record | |
//! |---|---|
//! | kind u8 | 1 written, 0 deleted (then nothing follows) |
//! | varint | revision minus create revision |
//! | varint | version |
//! | varint | lease |
//! | rest | value |
//!
//! | record of a change | |
//! |---|---|
//! | kind u8 | 3 written, 4 deleted, 5 written and deleted by the same transaction |
//! | varint | how many revisions before the key had been written, 0 when it did not exist |
//! | unless 0: varint | bytes of the value it had |
//! | 5: varint | bytes of the key |
//! | 3, 4: rest; 5: as long | key |
//! | 5: rest | version record of what was written |

use bytes::{BufMut, Bytes, BytesMut};
use store_client::{KeyRange, KeyValue, LeaseId, Revision};

use super::Error;
use crate::engine::{FRONT_BYTES, GROUP_END, SEQUENCE_BYTES};

/// Tag of the versions table.
pub use crate::engine::VERSIONS;
/// Tag of the log table.
pub const LOG: u8 = b'r';
/// Tag of the lease table.
pub const LEASES: u8 = b'l';
/// Tag of the attachment table.
pub const ATTACHMENTS: u8 = b'a';
/// Tag of the table of times.
pub const TIMES: u8 = b't';
/// Tag of the table of users, roles and tokens; see [`auth::record`](crate::auth::record).
pub const AUTH: u8 = b'u';
/// Tag of the table of alarms.
pub const ALARMS: u8 = b'w';
/// Tag of the facts.
pub const FACTS: u8 = b'm';

const ESCAPED_ZERO: [u8; 2] = [0x00, 0xff];
/// The entries of a key are a group to the engine.
const END: [u8; 2] = GROUP_END;
/// Follows every entry of a key and precedes those of the next: one more than [`END`].
const AFTER_END: [u8; 2] = [0x00, 0x02];
const REVISION_BYTES: usize = SEQUENCE_BYTES;
/// Bytes of a version record before the value, at most: all of them are in what a cursor has at hand.
const HEAD_BYTES_MAX: usize = 1 + 3 * 10;
const _: () = assert!(HEAD_BYTES_MAX <= FRONT_BYTES);

const WRITTEN: u8 = 1;
const DELETED: u8 = 0;
/// Not those of versions, and not those of records that did not say what was before.
const LOGGED_WRITTEN: u8 = 3;
const LOGGED_DELETED: u8 = 4;
const LOGGED_PASSED: u8 = 5;

/// Both ends of a table: `tag <= key < tag + 1`.
pub fn table(tag: u8) -> ([u8; 1], [u8; 1]) {
    ([tag], [tag + 1])
}

/// Start of the entries of a key.
pub fn key_start(key: &[u8]) -> BytesMut {
    let mut out = BytesMut::with_capacity(1 + key.len() + END.len() + REVISION_BYTES + 2);
    out.put_u8(VERSIONS);
    escape(key, &mut out);
    out.put_slice(&END);
    out
}

/// First entry after those of a key.
pub fn key_end(key: &[u8]) -> BytesMut {
    let mut out = key_start(key);
    let length = out.len();
    out.truncate(length - END.len());
    out.put_slice(&AFTER_END);
    out
}

/// The entry of a key at a revision. Newer ones sort before older ones.
pub fn version_key(key: &[u8], revision: i64) -> BytesMut {
    let mut out = key_start(key);
    out.put_u64(!unsigned(revision));
    out
}

/// The interval of entries of a range of keys.
pub fn range_bounds(keys: &KeyRange) -> (BytesMut, BytesMut) {
    match keys {
        KeyRange::Key(key) => (key_start(key), key_end(key)),
        KeyRange::Interval { start, end } => (key_start(start), key_start(end)),
        KeyRange::From(start) => (key_start(start), BytesMut::from(&table(VERSIONS).1[..])),
    }
}

/// Splits an entry's key into the group (tag and escaped key with its end) and the revision.
pub fn split_version_key(entry: &[u8]) -> Result<(&[u8], i64), Error> {
    let corrupt = || Error::corrupt("version key", format!("{} bytes", entry.len()));
    let group = entry.len().checked_sub(REVISION_BYTES).filter(|at| *at > END.len()).ok_or_else(corrupt)?;
    let (group, revision) = entry.split_at(group);
    let revision = u64::from_be_bytes(revision.try_into().map_err(|_| corrupt())?);
    Ok((group, i64::try_from(!revision).map_err(|_| corrupt())?))
}

/// The key of a group.
pub fn group_key(group: &[u8]) -> Bytes {
    let escaped = &group[1..group.len() - END.len()];
    if !escaped.contains(&0) {
        return Bytes::copy_from_slice(escaped);
    }
    let mut key = BytesMut::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some(at) = rest.iter().position(|byte| *byte == 0) {
        key.put_slice(&rest[..=at]);
        rest = rest.get(at + ESCAPED_ZERO.len()..).unwrap_or_default();
    }
    key.put_slice(rest);
    key.freeze()
}

fn escape(key: &[u8], out: &mut BytesMut) {
    let mut rest = key;
    while let Some(at) = rest.iter().position(|byte| *byte == 0) {
        out.put_slice(&rest[..at]);
        out.put_slice(&ESCAPED_ZERO);
        rest = &rest[at + 1..];
    }
    out.put_slice(rest);
}

/// One version of a key as it is stored, borrowed from the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version<'a> {
    /// The key was written.
    Written {
        /// How many revisions ago the key had been created.
        age: i64,
        /// Number of changes since creation.
        version: i64,
        /// The lease, 0 for none.
        lease: i64,
        /// The value.
        value: &'a [u8],
    },
    /// The key was deleted.
    Deleted,
}

impl<'a> Version<'a> {
    /// The record's bytes.
    pub fn encode(&self) -> Bytes {
        match *self {
            Self::Deleted => Bytes::from_static(&[DELETED]),
            Self::Written { age, version, lease, value } => {
                let mut out = BytesMut::with_capacity(HEAD_BYTES_MAX + value.len());
                out.put_u8(WRITTEN);
                put_varint(unsigned(age), &mut out);
                put_varint(unsigned(version), &mut out);
                put_varint(lease.cast_unsigned(), &mut out);
                out.put_slice(value);
                out.freeze()
            }
        }
    }

    /// Reads a record.
    pub fn decode(record: &'a [u8]) -> Result<Self, Error> {
        Ok(match Head::decode(record)? {
            None => Self::Deleted,
            Some(Head { age, version, lease, bytes }) => {
                Self::Written { age, version, lease, value: &record[bytes..] }
            }
        })
    }
}

/// What is before the value in the record of a version that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// How many revisions ago the key had been created.
    pub age: i64,
    /// Number of changes since creation.
    pub version: i64,
    /// The lease, 0 for none.
    pub lease: i64,
    /// Bytes of the record before the value.
    pub bytes: usize,
}

impl Head {
    /// Reads the front of a record; `None` for a deletion.
    pub fn decode(front: &[u8]) -> Result<Option<Self>, Error> {
        let corrupt = || Error::corrupt("version record", format!("{} bytes", front.len()));
        let (kind, mut rest) = front.split_first().ok_or_else(corrupt)?;
        match *kind {
            DELETED => Ok(None),
            WRITTEN => {
                let mut field = || take_varint(&mut rest).ok_or_else(corrupt);
                let (age, version, lease) = (field()?, field()?, field()?);
                let counted = |field| i64::try_from(field).map_err(|_| corrupt());
                Ok(Some(Self {
                    age: counted(age)?,
                    version: counted(version)?,
                    lease: lease.cast_signed(),
                    bytes: front.len() - rest.len(),
                }))
            }
            other => Err(Error::corrupt("version record", format!("kind {other}"))),
        }
    }

    /// The version as callers see it.
    pub fn key_value(self, key: Bytes, revision: i64, value: Bytes) -> KeyValue {
        let Self { age, version, lease, bytes: _ } = self;
        KeyValue {
            key,
            value,
            create_revision: Revision(revision - age),
            mod_revision: Revision(revision),
            version,
            lease: LeaseId(lease),
        }
    }
}

/// Bytes of the record of a version whose value has so many, at most.
pub fn record_bytes_max(value_bytes: u64) -> usize {
    usize::try_from(value_bytes).map_or(usize::MAX, |bytes| bytes.saturating_add(HEAD_BYTES_MAX))
}

/// Where a change stands in the log table.
pub fn log_key(revision: i64, number: u32) -> BytesMut {
    let mut out = BytesMut::with_capacity(13);
    out.put_u8(LOG);
    out.put_u64(unsigned(revision));
    out.put_u32(number);
    out
}

/// Start of a revision in the log table.
pub fn log_start(revision: i64) -> BytesMut {
    log_key(revision, 0)
}

/// Revision of an entry of the log table.
pub fn log_revision(entry: &[u8]) -> Result<i64, Error> {
    let field = entry.get(1..9).and_then(|field| field.try_into().ok());
    let revision = field.and_then(|field| i64::try_from(u64::from_be_bytes(field)).ok().filter(|at| *at > 0));
    revision.ok_or_else(|| Error::corrupt("log key", format!("{} bytes", entry.len())))
}

/// What the log table says about a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logged<'a> {
    /// What was done.
    pub done: Done<'a>,
    /// The version that it made superfluous, if the key existed.
    pub before: Option<Before>,
    /// The key.
    pub key: &'a [u8],
}

/// What was done to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done<'a> {
    /// It was written; how, its version of this revision tells.
    Written,
    /// It was deleted.
    Deleted,
    /// It was written by a transaction that deleted it afterwards: its version of this revision is the deletion.
    Passed(Version<'a>),
}

/// A version that another one made superfluous. It is known by its change, so that compaction need not look for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before {
    /// How many revisions ago it was written; at least one.
    pub ago: i64,
    /// Bytes of its value.
    pub value_bytes: u64,
}

impl<'a> Logged<'a> {
    /// The record's bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(1 + 3 * 10 + self.key.len());
        out.put_u8(match self.done {
            Done::Written => LOGGED_WRITTEN,
            Done::Deleted => LOGGED_DELETED,
            Done::Passed(_) => LOGGED_PASSED,
        });
        match self.before {
            None => out.put_u8(0),
            Some(Before { ago, value_bytes }) => {
                put_varint(unsigned(ago), &mut out);
                put_varint(value_bytes, &mut out);
            }
        }
        if let Done::Passed(version) = self.done {
            put_varint(self.key.len() as u64, &mut out);
            out.put_slice(self.key);
            out.put_slice(&version.encode());
        } else {
            out.put_slice(self.key);
        }
        out.freeze()
    }

    /// Reads a record.
    pub fn decode(record: &'a [u8]) -> Result<Self, Error> {
        let corrupt = || Error::corrupt("log record", format!("{} bytes", record.len()));
        let (kind, mut rest) = record.split_first().ok_or_else(corrupt)?;
        if !(LOGGED_WRITTEN..=LOGGED_PASSED).contains(kind) {
            return Err(Error::corrupt("log record", format!("kind {kind}")));
        }
        let mut field = || take_varint(&mut rest).ok_or_else(corrupt);
        let before = match field()? {
            0 => None,
            ago => Some(Before { ago: i64::try_from(ago).map_err(|_| corrupt())?, value_bytes: field()? }),
        };
        let (done, key) = match *kind {
            LOGGED_WRITTEN => (Done::Written, rest),
            LOGGED_DELETED => (Done::Deleted, rest),
            _ => {
                let length = usize::try_from(field()?).map_err(|_| corrupt())?;
                let (key, version) = rest.split_at_checked(length).ok_or_else(corrupt)?;
                (Done::Passed(Version::decode(version)?), key)
            }
        };
        Ok(Self { done, before, key })
    }
}

/// Where a lease stands.
pub fn lease_key(lease: i64) -> BytesMut {
    let mut out = BytesMut::with_capacity(9);
    out.put_u8(LEASES);
    out.put_i64(lease);
    out
}

/// The lease of an entry of the lease table.
pub fn lease_of(entry: &[u8]) -> Result<i64, Error> {
    let field = entry.get(1..9).and_then(|field| field.try_into().ok());
    field.map(i64::from_be_bytes).ok_or_else(|| Error::corrupt("lease key", format!("{} bytes", entry.len())))
}

/// What is stored about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseRecord {
    /// The time to live it was granted, in seconds.
    pub granted_ttl_s: i64,
    /// Raft index of the grant or the last renewal. An expiry decided before it does not count.
    pub renewed: u64,
}

impl LeaseRecord {
    /// The record's bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(20);
        put_varint(unsigned(self.granted_ttl_s), &mut out);
        put_varint(self.renewed, &mut out);
        out.freeze()
    }

    /// Reads a record.
    pub fn decode(mut record: &[u8]) -> Result<Self, Error> {
        let corrupt = || Error::corrupt("lease record", "too short");
        let granted_ttl_s =
            take_varint(&mut record).and_then(|ttl| i64::try_from(ttl).ok()).ok_or_else(corrupt)?;
        let renewed = take_varint(&mut record).ok_or_else(corrupt)?;
        Ok(Self { granted_ttl_s, renewed })
    }
}

/// Start of the attachments of a lease; the key follows.
pub fn attachment_key(lease: i64, key: &[u8]) -> BytesMut {
    let mut out = BytesMut::with_capacity(9 + key.len());
    out.put_u8(ATTACHMENTS);
    out.put_i64(lease);
    out.put_slice(key);
    out
}

/// First entry after the attachments of a lease.
pub fn attachments_end(lease: i64) -> BytesMut {
    // The table is ordered by the bytes of the id, so after ff..ff comes the next table.
    match lease.cast_unsigned().checked_add(1) {
        Some(next) => attachment_key(next.cast_signed(), b""),
        None => BytesMut::from(&table(ATTACHMENTS).1[..]),
    }
}

/// The key of an entry of the attachment table.
pub fn attached_key(entry: &[u8]) -> &[u8] {
    entry.get(9..).unwrap_or_default()
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).expect("revisions, versions and times to live are not negative")
}

/// A number in as few bytes as it takes, seven bits in each.
pub(super) fn put_varint(mut number: u64, out: &mut impl BufMut) {
    while number >= 0x80 {
        out.put_u8((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

/// The same number, taken from the front; `None` if there is none.
pub(super) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_sort_by_key_and_then_newest_first() {
        let keys: [&[u8]; 8] = [b"", b"\0", b"\0\0", b"\0\x01", b"\x01", b"a", b"a\0", b"ab"];
        for pair in keys.windows(2) {
            let (first, second) = (pair[0], pair[1]);
            assert!(version_key(first, i64::MAX) < version_key(first, 1));
            assert!(version_key(first, 1) < key_end(first));
            assert!(key_end(first) <= key_start(second), "{first:?} before {second:?}");
        }
        for key in keys {
            let entry = version_key(key, 77);
            let (group, revision) = split_version_key(&entry).unwrap();
            assert_eq!((group_key(group).as_ref(), revision), (key, 77));
            assert_eq!(group, key_start(key));
        }
    }

    #[test]
    fn records_read_back_and_keep_their_bytes() {
        let version = Version::Written { age: 300, version: 2, lease: -1, value: b"v" };
        let bytes = version.encode();
        let golden = b"\x01\xac\x02\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01v";
        assert_eq!(bytes.as_ref(), golden);
        assert_eq!(Version::decode(&bytes).unwrap(), version);
        assert_eq!(Version::decode(&Version::Deleted.encode()).unwrap(), Version::Deleted);
        for broken in [&b""[..], b"\x02", b"\x01", b"\x01\xff"] {
            assert!(Version::decode(broken).is_err());
        }
        let before = Some(Before { ago: 300, value_bytes: 5 });
        let passed = Logged { done: Done::Passed(version), before, key: b"key" };
        let written = b"\x05\xac\x02\x05\x03key\x01\xac\x02\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01v";
        assert_eq!(passed.encode().as_ref(), written);
        let written = Logged { done: Done::Written, before: None, key: b"key" };
        assert_eq!(written.encode().as_ref(), b"\x03\x00key");
        for logged in [passed, written, Logged { done: Done::Deleted, before, key: b"" }] {
            assert_eq!(Logged::decode(&logged.encode()).unwrap(), logged);
        }
        for broken in
            [&b""[..], b"\x01key", b"\x03", b"\x03\x01", b"\x05\x00", b"\x05\x00\x04key", b"\x05\x00\x03key"]
        {
            assert!(Logged::decode(broken).is_err());
        }
        let lease = LeaseRecord { granted_ttl_s: 60, renewed: 1000 };
        assert_eq!(LeaseRecord::decode(&lease.encode()).unwrap(), lease);
        assert!(attachment_key(-1, b"zz") < attachments_end(-1));
        assert!(attachment_key(5, b"zz") < attachments_end(5));
    }
}
