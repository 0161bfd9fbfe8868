//! `/metrics` and `/metrics/resource`, as Prometheus reads them.

use std::fmt::Write;

use client::Informer;
use k8s_openapi::api::core::v1::Pod;

use super::stats::value;
use crate::{
    cri::{Selector, labels, v1},
    shared::Shared,
    sys::facts::Consumption,
};

/// What the agent does.
pub async fn of_agent(shared: &Shared, pods: &Informer<Pod>) -> String {
    let containers = shared.runtime.list_containers(Selector::new()).await.unwrap_or_default();
    let of = |state: v1::ContainerState| containers.iter().filter(|c| c.state == state as i32).count();
    let mut text = String::new();
    gauge(&mut text, "kubelet_node_name", "The node's name. The count is always 1.");
    line(&mut text, "kubelet_node_name", &[("node", &shared.options.node_name)], 1.0);
    gauge(&mut text, "kubelet_desired_pods", "Number of pods the API wants on this node.");
    line(&mut text, "kubelet_desired_pods", &[], count(pods.len()));
    gauge(&mut text, "kubelet_running_containers", "Number of containers currently in a state.");
    for (name, state) in [
        ("running", v1::ContainerState::ContainerRunning),
        ("exited", v1::ContainerState::ContainerExited),
        ("created", v1::ContainerState::ContainerCreated),
    ] {
        line(&mut text, "kubelet_running_containers", &[("container_state", name)], count(of(state)));
    }
    gauge(&mut text, "kontiki_agent_references", "Number of ConfigMaps and Secrets watched.");
    line(&mut text, "kontiki_agent_references", &[], count(shared.references.len()));
    gauge(&mut text, "kontiki_agent_events_dropped", "Number of events that did not fit their queue.");
    line(&mut text, "kontiki_agent_events_dropped", &[], shared.recorder.dropped() as f64);
    text
}

/// What node and containers use.
pub async fn of_resources(shared: &Shared) -> String {
    let stats = shared.runtime.container_stats().await.unwrap_or_default();
    let node = Consumption::read();
    let mut text = String::new();
    counter(
        &mut text,
        "node_cpu_usage_seconds_total",
        "Cumulative cpu time consumed by the node in core-seconds",
    );
    line(&mut text, "node_cpu_usage_seconds_total", &[], seconds(node.cpu_nanos));
    gauge(&mut text, "node_memory_working_set_bytes", "Current working set of the node in bytes");
    line(&mut text, "node_memory_working_set_bytes", &[], node.working_set_bytes as f64);
    let name = "container_cpu_usage_seconds_total";
    counter(&mut text, name, "Cumulative cpu time consumed by the container in core-seconds");
    for stat in &stats {
        let used = stat.cpu.as_ref().and_then(|c| c.usage_core_nano_seconds.as_ref());
        of_container(&mut text, name, stat, seconds(value(used)));
    }
    let name = "container_memory_working_set_bytes";
    gauge(&mut text, name, "Current working set of the container in bytes");
    for stat in &stats {
        let used = stat.memory.as_ref().and_then(|m| m.working_set_bytes.as_ref());
        of_container(&mut text, name, stat, value(used) as f64);
    }
    text
}

fn of_container(text: &mut String, name: &str, stat: &v1::ContainerStats, number: f64) {
    let Some(attributes) = &stat.attributes else { return };
    let label = |key: &str| attributes.labels.get(key).map_or("", String::as_str);
    let labels = [
        ("container", label(labels::CONTAINER_NAME)),
        ("namespace", label(labels::POD_NAMESPACE)),
        ("pod", label(labels::POD_NAME)),
    ];
    line(text, name, &labels, number);
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

fn count(n: usize) -> f64 {
    n as f64
}

fn gauge(text: &mut String, name: &str, help: &str) {
    head(text, name, help, "gauge");
}

fn counter(text: &mut String, name: &str, help: &str) {
    head(text, name, help, "counter");
}

fn head(text: &mut String, name: &str, help: &str, kind: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(text: &mut String, name: &str, labels: &[(&str, &str)], number: f64) {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value:?}")).collect();
    let labels = if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) };
    let _ = writeln!(text, "{name}{labels} {number}");
}
