//! One entry of the versions table, read no further than somebody wants to know of it: its value may have to be fetched.

use bytes::Bytes;
use store_client::KeyValue;

use super::Error;
use super::layout::{self, Head};
use crate::engine::Cursor;

/// The version of a key at which a cursor stands.
pub struct Entry<'c> {
    /// The key's group; see [`layout::group_key`].
    pub group: &'c [u8],
    /// The revision that wrote or deleted the key.
    pub revision: i64,
    front: &'c [u8],
    cursor: &'c dyn Cursor,
}

impl<'c> Entry<'c> {
    /// Where a cursor in the versions table stands; `None` past the end.
    pub fn at(cursor: &'c dyn Cursor) -> Result<Option<Self>, Error> {
        let Some((entry, front)) = cursor.entry() else { return Ok(None) };
        let (group, revision) = layout::split_version_key(entry)?;
        Ok(Some(Self { group, revision, front, cursor }))
    }

    /// What was written, but for the value; `None` for a deletion.
    pub fn written(&self) -> Result<Option<Written<'_>>, Error> {
        Ok(Head::decode(self.front)?.map(|head| Written { entry: self, head }))
    }
}

/// The version that a key was given.
pub struct Written<'e> {
    entry: &'e Entry<'e>,
    head: Head,
}

impl Written<'_> {
    /// The key.
    pub fn key(&self) -> Bytes {
        layout::group_key(self.entry.group)
    }

    /// The revision that wrote it.
    pub fn revision(&self) -> i64 {
        self.entry.revision
    }

    /// Bytes of its value.
    pub fn value_bytes(&self) -> usize {
        self.entry.cursor.value_len() - self.head.bytes
    }

    /// The version as callers see it, with its value if that is wanted.
    pub fn key_value(&self, key: Bytes, value: bool) -> Result<KeyValue, Error> {
        let value = if value { self.entry.cursor.value_from(self.head.bytes)? } else { Bytes::new() };
        Ok(self.head.key_value(key, self.entry.revision, value))
    }
}
