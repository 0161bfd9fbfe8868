//! NodeUnschedulable: a cordoned node takes only pods that tolerate it.

use k8s_openapi::api::core::v1::Taint;

use super::{Local, Reason, taint_toleration::tolerates};
use crate::{cluster::Node, pod::Requirements};

/// The plugin.
pub struct NodeUnschedulable;

impl Local for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn filter(&self, pod: &Requirements, node: &Node, reasons: &mut Vec<Reason>) {
        if !node.unschedulable {
            return;
        }
        let cordon = Taint {
            key: "node.kubernetes.io/unschedulable".to_owned(),
            effect: "NoSchedule".to_owned(),
            ..Taint::default()
        };
        if !tolerates(&pod.tolerations, &cordon) {
            reasons.push("node(s) were unschedulable".into());
        }
    }
}
