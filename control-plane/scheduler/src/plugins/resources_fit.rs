//! NodeResourcesFit: what is asked for must be free; nodes with more left are preferred (LeastAllocated).

use super::{Local, Reason, SCORE_MAX};
use crate::{cluster::Node, pod::Requirements};

/// The plugin.
pub struct ResourcesFit;

impl Local for ResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn filter(&self, pod: &Requirements, node: &Node, reasons: &mut Vec<Reason>) {
        let pods = i64::try_from(node.pods.len()).unwrap_or(i64::MAX);
        if pods + 1 > node.pods_max {
            reasons.push("Too many pods".into());
        }
        let (asked, used, all) = (&pod.requests, &node.requested, &node.allocatable);
        let short = |asked: i64, used: i64, all: i64| asked > 0 && asked > all - used;
        if short(asked.cpu_m, used.cpu_m, all.cpu_m) {
            reasons.push("Insufficient cpu".into());
        }
        if short(asked.memory, used.memory, all.memory) {
            reasons.push("Insufficient memory".into());
        }
        if short(asked.ephemeral_storage, used.ephemeral_storage, all.ephemeral_storage) {
            reasons.push("Insufficient ephemeral-storage".into());
        }
        for (name, amount) in &asked.extended {
            let get = |from: &std::collections::BTreeMap<String, i64>| from.get(name).copied().unwrap_or(0);
            if short(*amount, get(&used.extended), get(&all.extended)) {
                reasons.push(format!("Insufficient {name}").into());
            }
        }
    }

    fn score(&self, pod: &Requirements, node: &Node) -> Option<i64> {
        let left = |asked: i64, used: i64, all: i64| {
            let used = used + asked;
            if all <= 0 || used > all { 0 } else { (all - used) * SCORE_MAX / all }
        };
        let (asked, used, all) = (&pod.scored, &node.scored, &node.allocatable);
        Some((left(asked.cpu_m, used.cpu_m, all.cpu_m) + left(asked.memory, used.memory, all.memory)) / 2)
    }
}
