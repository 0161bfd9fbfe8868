//! Fields of a pod and of its containers' resources, as variables and downward API files show them.

use std::collections::BTreeMap;

use api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, ResourceFieldSelector};

use super::Facts;
use crate::pod::{resources, spec};

/// What the node can give to pods; shown as the limit of containers that have none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocatable {
    /// Thousandths of processors.
    pub cpu_millis: i64,
    /// Memory in bytes.
    pub memory_bytes: i64,
    /// Ephemeral storage in bytes.
    pub disk_bytes: i64,
}

/// The value of a field path such as `metadata.labels['app']`.
pub fn of_pod(facts: &Facts<'_>, path: &str) -> Result<String, String> {
    let pod = facts.pod;
    let first = |ips: &[String]| ips.first().cloned().unwrap_or_default();
    if let Some((map, key)) = subscript(path) {
        let entries = match map {
            "metadata.labels" => spec::labels(&pod.metadata),
            "metadata.annotations" => spec::annotations(&pod.metadata),
            _ => return Err(format!("unsupported fieldPath: {path}")),
        };
        return Ok(entries.get(key).cloned().unwrap_or_default());
    }
    match path {
        "metadata.name" => Ok(spec::name(pod).to_owned()),
        "metadata.namespace" => Ok(spec::namespace(pod).to_owned()),
        "metadata.uid" => Ok(spec::uid(pod).to_owned()),
        "metadata.labels" => Ok(listed(spec::labels(&pod.metadata))),
        "metadata.annotations" => Ok(listed(spec::annotations(&pod.metadata))),
        "spec.nodeName" => Ok(spec::of(pod).node_name.clone().unwrap_or_default()),
        "spec.serviceAccountName" => Ok(spec::of(pod).service_account_name.clone().unwrap_or_default()),
        "status.hostIP" => Ok(first(facts.host_ips)),
        "status.hostIPs" => Ok(facts.host_ips.join(",")),
        "status.podIP" => Ok(first(facts.pod_ips)),
        "status.podIPs" => Ok(facts.pod_ips.join(",")),
        _ => Err(format!("unsupported fieldPath: {path}")),
    }
}

/// `metadata.labels['app']` as its two parts.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// One `key="value"` per line, by key, quoted as Go quotes.
fn listed(map: &BTreeMap<String, String>) -> String {
    map.iter().map(|(key, value)| format!("{key}={value:?}")).collect::<Vec<_>>().join("\n")
}

/// The value of a resource of a container, in units of the divisor, rounded up.
pub fn of_resources(
    facts: &Facts<'_>,
    container: &Container,
    selector: &ResourceFieldSelector,
) -> Result<String, String> {
    let other = selector.container_name.as_deref().filter(|name| !name.is_empty());
    let container = match other {
        Some(name) => spec::container(facts.pod, name)
            .map(|(_, c)| c)
            .ok_or_else(|| format!("container {name} not found"))?,
        None => container,
    };
    let divisor = match selector.divisor.as_ref().map(|q| q.0.as_str()) {
        None | Some("" | "0") => Quantity::from_units(1),
        Some(text) => text.parse().map_err(|_| format!("invalid divisor {text:?}"))?,
    };
    let (kind, resource) = selector
        .resource
        .split_once('.')
        .ok_or_else(|| format!("unsupported resource: {}", selector.resource))?;
    let value = match kind {
        "limits" => resources::limit(container, resource).filter(|q| !q.is_zero()),
        "requests" => Some(resources::request(container, resource).unwrap_or(Quantity::from_units(0))),
        _ => return Err(format!("unsupported resource: {}", selector.resource)),
    };
    let value = match value {
        Some(value) => value,
        None => whole_node(facts.allocatable, resource)
            .ok_or_else(|| format!("unsupported resource: {}", selector.resource))?,
    };
    let (value, divisor) =
        if resource == "cpu" { (value.millis(), divisor.millis()) } else { (value.units(), divisor.units()) };
    let divisor = divisor.max(1);
    Ok((value / divisor + i64::from(value % divisor > 0)).to_string())
}

fn whole_node(allocatable: &Allocatable, resource: &str) -> Option<Quantity> {
    match resource {
        "cpu" => Some(Quantity::from_millis(allocatable.cpu_millis)),
        "memory" => Some(Quantity::from_bytes(allocatable.memory_bytes)),
        "ephemeral-storage" => Some(Quantity::from_bytes(allocatable.disk_bytes)),
        _ => None,
    }
}
