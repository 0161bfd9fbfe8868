//! Whether a pod may be on a node: taints, node selectors and affinity. Pure.

use std::collections::BTreeMap;

use client::refs;
use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Taint, Toleration,
};

/// Whether a toleration fits a taint.
pub(crate) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let (key, effect) = (text(&toleration.key), text(&toleration.effect));
    if !effect.is_empty() && effect != taint.effect || !key.is_empty() && key != taint.key {
        return false;
    }
    match toleration.operator.as_deref() {
        Some("Exists") => true,
        None | Some("" | "Equal") => !key.is_empty() && text(&toleration.value) == text(&taint.value),
        Some(_) => false,
    }
}

/// Whether all taints with one of these effects are tolerated.
pub(crate) fn tolerates_all(tolerations: &[Toleration], node: &Node, effects: &[&str]) -> bool {
    let taints = node.spec.iter().flat_map(|s| s.taints.iter().flatten());
    taints
        .filter(|t| effects.contains(&t.effect.as_str()))
        .all(|taint| tolerations.iter().any(|t| tolerates(t, taint)))
}

/// Whether the pod's node name, node selector and required node affinity allow the node.
pub(crate) fn selects(spec: &PodSpec, node: &Node) -> bool {
    let name = refs::name(node);
    if spec.node_name.as_deref().is_some_and(|n| !n.is_empty() && n != name) {
        return false;
    }
    let nothing = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&nothing);
    if !spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value)) {
        return false;
    }
    let affinity = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    required.is_none_or(|r| r.node_selector_terms.iter().any(|term| term_matches(term, name, labels)))
}

/// A term without any requirement matches nothing.
fn term_matches(term: &NodeSelectorTerm, name: &str, labels: &BTreeMap<String, String>) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or(&[]);
    let fields = term.match_fields.as_deref().unwrap_or(&[]);
    (!expressions.is_empty() || !fields.is_empty())
        && expressions.iter().all(|r| requirement_holds(r, labels.get(&r.key).map(String::as_str)))
        && fields.iter().all(|r| requirement_holds(r, Some(name).filter(|_| r.key == "metadata.name")))
}

fn requirement_holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or(&[]);
    let listed = value.is_some_and(|v| values.iter().any(|w| w == v));
    let number = |text: &str| text.parse::<i64>().ok();
    let pair = || Some((number(value?)?, number(values.first()?)?));
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => pair().is_some_and(|(have, bound)| have > bound),
        "Lt" => pair().is_some_and(|(have, bound)| have < bound),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn selectors_and_affinity_choose_nodes() {
        let node: Node = serde_json::from_value(
            json!({"metadata": {"name": "n", "labels": {"disk": "ssd", "cores": "8"}}}),
        )
        .unwrap();
        let affinity = |term: Value| {
            json!({"containers": [], "affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}})
        };
        let expression = |key: &str, operator: &str, values: Value| {
            affinity(json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]}))
        };
        let cases = [
            (json!({"containers": []}), true),
            (json!({"containers": [], "nodeName": "m"}), false),
            (json!({"containers": [], "nodeSelector": {"disk": "ssd"}}), true),
            (json!({"containers": [], "nodeSelector": {"disk": "hdd"}}), false),
            (expression("disk", "In", json!(["ssd"])), true),
            (expression("disk", "NotIn", json!(["ssd"])), false),
            (expression("gpu", "DoesNotExist", json!([])), true),
            (expression("cores", "Gt", json!(["4"])), true),
            (expression("cores", "Lt", json!(["4"])), false),
            (affinity(json!({})), false),
            (
                affinity(
                    json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}),
                ),
                true,
            ),
        ];
        for (spec, expect) in cases {
            let parsed: PodSpec = serde_json::from_value(spec.clone()).unwrap();
            assert_eq!(selects(&parsed, &node), expect, "{spec}");
        }
    }
}
