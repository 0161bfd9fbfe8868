//! Removing versions that compaction has made unreadable.
//!
//! Compaction is a replicated fact that takes effect at once; the removal is this member's own housekeeping and may lag.
//! It walks the log table: each change makes the version before it superfluous, which it names, and is itself superfluous
//! once it is a deletion. What happened at the compacted revision itself stays, because a watch may start there. It only
//! touches what no command looks at, so it runs beside them; and it removes versions without looking for them: most are
//! on disk only, and the disk and the processor are for commands.

use super::Error;
use super::layout::{self, Done, Logged};
use crate::engine::{Batch, Engine};
use crate::limits::SCRUB_REVISIONS_PER_BATCH;
use crate::mvcc::facts;

/// What one batch was.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Whether there is more.
    pub more: bool,
    /// Bytes of the versions that were removed, about.
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
    let mut log = reader.passing(&lower, &upper);
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
        let (deleted, key) = (matches!(logged.done, Done::Deleted), logged.key);
        // What is before those of `from` was removed with them.
        if let Some(before) = logged.before.filter(|_| revision > from) {
            let older = revision.checked_sub(before.ago).filter(|older| *older > 0);
            let older =
                older.ok_or_else(|| Error::corrupt("log record", format!("{} before", before.ago)))?;
            let version = layout::version_key(key, older).freeze();
            bytes += version.len() as u64 + before.value_bytes;
            batch.delete_short(version, layout::record_bytes_max(before.value_bytes));
        }
        if revision < compacted {
            batch.delete(bytes::Bytes::copy_from_slice(entry));
            if deleted {
                batch.delete_short(layout::version_key(key, revision).freeze(), layout::record_bytes_max(0));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::memory::MemoryEngine;
    use crate::mvcc::layout::{Before, Version};

    const VALUE: [u8; 100] = [7; 100];

    /// Two keys, of which one is written at all revisions but the first.
    fn written(revisions: i64) -> MemoryEngine {
        let engine = MemoryEngine::new();
        let mut batch = Batch::default();
        for revision in 1..=revisions {
            let key: &[u8] = if revision == 1 { b"cold" } else { b"hot" };
            let version = Version::Written { age: 0, version: 1, lease: 0, value: &VALUE };
            batch.put(layout::version_key(key, revision).freeze(), version.encode());
            let before = Before { ago: 1, value_bytes: VALUE.len() as u64 };
            let before = Some(before).filter(|_| revision > 2);
            batch.put(
                layout::log_key(revision, 0).freeze(),
                Logged { done: Done::Written, before, key }.encode(),
            );
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
            let each = (layout::version_key(b"hot", 2).len() + VALUE.len()) as u64;
            assert_eq!(bytes, (revisions - 2) as u64 * each);
        }
    }
}
