//! NodePorts: a port of the node belongs to one pod.

use super::{Local, Reason};
use crate::{cluster::Node, pod::Requirements};

/// The plugin.
pub struct NodePorts;

impl Local for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn filter(&self, pod: &Requirements, node: &Node, reasons: &mut Vec<Reason>) {
        let taken = |wanted| node.host_ports.iter().any(|used| used.conflicts(wanted));
        if pod.host_ports.iter().any(taken) {
            reasons.push("node(s) didn't have free ports for the requested pod ports".into());
        }
    }
}
