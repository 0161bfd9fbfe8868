//! Between the served and the stored version of the few kinds where they differ.

use serde_json::{Value, json};

use super::Resource;
use crate::{
    strategy::{event, rules::items},
    tree::{set, take},
};

/// Makes a stored object what `row` serves.
pub(crate) fn to_served(row: &Resource, object: &mut Value) {
    if !row.is_converted() {
        return;
    }
    match (row.group.as_str(), row.version.as_str()) {
        ("events.k8s.io", _) => event::to_events(object),
        ("autoscaling", "v1") => scaler_to_v1(object),
        _ => {}
    }
    set(object, &["apiVersion"], row.api_version());
}

/// Makes an object that `row` serves what is stored.
pub(crate) fn to_stored(row: &Resource, object: &mut Value) {
    let Some(place) = row.place.as_ref().filter(|_| row.is_converted()) else { return };
    match (row.group.as_str(), row.version.as_str()) {
        ("events.k8s.io", _) => event::to_core(object),
        ("autoscaling", "v1") => scaler_to_v2(object),
        _ => {}
    }
    set(object, &["apiVersion"], place.kind.api_version());
}

/// What `v1` cannot say travels in annotations, as upstream has it.
const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

fn is_cpu(metric: &Value) -> bool {
    metric.pointer("/resource/name") == Some(&json!("cpu"))
}

fn scaler_to_v1(object: &mut Value) {
    let metrics = take(object, &["spec", "metrics"]).unwrap_or_default();
    let (cpu, rest): (Vec<_>, Vec<_>) = items(Some(&metrics)).partition(|metric| {
        is_cpu(metric) && metric.pointer("/resource/target/averageUtilization").is_some()
    });
    if let Some(target) = cpu.first().and_then(|m| m.pointer("/resource/target/averageUtilization")) {
        set(object, &["spec", "targetCPUUtilizationPercentage"], target.clone());
    }
    if !rest.is_empty() {
        set(object, &["metadata", "annotations", METRICS], json!(rest).to_string());
    }
    if let Some(behavior) = take(object, &["spec", "behavior"]) {
        set(object, &["metadata", "annotations", BEHAVIOR], behavior.to_string());
    }
    let current = take(object, &["status", "currentMetrics"]).unwrap_or_default();
    let used = items(Some(&current))
        .find(|m| is_cpu(m))
        .and_then(|m| m.pointer("/resource/current/averageUtilization"));
    if let Some(used) = used.cloned() {
        set(object, &["status", "currentCPUUtilizationPercentage"], used);
    }
    take(object, &["status", "conditions"]);
}

fn scaler_to_v2(object: &mut Value) {
    let mut metrics = Vec::new();
    if let Some(target) = take(object, &["spec", "targetCPUUtilizationPercentage"]) {
        let target = json!({"type": "Utilization", "averageUtilization": target});
        metrics.push(json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
    }
    let annotation = |object: &mut Value, key: &str| -> Option<Value> {
        let text = take(object, &["metadata", "annotations", key])?;
        serde_json::from_str(text.as_str()?).ok()
    };
    if let Some(Value::Array(rest)) = annotation(object, METRICS) {
        metrics.extend(rest);
    }
    if let Some(behavior) = annotation(object, BEHAVIOR) {
        set(object, &["spec", "behavior"], behavior);
    }
    if !metrics.is_empty() {
        set(object, &["spec", "metrics"], json!(metrics));
    }
    if let Some(used) = take(object, &["status", "currentCPUUtilizationPercentage"]) {
        let resource = json!({"name": "cpu", "current": {"averageUtilization": used}});
        set(object, &["status", "currentMetrics"], json!([{"type": "Resource", "resource": resource}]));
    }
}
