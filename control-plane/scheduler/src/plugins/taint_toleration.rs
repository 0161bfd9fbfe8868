//! TaintToleration: taints keep pods away that do not tolerate them.

use k8s_openapi::api::core::v1::{Taint, Toleration};

use super::{Local, Normalize, Reason};
use crate::{cluster::Node, pod::Requirements};

/// The plugin.
pub struct TaintToleration;

/// Whether one of the tolerations covers the taint.
pub fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| covers(toleration, taint))
}

fn covers(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    if (!effect.is_empty() && effect != taint.effect) || (!key.is_empty() && key != taint.key) {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or_default() {
        "" | "Equal" => {
            !key.is_empty()
                && toleration.value.as_deref().unwrap_or_default()
                    == taint.value.as_deref().unwrap_or_default()
        }
        "Exists" => true,
        _ => false,
    }
}

impl Local for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn filter(&self, pod: &Requirements, node: &Node, reasons: &mut Vec<Reason>) {
        let hard = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
        let refused = node.taints.iter().filter(hard).find(|taint| !tolerates(&pod.tolerations, taint));
        if let Some(taint) = refused {
            let value = taint.value.as_deref().unwrap_or_default();
            reasons.push(format!("node(s) had untolerated taint {{{}: {value}}}", taint.key).into());
        }
    }

    fn weight(&self) -> i64 {
        3
    }

    fn score(&self, pod: &Requirements, node: &Node) -> Option<i64> {
        let soft = node.taints.iter().filter(|taint| taint.effect == "PreferNoSchedule");
        let refused = soft.filter(|taint| !tolerates(&pod.tolerations, taint)).count();
        Some(i64::try_from(refused).unwrap_or(i64::MAX))
    }

    fn normalize(&self) -> Normalize {
        Normalize::Less
    }
}
