//! The reconciliation loops of the control plane, as a plugin.
//!
//! Each controller takes keys, reads what it owns from shared informers, decides in a pure `plan`, and writes
//! through a client whose every write carries the fence of the elected leader. They behave as
//! kube-controller-manager's do, as far as users of kubectl can see.
//!
//! | controller | owns |
//! |---|---|
//! | [`mod@deployment`] | ReplicaSets of Deployments, one per revision |
//! | [`mod@replicaset`] | Pods of ReplicaSets |
//!
//! Invariants: children are matched by their owner's UID; a pass after a crash is an ordinary pass; no write
//! happens without leadership (C4); every pass bounds what it writes (`limits`).

mod claim;
mod deployment;
mod environment;
mod expect;
pub mod limits;
mod options;
mod podcontrol;
mod pods;
mod replicaset;
mod run;

pub use options::{Options, OptionsError};
pub use run::Controllers;
