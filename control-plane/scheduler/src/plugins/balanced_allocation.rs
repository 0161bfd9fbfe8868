//! NodeResourcesBalancedAllocation: prefers nodes on which CPU and memory fill up evenly.

use super::{Local, SCORE_MAX};
use crate::{cluster::Node, pod::Requirements};

/// The plugin.
pub struct BalancedAllocation;

impl Local for BalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn score(&self, pod: &Requirements, node: &Node) -> Option<i64> {
        let (asked, used, all) = (&pod.requests, &node.requested, &node.allocatable);
        if asked.cpu_m == 0 && asked.memory == 0 {
            return None;
        }
        // Parts per thousand, so that no floating point is needed.
        let share = |asked: i64, used: i64, all: i64| {
            let used = i128::from(used) + i128::from(asked);
            if all <= 0 {
                1000
            } else {
                i64::try_from((used * 1000 / i128::from(all)).min(1000)).unwrap_or(1000)
            }
        };
        let cpu = share(asked.cpu_m, used.cpu_m, all.cpu_m);
        let memory = share(asked.memory, used.memory, all.memory);
        // With two resources the standard deviation is half their distance.
        Some(SCORE_MAX - (cpu - memory).abs() * SCORE_MAX / 2000)
    }
}
