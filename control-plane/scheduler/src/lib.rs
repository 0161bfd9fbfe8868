//! Plugin: gives every pod a node.
//!
//! ```text
//!   informers --> cluster (nodes in columns, pods placed or assumed)
//!        |            |
//!        +--> queue --+--> cycle (filter, score; pure) --> bind in batches --> API
//!                ^                    | no node fits            | refused
//!                +------- parked <----+------- back-off <-------+
//! ```
//!
//! The extension points and default plugins are kube-scheduler's, with the same feasible set for every pod:
//! NodeUnschedulable, TaintToleration, NodeAffinity, NodePorts, NodeResourcesFit (least allocated), balanced
//! allocation, PodTopologySpread, InterPodAffinity. A pod that fits nowhere gets the condition
//! `PodScheduled=False` and an event that says how many nodes refused it for which reason.
//!
//! Promises: a pod is bound at most once (the API refuses a second binding); what was assumed and then refused
//! is given back; a restart loses nothing, because the API is the only memory.
//!
//! Not done yet: preemption, volumes, dynamic resources, extenders, image locality.

pub mod cluster;
pub mod cycle;
pub mod plugins;
pub mod pod;
pub mod queue;
pub mod resources;
pub mod selectors;
mod service;

pub use service::{Options, Scheduling};

#[cfg(test)]
mod tests;
