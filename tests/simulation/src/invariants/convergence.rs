//! Once nothing is broken any more, the members agree: the same log applied, the same revision, the same hash, the same
//! leases.

use store_client::Revision;

/// Where a member stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stand {
    /// What it has applied of the log.
    pub applied: u64,
    /// Its hash, its compacted revision and its newest.
    pub state: (u32, Revision, Revision),
    /// Its leases, as it keeps them.
    pub leases: Vec<i64>,
    /// Who leads, as it believes.
    pub leader: Option<u64>,
}

/// Whether all stand at the same place. Members that stand at the same index must be equal in everything.
pub fn agreed(stands: &[Stand]) -> Result<bool, String> {
    let Some(first) = stands.first() else { return Ok(false) };
    let together = stands.iter().all(|stand| stand.applied == first.applied && stand.leader.is_some());
    if !together {
        return Ok(false);
    }
    match stands.iter().find(|stand| stand.state != first.state || stand.leases != first.leases) {
        None => Ok(stands.iter().all(|stand| stand.leader == first.leader)),
        Some(other) => Err(format!("at the same index one has {first:?} and another {other:?}")),
    }
}
