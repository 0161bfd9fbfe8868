//! From the engine to the bytes of an image.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::Error;
use super::image::{Encoder, Header, Measure};
use crate::engine::{Cursor, Reader};
use crate::mvcc::facts::{self, Facts};
use crate::mvcc::hash::Content;
use crate::mvcc::layout;

/// Whose state it is, and when.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The cluster.
    pub cluster_id: u64,
    /// The member.
    pub member_id: u64,
    /// Milliseconds since 1970 UTC.
    pub made_unix_ms: u64,
}

/// Takes the next bytes of an image and how many follow; may end the export.
pub type Sink<'s> = dyn FnMut(Bytes, u64) -> ControlFlow<()> + 's;

/// Above every key of every table.
const END: [u8; 1] = [0xff];

/// Hands the image of what a reader sees now to `sink`, piece by piece. `None` when the sink ended it. Reads the state
/// twice, because the header says how long the image is and what its hash is; what is written meanwhile is not
/// seen. Blocks.
pub fn export(reader: &dyn Reader, origin: Origin, sink: &mut Sink<'_>) -> Result<Option<Header>, Error> {
    facts::check_format(reader)?;
    let mut cursor = reader.passing(b"", &END);
    let header = survey(cursor.as_mut(), origin)?;
    let mut left = header.bytes;
    let mut give = |bytes: Bytes| {
        left -= bytes.len() as u64;
        sink(bytes, left)
    };
    let mut encoder = Encoder::default();
    if give(encoder.header(&header)).is_break() {
        return Ok(None);
    }
    let mut ended = false;
    visit(cursor.as_mut(), &mut |key, value| {
        if let Some(chunk) = encoder.entry(key, value) {
            ended = give(chunk).is_break();
        }
        Ok(if ended { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    if ended || give(encoder.finish()).is_break() {
        return Ok(None);
    }
    Ok(Some(header))
}

/// The first reading: everything that the header says.
fn survey(cursor: &mut dyn Cursor, origin: Origin) -> Result<Header, Error> {
    let Facts { revision, compacted } = stands(cursor)?;
    let mut content = Content::new(compacted, revision);
    let mut measure = Measure::default();
    let mut entries = 0;
    visit(cursor, &mut |key, value| {
        entries += 1;
        measure.entry(key, value);
        if key.first() == Some(&layout::VERSIONS) {
            content.push(key, value)?;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let Origin { cluster_id, member_id, made_unix_ms } = origin;
    let (hash, keys, bytes) = (content.hash(), content.keys(), measure.finish());
    Ok(Header { cluster_id, member_id, revision, compacted, made_unix_ms, entries, keys, bytes, hash })
}

fn stands(cursor: &mut dyn Cursor) -> Result<Facts, Error> {
    let key = facts::now_key();
    cursor.seek(&key)?;
    match cursor.entry() {
        Some((found, now)) if found == key => Ok(facts::decode_now(now)?),
        Some(_) | None => Ok(Facts::default()),
    }
}

type Visit<'v> = dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, Error> + 'v;

/// Calls `take` with every entry that belongs into an image.
fn visit(cursor: &mut dyn Cursor, take: &mut Visit<'_>) -> Result<(), Error> {
    let position = facts::position_key();
    cursor.seek(b"")?;
    while let Some((key, _)) = cursor.entry() {
        if key != position && take(key, &cursor.value()?)?.is_break() {
            return Ok(());
        }
        cursor.next()?;
    }
    Ok(())
}
