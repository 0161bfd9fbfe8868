//! The content of the memory store and what each request does to it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::watch::{Watcher, select};
use crate::{
    Change, ChangeKind, Error, KeyRange, KeyValue, Lease, LeaseId, Op, OpResult, Range, RangeResult,
    Revision, Txn, TxnResult, Watch, WatchMessage, WatchStream, validate,
};

#[derive(Debug)]
struct LeaseEntry {
    granted_ttl_s: i64,
    deadline: Instant,
    keys: BTreeSet<Bytes>,
}

/// Everything the store knows. Versions of a key are in revision order; a version of 0 is a deletion.
#[derive(Debug)]
pub(super) struct State {
    pub(super) revision: i64,
    compacted: i64,
    keys: BTreeMap<Bytes, Vec<KeyValue>>,
    history: BTreeMap<i64, Vec<Change>>,
    leases: BTreeMap<i64, LeaseEntry>,
    watchers: Vec<Watcher>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            revision: 1,
            compacted: 0,
            keys: BTreeMap::new(),
            history: BTreeMap::new(),
            leases: BTreeMap::new(),
            watchers: Vec::new(),
        }
    }
}

impl State {
    pub(super) fn range(&self, range: &Range) -> Result<RangeResult, Error> {
        self.check_revision(range)?;
        Ok(self.read(range, self.revision))
    }

    pub(super) fn txn(&mut self, txn: &Txn) -> Result<TxnResult, Error> {
        let plan = self.plan(txn);
        self.check(&plan)?;
        let mut changes = Vec::new();
        let result = self.execute(&plan, &mut changes);
        self.commit(changes);
        Ok(result)
    }

    pub(super) fn watch(&mut self, mut watch: Watch) -> WatchStream {
        let newest = Revision(self.revision);
        if watch.start.0 > 0 && watch.start.0 < self.compacted {
            let oldest = Revision(self.compacted);
            return Box::pin(futures::stream::iter([Err(Error::Compacted { oldest })]));
        }
        if watch.start.0 <= 0 {
            watch.start = Revision(self.revision + 1);
        }
        let mut backlog = VecDeque::from([WatchMessage::Created { revision: newest }]);
        for (&revision, changes) in self.history.range(watch.start.0..) {
            let changes = select(&watch, Revision(revision), changes);
            if !changes.is_empty() {
                backlog.push_back(WatchMessage::Changes { revision: Revision(revision), changes });
            }
        }
        let (watcher, stream) = Watcher::new(watch, backlog);
        self.watchers.push(watcher);
        stream
    }

    pub(super) fn lease_grant(&mut self, id: LeaseId, ttl_s: i64, now: Instant) -> Result<Lease, Error> {
        let id = if id.0 == 0 { self.leases.keys().next_back().map_or(1, |last| last + 1) } else { id.0 };
        if self.leases.contains_key(&id) {
            return Err(Error::LeaseExists);
        }
        let granted_ttl_s = ttl_s.max(1);
        let entry =
            LeaseEntry { granted_ttl_s, deadline: deadline(now, granted_ttl_s), keys: BTreeSet::new() };
        self.leases.insert(id, entry);
        Ok(Lease { id: LeaseId(id), granted_ttl_s, ttl_s: granted_ttl_s, keys: Vec::new() })
    }

    pub(super) fn lease_revoke(&mut self, id: LeaseId) -> Result<Revision, Error> {
        let lease = self.leases.remove(&id.0).ok_or(Error::LeaseNotFound)?;
        let mut changes = Vec::new();
        for key in lease.keys {
            self.delete(&KeyRange::Key(key), &mut changes);
        }
        self.commit(changes);
        Ok(Revision(self.revision))
    }

    pub(super) fn lease_keep_alive(&mut self, id: LeaseId, now: Instant) -> Result<Lease, Error> {
        let lease = self.leases.get_mut(&id.0).ok_or(Error::LeaseNotFound)?;
        lease.deadline = deadline(now, lease.granted_ttl_s);
        let granted_ttl_s = lease.granted_ttl_s;
        Ok(Lease { id, granted_ttl_s, ttl_s: granted_ttl_s, keys: Vec::new() })
    }

