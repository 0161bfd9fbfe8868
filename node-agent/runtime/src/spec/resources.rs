//! Limits of a container.

use proto::cri::{ContainerConfig, LinuxContainerResources};
use serde_json::{Map, Value, json};

/// The resources of the specification. The score for the out-of-memory killer is not here: the shim sets it, because
/// the library would fail where the host may not lower it.
pub fn document(config: &ContainerConfig, privileged: bool) -> Value {
    let mut all = Map::new();
    all.insert("devices".into(), json!(super::mounts::device_rules(config, privileged)));
    if let Some(limits) = config.linux.as_ref().and_then(|linux| linux.resources.as_ref()) {
        add_limits(&mut all, limits);
    }
    Value::Object(all)
}

fn add_limits(all: &mut Map<String, Value>, limits: &LinuxContainerResources) {
    let mut cpu = Map::new();
    for (key, value) in
        [("shares", limits.cpu_shares), ("quota", limits.cpu_quota), ("period", limits.cpu_period)]
    {
        if value > 0 || (key == "quota" && value < 0) {
            cpu.insert(key.into(), json!(value));
        }
    }
    for (key, value) in [("cpus", &limits.cpuset_cpus), ("mems", &limits.cpuset_mems)] {
        if !value.is_empty() {
            cpu.insert(key.into(), json!(value));
        }
    }
    if !cpu.is_empty() {
        all.insert("cpu".into(), Value::Object(cpu));
    }
    if limits.memory_limit_in_bytes > 0 {
        let mut memory = json!({"limit": limits.memory_limit_in_bytes});
        if limits.memory_swap_limit_in_bytes > 0 {
            memory["swap"] = json!(limits.memory_swap_limit_in_bytes);
        }
        all.insert("memory".into(), memory);
    }
    let huge: Vec<_> = limits
        .hugepage_limits
        .iter()
        .filter(|limit| limit.limit > 0)
        .map(|limit| json!({"pageSize": limit.page_size, "limit": limit.limit}))
        .collect();
    if !huge.is_empty() {
        all.insert("hugepageLimits".into(), json!(huge));
    }
    let mut unified = limits.unified.clone();
    if let Some(pids) = unified.remove("pids.max").and_then(|text| text.parse::<i64>().ok()) {
        all.insert("pids".into(), json!({"limit": pids}));
    }
    if !unified.is_empty() {
        all.insert("unified".into(), json!(unified));
    }
}
