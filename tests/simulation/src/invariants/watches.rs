//! Watches tell everything once, in order, or say what is gone (S3).

use check::log::ChangeLog;
use check::watch::{self, Fault};
use faults_tests::limits::KEYS;
use faults_tests::watcher::{Plan, Told};

/// Checks a watch; `Ok(false)` when it has not reached the head yet.
pub fn check(plan: Plan, told: &Told, log: &ChangeLog, complete: bool) -> Result<bool, String> {
    let mut watcher = told.watcher(plan);
    // Keys of leases are none of theirs.
    watcher.keys.get_or_insert_with(|| (0..KEYS).collect());
    match watch::check(&watcher, log, complete && plan.from <= log.newest()) {
        Ok(()) => Ok(true),
        Err(Fault::Missing { revision }) if told.reached() < revision => Ok(false),
        Err(fault) => Err(format!("S3: {fault}, {plan:?}")),
    }
}
