//! What a member counts, times and reports, under etcd's names where the meaning is the same.
//!
//! Counting is an atomic addition; everything that can be read off elsewhere is, when it is asked for ([`report`]). Nothing is
//! labelled by what a client chose.

pub mod calls;
mod process;
pub mod report;
pub mod stages;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use raft::meters::Timed;

use crate::machine::command::Command;
use crate::mvcc::draft::Revised;
use crate::throttle::Throttle;
use store_client::ChangeKind;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one.
    pub fn one(&self) {
        self.more(1);
    }

    /// Counts several.
    pub fn more(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What happens to the state of a member.
#[derive(Debug)]
pub struct Metrics {
    /// Writes of batches to the engine.
    pub commits: Timed,
    /// Batches of commands, from the first command to the last watcher told.
    pub applies: Timed,
    /// Batches that took longer than [`warn_apply`](Self::warn_apply_over) says.
    pub slow_applies: Counter,
    /// Changes that are puts.
    pub puts: Counter,
    /// Changes that are deletes.
    pub deletes: Counter,
    /// Transactions of several operations.
    pub txns: Counter,
    /// Leases granted.
    pub leases_granted: Counter,
    /// Leases revoked by clients.
    pub leases_revoked: Counter,
    /// Renewals of leases.
    pub leases_renewed: Counter,
    /// Leases whose time was up.
    pub leases_expired: Counter,
    /// Changes sent to watchers.
    pub events: Counter,
    warn_apply_ns: AtomicU64,
    slow_apply_said: Throttle,
}

impl Default for Metrics {
    fn default() -> Self {
        // As etcd has it.
        let first = Duration::from_millis(1);
        Self {
            commits: Timed::new(first),
            applies: Timed::new(first),
            slow_applies: Counter::default(),
            puts: Counter::default(),
            deletes: Counter::default(),
            txns: Counter::default(),
            leases_granted: Counter::default(),
            leases_revoked: Counter::default(),
            leases_renewed: Counter::default(),
            leases_expired: Counter::default(),
            events: Counter::default(),
            warn_apply_ns: AtomicU64::new(u64::MAX),
            slow_apply_said: Throttle::default(),
        }
    }
}

/// How many commands of each kind are applied together.
#[derive(Debug, Default)]
pub struct Commands {
    txns: u64,
    granted: u64,
    revoked: u64,
    renewed: u64,
    expired: u64,
}

impl Commands {
    /// Counts one more.
    pub fn count(&mut self, command: &Command) {
        match command {
            Command::Txn(txn) if txn.success.len() + txn.failure.len() > 1 => self.txns += 1,
            Command::LeaseGrant { .. } => self.granted += 1,
            Command::LeaseRevoke(_) => self.revoked += 1,
            Command::LeaseRenew(ids) => self.renewed += ids.len() as u64,
            Command::LeaseExpire { leases, .. } => self.expired += leases.len() as u64,
            Command::Txn(_)
            | Command::Compact(_)
            | Command::Note { .. }
            | Command::Auth(_)
            | Command::Alarm { .. } => {}
        }
    }
}

impl Metrics {
    /// Has batches that take longer logged.
    pub fn warn_apply_over(&self, limit: Duration) {
        let limit = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        self.warn_apply_ns.store(limit, Ordering::Relaxed);
    }

    /// Commands are applied.
    pub fn commands(&self, Commands { txns, granted, revoked, renewed, expired }: &Commands) {
        self.txns.more(*txns);
        self.leases_granted.more(*granted);
        self.leases_revoked.more(*revoked);
        self.leases_renewed.more(*renewed);
        self.leases_expired.more(*expired);
    }

    /// Revisions were made.
    pub fn revised(&self, revised: &[std::sync::Arc<Revised>]) {
        let changes = revised.iter().map(|revised| revised.changes.len() as u64).sum::<u64>();
        let all = revised.iter().flat_map(|revised| &revised.changes);
        let deletes = all.filter(|change| change.kind == ChangeKind::Delete).count() as u64;
        self.deletes.more(deletes);
        self.puts.more(changes - deletes);
    }

    /// A batch that began then is applied.
    pub fn applied(&self, begin: Instant, commands: usize, bytes: usize, revision: i64) {
        let took = self.applies.ends(begin);
        if took.as_nanos() < u128::from(self.warn_apply_ns.load(Ordering::Relaxed)) {
            return;
        }
        self.slow_applies.one();
        if let Some(left_out) = self.slow_apply_said.pass() {
            let commit_ms = self.commits.recent.within(begin, begin + took).as_millis();
            let took_ms = took.as_millis();
            tracing::warn!(took_ms, commit_ms, commands, bytes, revision, left_out, "applying took long");
        }
    }
}
