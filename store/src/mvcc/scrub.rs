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
        bytes += remove_older(versions.as_mut(), key, revision, from, &mut batch)?;
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

/// Removes the versions of a key before a revision; returns how many bytes they took. Changes since `from` are walked themselves and remove
/// what is before them: for each of them to pass all of those would be quadratic, as the batch is not written yet.
fn remove_older(
    versions: &mut dyn Cursor,
    key: &[u8],
    revision: i64,
    from: i64,
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
        let (_, older) = layout::split_version_key(entry)?;
        if older >= from {
            break;
        }
        versions.next()?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::memory::MemoryEngine;
    use crate::mvcc::layout::Version;

    const VALUE: [u8; 100] = [7; 100];

    /// Two keys, of which one is written at all revisions but the first.
    fn written(revisions: i64) -> MemoryEngine {
        let engine = MemoryEngine::new();
        let mut batch = Batch::default();
        for revision in 1..=revisions {
            let key: &[u8] = if revision == 1 { b"cold" } else { b"hot" };
            let version = Version::Written { age: 0, version: 1, lease: 0, value: &VALUE };
            batch.put(layout::version_key(key, revision).freeze(), version.encode());
            batch.put(layout::log_key(revision, 0).freeze(), Logged::Written(key).encode());
        }
        engine.write(&batch).unwrap();
        engine
    }

    fn versions(engine: &MemoryEngine) -> usize {
        let (first, last) = layout::table(layout::VERSIONS);
        let reader = engine.reader();
        let mut versions = reader.cursor(&first, &last);
        versions.seek(&first).unwrap();
        let mut count = 0;
        while versions.entry().is_some() {
            count += 1;
            versions.next().unwrap();
        }
        count
    }

    #[test]
    fn each_version_is_removed_and_counted_once() {
        for revisions in [3, 50, 2500] {
            let engine = written(revisions);
            let mut bytes = 0;
            for compacted in [revisions / 2, revisions] {
                loop {
                    let step = step(&engine, compacted).unwrap();
                    bytes += step.bytes;
                    if !step.more {
                        break;
                    }
                }
            }
            assert_eq!(versions(&engine), 2, "the newest of each key");
            let version = Version::Written { age: 0, version: 1, lease: 0, value: &VALUE };
            let each = (layout::version_key(b"hot", 2).len() + version.encode().len()) as u64;
            assert_eq!(bytes, (revisions - 2) as u64 * each);
        }
    }
}
