//! A lease never ends early: not before its time since the last renewal that was acknowledged was asked for.

use std::collections::HashMap;

use check::log::{Change, ChangeLog};

use super::revisions::Revisions;

/// What a lessee knows of one lease.
#[derive(Clone, Debug, Default)]
pub struct Lease {
    /// The number of its key.
    pub key: usize,
    /// The revision that attached the key, if that was acknowledged.
    pub attached: Option<i64>,
    /// When each acknowledged grant or renewal was asked for.
    pub renewed_ms: Vec<u64>,
    /// Its time to live.
    pub ttl_ms: u64,
    /// When somebody asked for its end, or for another life of its key.
    pub given_up_ms: Option<u64>,
}

/// Checks all leases of a run.
pub fn check(leases: &HashMap<i64, Lease>, log: &ChangeLog, revisions: &Revisions) -> Result<(), String> {
    leases.iter().try_for_each(|(id, lease)| check_one(*id, lease, log, revisions))
}

fn check_one(id: i64, lease: &Lease, log: &ChangeLog, revisions: &Revisions) -> Result<(), String> {
    let Some(attached) = lease.attached else { return Ok(()) };
    let next = |change: &&Change| change.key == lease.key && change.revision > attached;
    let Some(change) = log.between(attached + 1, log.newest()).find(next) else { return Ok(()) };
    if change.value.is_some() {
        return Ok(());
    }
    let Some(ended_ms) = revisions.told_at(change.revision) else { return Ok(()) };
    if lease.given_up_ms.is_some_and(|at| at <= ended_ms) {
        return Ok(());
    }
    // A renewal that was asked for before the end and acknowledged came before it in the log.
    let renewed = lease.renewed_ms.iter().copied().filter(|at| *at < ended_ms).max();
    match renewed {
        Some(at) if ended_ms < at + lease.ttl_ms => Err(format!(
            "lease {id} of {} ms was renewed at {at} ms and ended at {ended_ms} ms, revision {}",
            lease.ttl_ms, change.revision
        )),
        Some(_) | None => Ok(()),
    }
}