    pub(super) fn lease_time_to_live(&self, id: LeaseId, keys: bool, now: Instant) -> Lease {
        let Some(lease) = self.leases.get(&id.0) else {
            return Lease { id, granted_ttl_s: 0, ttl_s: -1, keys: Vec::new() };
        };
        let left = lease.deadline.saturating_duration_since(now);
        Lease {
            id,
            granted_ttl_s: lease.granted_ttl_s,
            ttl_s: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            keys: if keys { lease.keys.iter().cloned().collect() } else { Vec::new() },
        }
    }

    pub(super) fn expire(&mut self, now: Instant) {
        let due: Vec<i64> =
            self.leases.iter().filter(|(_, lease)| lease.deadline <= now).map(|(&id, _)| id).collect();
        for id in due {
            self.lease_revoke(LeaseId(id)).expect("the lease was just found");
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.leases.values().map(|lease| lease.deadline).min()
    }

    pub(super) fn compact(&mut self, revision: Revision) -> Result<(), Error> {
        if revision.0 <= self.compacted {
            return Err(Error::Compacted { oldest: Revision(self.compacted) });
        }
        if revision.0 > self.revision {
            return Err(Error::FutureRevision { newest: Revision(self.revision) });
        }
        self.compacted = revision.0;
        self.history = self.history.split_off(&revision.0);
        for change in self.history.get_mut(&revision.0).into_iter().flatten() {
            change.prev_kv = None;
        }
        for versions in self.keys.values_mut() {
            let kept = versions.partition_point(|version| version.mod_revision <= revision);
            versions.drain(..kept.saturating_sub(1));
            // The deletion at the compacted revision stays: a watch may start there.
            versions.retain(|version| version.version > 0 || version.mod_revision >= revision);
        }
        self.keys.retain(|_, versions| !versions.is_empty());
        Ok(())
    }

    fn check_revision(&self, range: &Range) -> Result<(), Error> {
        if range.revision.0 > self.revision {
            return Err(Error::FutureRevision { newest: Revision(self.revision) });
        }
        if range.revision.0 > 0 && range.revision.0 < self.compacted {
            return Err(Error::Compacted { oldest: Revision(self.compacted) });
        }
        Ok(())
    }

    /// Reads at the range's own revision, or at `newest` when it asks for the newest.
    fn read(&self, range: &Range, newest: i64) -> RangeResult {
        let at = if range.revision.0 > 0 { range.revision.0 } else { newest };
        let mut result = RangeResult { revision: Revision(newest), ..RangeResult::default() };
        for kv in self.at(&range.keys, at) {
            result.count += 1;
            if range.count_only {
                continue;
            }
            if range.limit > 0 && result.kvs.len() == range.limit {
                result.more = true;
                continue;
            }
            let value = if range.keys_only { Bytes::new() } else { kv.value.clone() };
            result.kvs.push(KeyValue { value, ..kv.clone() });
        }
        result
    }

    fn at<'a>(&'a self, keys: &'a KeyRange, revision: i64) -> impl Iterator<Item = &'a KeyValue> {
        self.keys.iter().filter(|(key, _)| keys.contains(key)).filter_map(move |(_, versions)| {
            versions.iter().rfind(|kv| kv.mod_revision.0 <= revision).filter(|kv| kv.version > 0)
        })
    }

    /// Decides every branch before anything is changed, nested ones included.
    fn plan<'a>(&self, txn: &'a Txn) -> Plan<'a> {
        let succeeded =
            txn.compare.iter().all(|compare| compare.holds(self.at(&compare.keys, self.revision)));
        let ops = if succeeded { &txn.success } else { &txn.failure };
        let steps = ops.iter().map(|op| match op {
            Op::Txn(nested) => Step::Txn(self.plan(nested)),
            Op::Range(_) | Op::Put { .. } | Op::Delete { .. } => Step::Op(op),
        });
        Plan { succeeded, steps: steps.collect() }
    }

    fn check(&self, plan: &Plan<'_>) -> Result<(), Error> {
        for step in &plan.steps {
            match step {
                Step::Txn(nested) => self.check(nested)?,
                Step::Op(Op::Put { key, lease, ignore_value, ignore_lease, .. }) => {
                    let exists = self.current(key).is_some();
                    if (*ignore_value || *ignore_lease) && !exists {
                        return Err(Error::Invalid(validate::KEY_NOT_FOUND.to_owned()));
                    }
                    if lease.0 != 0 && !self.leases.contains_key(&lease.0) {
                        return Err(Error::LeaseNotFound);
                    }
                }
                Step::Op(Op::Range(range)) => self.check_revision(range)?,
                Step::Op(Op::Delete { .. } | Op::Txn(_)) => {}
            }
        }
        Ok(())
    }

    fn execute(&mut self, plan: &Plan<'_>, changes: &mut Vec<Change>) -> TxnResult {
        let results = plan.steps.iter().map(|step| match step {
            Step::Txn(nested) => OpResult::Txn(self.execute(nested, changes)),
            Step::Op(op) => self.execute_op(op, changes),
        });
        let results = results.collect();
        TxnResult { revision: Revision(self.newest(changes)), succeeded: plan.succeeded, results }
    }

    fn execute_op(&mut self, op: &Op, changes: &mut Vec<Change>) -> OpResult {
        match op {
            Op::Range(range) => OpResult::Range(self.read(range, self.newest(changes))),
            Op::Put { key, value, lease, prev_kv, ignore_value, ignore_lease } => {
                let before = self.current(key).cloned();
                let value = before.as_ref().filter(|_| *ignore_value).map_or(value, |kv| &kv.value).clone();
                let lease = before.as_ref().filter(|_| *ignore_lease).map_or(*lease, |kv| kv.lease);
                self.put(key, value, lease, before.clone(), changes);
                OpResult::Put { prev_kv: before.filter(|_| *prev_kv) }
            }
            Op::Delete { keys, prev_kv } => {
                let deleted = self.delete(keys, changes);
                let count = i64::try_from(deleted.len()).expect("fewer keys than i64 counts");
                OpResult::Delete { deleted: count, prev_kvs: if *prev_kv { deleted } else { Vec::new() } }
            }
            Op::Txn(_) => unreachable!("planned as a nested plan"),
        }
    }

    fn newest(&self, changes: &[Change]) -> i64 {
        self.revision + i64::from(!changes.is_empty())
    }

    fn current(&self, key: &[u8]) -> Option<&KeyValue> {
        self.keys.get(key)?.last().filter(|kv| kv.version > 0)
    }

    fn put(
        &mut self,
        key: &Bytes,
        value: Bytes,
        lease: LeaseId,
        before: Option<KeyValue>,
        changes: &mut Vec<Change>,
    ) {
        let revision = Revision(self.revision + 1);
        if let Some(held) = before.as_ref().and_then(|kv| self.leases.get_mut(&kv.lease.0)) {
            held.keys.remove(key);
        }
        if let Some(holds) = self.leases.get_mut(&lease.0) {
            holds.keys.insert(key.clone());
        }
        let kv = KeyValue {
            key: key.clone(),
            value,
            create_revision: before.as_ref().map_or(revision, |kv| kv.create_revision),
            mod_revision: revision,
            version: before.as_ref().map_or(0, |kv| kv.version) + 1,
            lease,
        };
        self.keys.entry(key.clone()).or_default().push(kv.clone());
        changes.push(Change { kind: ChangeKind::Put, kv, prev_kv: before });
    }

    fn delete(&mut self, keys: &KeyRange, changes: &mut Vec<Change>) -> Vec<KeyValue> {
        let revision = Revision(self.revision + 1);
        let deleted: Vec<KeyValue> = self.at(keys, revision.0).cloned().collect();
        for before in &deleted {
            if let Some(held) = self.leases.get_mut(&before.lease.0) {
                held.keys.remove(&before.key);
            }
            let kv = KeyValue { key: before.key.clone(), mod_revision: revision, ..KeyValue::default() };
            self.keys.entry(before.key.clone()).or_default().push(kv.clone());
            changes.push(Change { kind: ChangeKind::Delete, kv, prev_kv: Some(before.clone()) });
        }
        deleted
    }

    /// Gives the changes their revision (S1: one per mutating transaction) and tells the watchers.
    fn commit(&mut self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        self.revision += 1;
        let revision = Revision(self.revision);
        self.watchers.retain(|watcher| watcher.publish(revision, &changes));
        self.history.insert(self.revision, changes);
    }
}

fn deadline(now: Instant, ttl_s: i64) -> Instant {
    let ttl = Duration::from_secs(u64::try_from(ttl_s).expect("a time to live is positive"));
    now.checked_add(ttl).unwrap_or(now + Duration::from_secs(u64::from(u32::MAX)))
}

/// The branch that will run.
struct Plan<'a> {
    succeeded: bool,
    steps: Vec<Step<'a>>,
}

enum Step<'a> {
    Op(&'a Op),
    Txn(Plan<'a>),
}
