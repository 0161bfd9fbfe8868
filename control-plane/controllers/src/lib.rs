//! The reconciliation loops of the control plane, as a plugin.
//!
//! Each controller takes keys, reads what it owns from shared informers, decides in a pure `plan`, and writes
//! through a client whose every write carries the fence of the elected leader. They behave as
//! kube-controller-manager's do, as far as users of kubectl can see.
//!
//! | controller | owns |
//! |---|---|
//! | `deployment` | ReplicaSets of Deployments, one per revision |
//! | `replicaset` | Pods of ReplicaSets |
//! | `endpoints` | EndpointSlices and Endpoints of Services |
//! | `namespace` | the content of namespaces that end |
//! | `serviceaccount` | the default account and root certificate of each namespace |
//! | `nodelifecycle` | conditions, taints and pods of nodes that fall silent |
//! | `nodeipam` | the part of the pod network each node has |
//! | `garbagecollector` | objects whose owners are gone |
//! | `statefulset` | numbered Pods of StatefulSets, their claims and revisions |
//! | `daemonset` | Pods of DaemonSets and their revisions |
//! | `job` | Pods of Jobs, and finished Jobs whose time is over |
//! | `cronjob` | Jobs of CronJobs |
//! | `disruption` | how many pods may be evicted under a budget |
//! | `podgc` | pods nobody else removes |
//!
//! Invariants: children are matched by their owner's UID; a pass after a crash is an ordinary pass; no write
//! happens without leadership (C4); every pass bounds what it writes (`limits`).

mod claim;
mod cronjob;
mod daemonset;
mod deployment;
mod disruption;
mod endpoints;
mod environment;
mod expect;
mod fit;
mod garbagecollector;
mod history;
mod job;
mod kinds;
pub mod limits;
mod namespace;
mod nodeipam;
mod nodelifecycle;
mod options;
mod podcontrol;
mod podgc;
mod pods;
mod replicaset;
mod run;
mod serviceaccount;
mod statefulset;
mod template;
#[cfg(test)]
mod tests;
mod written;

pub use options::{Options, OptionsError};
pub use run::Controllers;
