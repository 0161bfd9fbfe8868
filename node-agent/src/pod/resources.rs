//! Requests and limits: the quality of service class, and what the kernel is told.

use std::{collections::BTreeMap, str::FromStr};

use api::quantity::Quantity;
use k8s_openapi::{
    api::core::v1::{Container, Pod, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity as Text,
};

use super::spec;
use crate::cri::v1::LinuxContainerResources;

/// Period of the processor quota in microseconds: the kernel's default.
const CPU_PERIOD_US: i64 = 100_000;
/// Smallest quota the kernel takes, microseconds.
const CPU_QUOTA_US_MIN: i64 = 1_000;
/// Fewest processor shares the kernel takes.
const CPU_SHARES_MIN: i64 = 2;
/// Most processor shares the kernel takes.
const CPU_SHARES_MAX: i64 = 262_144;
/// OOM score of guaranteed containers, as upstream.
const OOM_GUARANTEED: i64 = -997;
/// OOM score of containers without requests, as upstream.
const OOM_BEST_EFFORT: i64 = 1_000;

/// Quality of service class of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    /// Every container has limits for processor and memory, and requests equal to them.
    Guaranteed,
    /// Some container asks for something.
    Burstable,
    /// Nothing is asked for.
    BestEffort,
}

impl Qos {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

/// The value of a resource, if it is set.
pub fn value(map: Option<&BTreeMap<String, Text>>, resource: &str) -> Option<Quantity> {
    Quantity::from_str(&map?.get(resource)?.0).ok()
}

/// A limit of a container.
pub fn limit(container: &Container, resource: &str) -> Option<Quantity> {
    value(container.resources.as_ref()?.limits.as_ref(), resource)
}

/// A request of a container; its limit if only that is set, as the API defaults it.
pub fn request(container: &Container, resource: &str) -> Option<Quantity> {
    let resources: &ResourceRequirements = container.resources.as_ref()?;
    value(resources.requests.as_ref(), resource).or_else(|| value(resources.limits.as_ref(), resource))
}

/// Computes the class; the API server sets the same in `status.qosClass`.
pub fn qos(pod: &Pod) -> Qos {
    let set = |q: Option<Quantity>| q.filter(|q| !q.is_zero());
    let mut any = false;
    let mut guaranteed = true;
    for (_, container) in spec::containers(pod) {
        for resource in ["cpu", "memory"] {
            let (limit, request) = (set(limit(container, resource)), set(request(container, resource)));
            any |= limit.is_some() || request.is_some();
            guaranteed &= limit.is_some() && limit == request;
        }
    }
    match (any, guaranteed) {
        (false, _) => Qos::BestEffort,
        (true, true) => Qos::Guaranteed,
        (true, false) => Qos::Burstable,
    }
}

/// The cgroup all of a pod's containers are below.
pub fn cgroup_parent(root: &str, pod: &Pod) -> String {
    let class = match qos(pod) {
        Qos::Guaranteed => "",
        Qos::Burstable => "/burstable",
        Qos::BestEffort => "/besteffort",
    };
    format!("{}/kubepods{class}/pod{}", root.trim_end_matches('/'), spec::uid(pod))
}

/// What a container's cgroup gets.
pub fn of_container(pod: &Pod, container: &Container, node_memory_bytes: u64) -> LinuxContainerResources {
    let mut resources =
        limits(request(container, "cpu"), limit(container, "cpu"), limit(container, "memory"));
    resources.oom_score_adj = oom_score_adj(pod, container, node_memory_bytes);
    resources
}

/// What a pod's cgroup gets: the sums, with limits only where every container has one.
pub fn of_pod(pod: &Pod) -> LinuxContainerResources {
    let sum = |of: fn(&Container, &str) -> Option<Quantity>, resource: &str| {
        spec::regular(pod).iter().try_fold(Quantity::from_units(0), |sum, c| Some(sum.plus(of(c, resource)?)))
    };
    let requested = spec::regular(pod)
        .iter()
        .filter_map(|c| request(c, "cpu"))
        .fold(Quantity::from_units(0), |sum, q| sum.plus(q));
    limits(Some(requested), sum(limit, "cpu"), sum(limit, "memory"))
}

fn limits(
    cpu_request: Option<Quantity>,
    cpu: Option<Quantity>,
    memory: Option<Quantity>,
) -> LinuxContainerResources {
    LinuxContainerResources {
        cpu_shares: shares(cpu_request.map_or(0, Quantity::millis)),
        cpu_period: if cpu.is_some() { CPU_PERIOD_US } else { 0 },
        cpu_quota: cpu.map_or(0, |q| quota(q.millis())),
        memory_limit_in_bytes: memory.map_or(0, Quantity::units),
        ..LinuxContainerResources::default()
    }
}

fn shares(millis: i64) -> i64 {
    (millis.saturating_mul(1024) / 1000).clamp(CPU_SHARES_MIN, CPU_SHARES_MAX)
}

fn quota(millis: i64) -> i64 {
    if millis == 0 { 0 } else { (millis.saturating_mul(CPU_PERIOD_US) / 1000).max(CPU_QUOTA_US_MIN) }
}

/// Upstream's formula: the more of the node's memory a container asks for, the later it is killed.
fn oom_score_adj(pod: &Pod, container: &Container, node_memory_bytes: u64) -> i64 {
    match qos(pod) {
        Qos::Guaranteed => OOM_GUARANTEED,
        Qos::BestEffort => OOM_BEST_EFFORT,
        Qos::Burstable => {
            let asked = i128::from(request(container, "memory").map_or(0, Quantity::units));
            let share = 1000 * asked / i128::from(node_memory_bytes.max(1));
            let score = i64::try_from(1000 - share).unwrap_or(0);
            // Worse off than a guaranteed one, better off than a best-effort one.
            if score < 1000 + OOM_GUARANTEED { 1000 + OOM_GUARANTEED } else { score.min(OOM_BEST_EFFORT - 1) }
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    use super::{Qos, cgroup_parent, of_container, qos, spec};

    fn pod(resources: Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"uid": "u"},
            "spec": {"containers": [{"name": "web", "resources": resources}]},
        }))
        .unwrap()
    }

    #[test]
    fn classes_follow_requests_and_limits() {
        assert_eq!(qos(&pod(json!({}))), Qos::BestEffort);
        assert_eq!(qos(&pod(json!({"requests": {"cpu": "1"}}))), Qos::Burstable);
        assert_eq!(qos(&pod(json!({"limits": {"cpu": "1", "memory": "1Gi"}}))), Qos::Guaranteed);
        let more = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}});
        assert_eq!(qos(&pod(more)), Qos::Burstable);
    }

    #[test]
    fn the_kernel_gets_shares_quota_and_memory() {
        let pod = pod(json!({"requests": {"cpu": "250m"}, "limits": {"cpu": "500m", "memory": "128Mi"}}));
        let resources = of_container(&pod, &spec::regular(&pod)[0], 1 << 30);
        assert_eq!(resources.cpu_shares, 256);
        assert_eq!((resources.cpu_quota, resources.cpu_period), (50_000, 100_000));
        assert_eq!(resources.memory_limit_in_bytes, 128 << 20);
        assert_eq!(resources.oom_score_adj, 875);
        assert_eq!(cgroup_parent("/a/", &pod), "/a/kubepods/burstable/podu");
    }
}
