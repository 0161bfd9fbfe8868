//! The default plugins: kube-scheduler's set, each a pure function of a pod and a node.
//!
//! A *local* plugin looks at one node only, so its judgement is kept until that node changes. A *global*
//! plugin looks at pods of other nodes and is prepared once per cycle.

use std::borrow::Cow;

use crate::{
    cluster::{Cluster, Node, Slot},
    pod::Requirements,
};

pub mod balanced_allocation;
pub mod inter_pod_affinity;
pub mod node_affinity;
pub mod node_ports;
pub mod node_unschedulable;
pub mod resources_fit;
pub mod taint_toleration;
pub mod topology_spread;

/// Why a node does not fit, as shown in events.
pub type Reason = Cow<'static, str>;

/// Highest score a plugin gives.
pub const SCORE_MAX: i64 = 100;

/// Judges one node without looking at others.
pub trait Local: Send + Sync {
    /// Name, as in kube-scheduler's configuration.
    fn name(&self) -> &'static str;

    /// Adds the reasons why the pod cannot go there.
    fn filter(&self, _pod: &Requirements, _node: &Node, _reasons: &mut Vec<Reason>) {}

    /// Whether failing this filter can be cured by pods leaving the node.
    fn weight(&self) -> i64 {
        1
    }

    /// 0 to [`SCORE_MAX`], or any scale when [`Local::normalize`] says how to bring it there.
    fn score(&self, _pod: &Requirements, _node: &Node) -> Option<i64> {
        None
    }

    /// How raw scores of all feasible nodes become 0 to [`SCORE_MAX`].
    fn normalize(&self) -> Normalize {
        Normalize::Not
    }
}

/// How raw scores are brought to the common scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalize {
    /// They are on it already.
    Not,
    /// In proportion to the largest; more is better.
    More,
    /// In proportion to the largest; less is better.
    Less,
}

impl Normalize {
    /// Brings scores to the common scale.
    pub fn apply(self, scores: &mut [i64]) {
        let max = scores.iter().copied().max().unwrap_or(0);
        match self {
            Self::Not => {}
            Self::More if max == 0 => {}
            Self::Less if max == 0 => scores.fill(SCORE_MAX),
            Self::More => scores.iter_mut().for_each(|s| *s = *s * SCORE_MAX / max),
            Self::Less => scores.iter_mut().for_each(|s| *s = SCORE_MAX - *s * SCORE_MAX / max),
        }
    }
}

/// A pod's view over all nodes, prepared once per cycle.
pub trait Prepared {
    /// Why the pod cannot go to the node, if so.
    fn filter(&self, slot: Slot, node: &Node) -> Option<Reason>;

    /// Scores of the feasible nodes on the common scale, or `None` when it has no opinion.
    fn score(&self, feasible: &[Slot], cluster: &Cluster) -> Option<Vec<i64>>;

    /// How much the score counts.
    fn weight(&self) -> i64;
}

/// The local plugins, in the order in which kube-scheduler runs them.
pub fn locals() -> Vec<Box<dyn Local>> {
    vec![
        Box::new(node_unschedulable::NodeUnschedulable),
        Box::new(taint_toleration::TaintToleration),
        Box::new(node_affinity::NodeAffinity),
        Box::new(node_ports::NodePorts),
        Box::new(resources_fit::ResourcesFit),
        Box::new(balanced_allocation::BalancedAllocation),
        Box::new(topology_spread::DefaultSpread),
    ]
}

/// The global plugins that have something to say about this pod.
pub fn prepare(pod: &Requirements, cluster: &Cluster) -> Vec<Box<dyn Prepared>> {
    let mut prepared: Vec<Box<dyn Prepared>> = Vec::new();
    if !pod.spread.is_empty() {
        prepared.push(Box::new(topology_spread::Spread::prepare(pod, cluster)));
    }
    if inter_pod_affinity::matters(pod, cluster) {
        prepared.push(Box::new(inter_pod_affinity::InterPodAffinity::prepare(pod, cluster)));
    }
    prepared
}
