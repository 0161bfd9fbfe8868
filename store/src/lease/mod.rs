//! When leases end, as this member sees it.
//!
//! Which leases exist, and which keys hang on them, is replicated state in [`mvcc`](crate::mvcc). Only the clock is
//! here: every member counts from when it applied the grant or the last renewal. The leader proposes the end of
//! what is due; the command carries the leader's term and the renewal it knew, so a leader that was paused or
//! replaced, or a renewal on its way, makes it void. A new leader gives every lease its full time again.
//!
//! This module is told the time; it never asks.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use parking_lot::Mutex;
use store_client::LeaseId;
use tokio::time::Instant;

use crate::engine::Reader;
use crate::mvcc::Error;
use crate::mvcc::layout::{self, LeaseRecord};

/// What a command did to a lease.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// It was granted or renewed.
    Renewed(LeaseId, LeaseRecord),
    /// It is gone.
    Ended(LeaseId),
}

/// All leases of the state, in order.
pub fn read_all(reader: &dyn Reader) -> Result<Vec<(LeaseId, LeaseRecord)>, Error> {
    let (lower, upper) = layout::table(layout::LEASES);
    let mut cursor = reader.cursor(&lower, &upper);
    cursor.seek(&lower)?;
    let mut leases = Vec::new();
    while let Some((entry, record)) = cursor.entry() {
        leases.push((LeaseId(layout::lease_of(entry)?), LeaseRecord::decode(record)?));
        cursor.next()?;
    }
    Ok(leases)
}

/// The deadlines of all leases.
#[derive(Debug, Default)]
pub struct Deadlines {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    leases: HashMap<LeaseId, (LeaseRecord, Instant)>,
    order: BTreeSet<(Instant, LeaseId)>,
}

impl Table {
    fn set(&mut self, id: LeaseId, record: LeaseRecord, now: Instant) {
        self.remove(id);
        let deadline = deadline(record, now);
        self.leases.insert(id, (record, deadline));
        self.order.insert((deadline, id));
    }

    fn remove(&mut self, id: LeaseId) {
        if let Some((_, deadline)) = self.leases.remove(&id) {
            self.order.remove(&(deadline, id));
        }
    }
}

impl Deadlines {
    /// Starts anew with these leases, each with its full time.
    pub fn replace(&self, leases: Vec<(LeaseId, LeaseRecord)>, now: Instant) {
        let mut table = self.table.lock();
        *table = Table::default();
        for (id, record) in leases {
            table.set(id, record, now);
        }
    }

    /// Takes note of what commands did.
    pub fn apply(&self, events: &[Event], now: Instant) {
        if events.is_empty() {
            return;
        }
        let mut table = self.table.lock();
        for event in events {
            match event {
                Event::Renewed(id, record) => table.set(*id, *record, now),
                Event::Ended(id) => table.remove(*id),
            }
        }
    }

    /// Gives every lease its full time again: what a new leader does, because renewals may have been lost with
    /// the old one.
    pub fn extend_all(&self, now: Instant) {
        let leases = {
            let table = self.table.lock();
            table.leases.iter().map(|(id, (record, _))| (*id, *record)).collect()
        };
        self.replace(leases, now);
    }

    /// Leases whose time is up, at most `max`, the longest overdue first.
    pub fn due(&self, now: Instant, max: usize) -> Vec<(LeaseId, u64)> {
        let table = self.table.lock();
        let due = table.order.iter().take_while(|(deadline, _)| *deadline <= now).take(max);
        due.filter_map(|(_, id)| table.leases.get(id).map(|(record, _)| (*id, record.renewed))).collect()
    }

    /// Time left of a lease in whole seconds.
    pub fn left_s(&self, id: LeaseId, now: Instant) -> Option<i64> {
        let table = self.table.lock();
        let (_, deadline) = table.leases.get(&id)?;
        i64::try_from(deadline.saturating_duration_since(now).as_secs()).ok()
    }
}

fn deadline(record: LeaseRecord, now: Instant) -> Instant {
    let ttl = Duration::from_secs(u64::try_from(record.granted_ttl_s).unwrap_or(0));
    // A time to live may be centuries; a clock may not reach that far.
    now.checked_add(ttl).unwrap_or_else(|| now + Duration::from_secs(u64::from(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(granted_ttl_s: i64, renewed: u64) -> LeaseRecord {
        LeaseRecord { granted_ttl_s, renewed }
    }

    #[test]
    fn leases_are_due_in_order_until_renewed_or_ended() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let deadlines = Deadlines::default();
        deadlines.replace(vec![(LeaseId(1), record(10, 5)), (LeaseId(2), record(5, 6))], start);
        assert_eq!(deadlines.due(after(4), 9), []);
        assert_eq!(deadlines.due(after(10), 9), [(LeaseId(2), 6), (LeaseId(1), 5)]);
        assert_eq!(deadlines.due(after(10), 1), [(LeaseId(2), 6)]);
        deadlines.apply(&[Event::Renewed(LeaseId(2), record(5, 8))], after(9));
        assert_eq!(deadlines.due(after(10), 9), [(LeaseId(1), 5)]);
        assert_eq!(deadlines.left_s(LeaseId(2), after(10)), Some(4));
        deadlines.apply(&[Event::Ended(LeaseId(1))], after(10));
        deadlines.extend_all(after(20));
        assert_eq!(deadlines.due(after(24), 9), []);
        assert_eq!(deadlines.due(after(25), 9), [(LeaseId(2), 8)]);
        assert_eq!(deadlines.left_s(LeaseId(1), after(20)), None);
    }
}
