//! Removing versions that compaction has made unreadable.
//!
//! Compaction is a replicated fact that takes effect at once; the removal is this member's own housekeeping and may lag.
//! It walks the log table: each change makes the version before it superfluous, and is itself superfluous once it
//! is a deletion. What happened at the compacted revision itself stays, because a watch may start there. It only
//! touches what no command looks at, so it runs beside them.

use super::Error;
use super::layout::{self, Logged};
use crate::engine::{Batch, Cursor, Engine};
use crate::limits::SCRUB_REVISIONS_PER_BATCH;
use crate::mvcc::facts;

/// What one batch was.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Whether there is more.
    pub more: bool,
    /// Bytes of the versions that were removed.
    pub bytes: u64,
}

/// Removes one batch of what is superfluous since `compacted`.
pub fn step(engine: &dyn Engine, compacted: i64) -> Result<Step, Error> {
    let reader = engine.reader();
    let from = facts::read_scrubbed(reader.as_ref())?;
    if from >= compacted {
        return Ok(Step { more: false, bytes: 0 });
    }
    let (lower, upper) = (layout::log_start(from), layout::log_start(compacted + 1));
    let mut log = reader.cursor(&lower, &upper);
    let (first, last) = layout::table(layout::VERSIONS);
    let mut versions = reader.cursor(&first, &last);
    let mut batch = Batch::default();
    let mut bytes = 0;
    let (mut reached, mut revisions) = (from, 0);
    log.seek(&lower)?;
    while let Some((entry, record)) = log.entry() {
        let revision = layout::log_revision(entry)?;
        if revision != reached {
            revisions += 1;
            if revisions > SCRUB_REVISIONS_PER_BATCH {
                // The next batch looks at `reached` again, which is harmless, and goes on from there.
                facts::write_scrubbed(reached, &mut batch);
                engine.write(&batch)?;
                return Ok(Step { more: true, bytes });
            }
            reached = revision;
        }
        let logged = Logged::decode(record)?;
        let (deleted, key) = (matches!(logged, Logged::Deleted(_)), logged.key());
        bytes += remove_older(versions.as_mut(), key, revision, &mut batch)?;
        if revision < compacted {
            batch.delete(bytes::Bytes::copy_from_slice(entry));
            if deleted {
                batch.delete(layout::version_key(key, revision).freeze());
            }
        }
        #[cfg(feature = "known-bugs")]
        if deleted && revision == compacted && raft::bugs::is_on(raft::bugs::Bug::M11) {
            batch.delete(bytes::Bytes::copy_from_slice(entry));
            batch.delete(layout::version_key(key, revision).freeze());
        }
        log.next()?;
    }
    facts::write_scrubbed(compacted, &mut batch);
    engine.write(&batch)?;
    Ok(Step { more: false, bytes })
}

/// Removes the versions of a key before a revision; returns how many bytes they took.
fn remove_older(
    versions: &mut dyn Cursor,
    key: &[u8],
    revision: i64,
    batch: &mut Batch,
) -> Result<u64, Error> {
    let mut bytes = 0;
    let start = layout::version_key(key, revision - 1);
    let group = &start[..start.len() - 8];
    versions.seek(&start)?;
    while let Some((entry, record)) = versions.entry() {
        if !entry.starts_with(group) {
            break;
        }
        bytes += (entry.len() + record.len()) as u64;
        batch.delete(bytes::Bytes::copy_from_slice(entry));
        versions.next()?;
    }
    Ok(bytes)
}
