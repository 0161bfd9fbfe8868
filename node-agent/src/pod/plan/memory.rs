//! What a worker remembers between plans.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::Key;
use crate::{limits, pod::backoff::Backoff};

/// Why a container does not run, as its status shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// A word such as `CrashLoopBackOff`.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// A start that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartFailure {
    /// A word such as `ErrImagePull`.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// When.
    pub at: Timestamp,
    /// When to try again.
    pub retry_at: Timestamp,
}

/// What probes found out about one incarnation of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// The postStart hook and the startup probe are done.
    pub started: bool,
    /// The readiness probe succeeds, or there is none.
    pub ready: bool,
    /// The liveness probe gave up.
    pub liveness_failed: bool,
    /// The startup probe gave up.
    pub startup_failed: bool,
}

/// Why a pod that could still run must not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// For `status.reason`.
    pub reason: String,
    /// For `status.message`.
    pub message: String,
}

/// What the worker remembers between plans. Losing it costs nothing but repeated waits.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Actions under way.
    pub busy: BTreeSet<Key>,
    /// The API no longer has the pod.
    pub removed: bool,
    /// The pod was stopped by the agent's own decision.
    pub stopped: Option<Stop>,
    /// Volumes are set up.
    pub volumes_ready: bool,
    /// Volumes have to be set up again at this time (at once if it has passed).
    pub volumes_due: Option<Timestamp>,
    /// The sandbox is not tried before.
    pub sandbox_due: Option<Timestamp>,
    /// Sandboxes that were stopped.
    pub sandboxes_stopped: BTreeSet<String>,
    /// Everything outside the runtime is gone.
    pub torn_down: bool,
    /// Cleaning up is not tried before.
    pub teardown_due: Option<Timestamp>,
    /// Deleting from the API is not tried before.
    pub delete_due: Option<Timestamp>,
    /// Starts that failed, by container.
    pub failures: BTreeMap<String, StartFailure>,
    /// Waits between restarts, by container.
    pub restarts: Backoff,
    /// Waits between pulls, by container.
    pub pulls: Backoff,
    /// Grace of the kills under way, by container id.
    pub kills: BTreeMap<String, i64>,
    /// What probes found, by container id.
    pub health: BTreeMap<String, Health>,
}

impl Default for Memory {
    fn default() -> Self {
        let waits = || Backoff::new(limits::RESTART_BACKOFF_MIN, limits::RESTART_BACKOFF_MAX);
        Self {
            busy: BTreeSet::new(),
            removed: false,
            stopped: None,
            volumes_ready: false,
            volumes_due: None,
            sandbox_due: None,
            sandboxes_stopped: BTreeSet::new(),
            torn_down: false,
            teardown_due: None,
            delete_due: None,
            failures: BTreeMap::new(),
            restarts: waits(),
            pulls: waits(),
            kills: BTreeMap::new(),
            health: BTreeMap::new(),
        }
    }
}
