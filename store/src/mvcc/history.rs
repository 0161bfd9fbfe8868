//! Reading the changes of past revisions, for watches that start in the past or fell behind.

use std::sync::Arc;

use bytes::Bytes;
use store_client::{Change, ChangeKind, KeyRange, KeyValue, Revision};

use super::draft::Revised;
use super::entry::Entry;
use super::layout::{self, Done, Head, Logged, Version};
use super::{Error, overlay::Overlay, scan};
use crate::engine::{Cursor, Reader};
use crate::limits::{WATCH_HISTORY_BYTES, WATCH_HISTORY_REVISIONS};

/// A piece of history.
#[derive(Debug)]
pub struct Piece {
    /// The revisions that changed a key of the range, with only those changes.
    pub revised: Vec<Arc<Revised>>,
    /// The first revision that was not looked at.
    pub next: i64,
}

/// Reads what happened to a range of keys from `start` to `end`, both included, or as far as the bounds on a piece
/// allow. The caller must find out afterwards whether `start` had been compacted by then: the versions may be gone.
pub fn read(reader: &dyn Reader, keys: &KeyRange, start: i64, end: i64) -> Result<Piece, Error> {
    let (lower, upper) = (layout::log_start(start), layout::log_start(end + 1));
    let mut log = reader.cursor(&lower, &upper);
    let (first, last) = layout::table(layout::VERSIONS);
    let mut versions = reader.cursor(&first, &last);
    log.seek(&lower)?;
    let mut piece = Piece { revised: Vec::new(), next: end + 1 };
    let mut gathered: Vec<Change> = Vec::new();
    let (mut current, mut bytes, mut looked_at) = (start, 0, 0);
    while let Some((entry, record)) = log.entry() {
        let revision = layout::log_revision(entry)?;
        if revision != current {
            close(&mut piece, &mut gathered, current);
            looked_at += 1;
            current = revision;
            if looked_at >= WATCH_HISTORY_REVISIONS || bytes >= WATCH_HISTORY_BYTES {
                piece.next = revision;
                return Ok(piece);
            }
        }
        let logged = Logged::decode(record)?;
        if keys.contains(logged.key) {
            let key = Bytes::copy_from_slice(logged.key);
            let change = match logged.done {
                Done::Deleted => Some(deletion(key, revision)),
                Done::Passed(Version::Deleted) => None,
                Done::Passed(Version::Written { age, version, lease, value }) => {
                    let head = Head { age, version, lease, bytes: 0 };
                    Some(written(head.key_value(key, revision, Bytes::copy_from_slice(value))))
                }
                Done::Written => {
                    versions.seek(&layout::version_key(&key, revision))?;
                    found(versions.as_ref(), key, revision)?.map(written)
                }
            };
            if let Some(change) = change {
                bytes += change.kv.key.len() + change.kv.value.len();
                gathered.push(change);
            }
        }
        log.next()?;
    }
    close(&mut piece, &mut gathered, current);
    Ok(piece)
}

fn close(piece: &mut Piece, gathered: &mut Vec<Change>, revision: i64) {
    if !gathered.is_empty() {
        let changes = std::mem::take(gathered);
        piece.revised.push(Arc::new(Revised { revision: Revision(revision), changes }));
    }
}

fn deletion(key: Bytes, revision: i64) -> Change {
    let kv = KeyValue { key, mod_revision: Revision(revision), ..KeyValue::default() };
    Change { kind: ChangeKind::Delete, kv, prev_kv: None }
}

fn written(kv: KeyValue) -> Change {
    Change { kind: ChangeKind::Put, kv, prev_kv: None }
}

/// The version at the cursor if it is what was sought. It may have been compacted meanwhile.
fn found(versions: &dyn Cursor, key: Bytes, revision: i64) -> Result<Option<KeyValue>, Error> {
    let Some(entry) = Entry::at(versions)? else { return Ok(None) };
    if entry.revision != revision || entry.group != layout::key_start(&key) {
        return Ok(None);
    }
    entry.written()?.map(|written| written.key_value(key, true)).transpose()
}

/// A key as it was just before a revision; `None` when it did not exist.
pub fn before(reader: &dyn Reader, key: &Bytes, revision: i64) -> Result<Option<KeyValue>, Error> {
    let mut found = None;
    let keys = KeyRange::Key(key.clone());
    scan::visit(reader, &Overlay::default(), &keys, revision - 1, &mut |written| {
        found = Some(written.key_value(key.clone(), true)?);
        Ok(std::ops::ControlFlow::Break(()))
    })?;
    Ok(found)
}
