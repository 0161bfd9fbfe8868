//! Usage of containers and pods.

use std::fs;
use std::sync::Arc;

use proto::cri::{
    ContainerAttributes, ContainerStats, CpuUsage, FilesystemIdentifier, FilesystemUsage,
    LinuxPodSandboxStats, MemoryUsage, NetworkInterfaceUsage, NetworkUsage, PodSandboxAttributes,
    PodSandboxStats, ProcessUsage, UInt64Value,
};

use super::container::Container;
use super::sandbox::Sandbox;
use super::{Runtime, blocking, now_ns};
use crate::error::Result;
use crate::sys::cgroup::Usage;
use crate::sys::files;

fn value(value: u64) -> Option<UInt64Value> {
    Some(UInt64Value { value })
}

impl Container {
    /// Processor time per second of time since the last look, in nanoseconds.
    fn nano_cores(&self, now: i64, cpu_ns: u64) -> Option<UInt64Value> {
        let last = self.last_usage.lock().replace((now, cpu_ns));
        let (then, before) = last?;
        let elapsed = u64::try_from(now - then).ok().filter(|elapsed| *elapsed > 0)?;
        let used = u128::from(cpu_ns.saturating_sub(before)) * 1_000_000_000 / u128::from(elapsed);
        value(u64::try_from(used).unwrap_or(u64::MAX))
    }
}

impl Runtime {
    /// Usage of one container.
    pub async fn container_stats(&self, container: &Arc<Container>) -> Result<ContainerStats> {
        let upper = container.directory.join("upper");
        let path = upper.clone();
        let (bytes, inodes) = blocking(move || Ok(files::usage(&path))).await?;
        let now = now_ns();
        let usage = self.cgroups.usage(&container.record.cgroup);
        Ok(ContainerStats {
            attributes: Some(ContainerAttributes {
                id: container.id.clone(),
                metadata: container.config.metadata.clone(),
                labels: container.config.labels.clone(),
                annotations: container.config.annotations.clone(),
            }),
            cpu: Some(cpu(now, &usage, container.nano_cores(now, usage.cpu_ns))),
            memory: Some(memory(now, &usage)),
            writable_layer: Some(FilesystemUsage {
                timestamp: now,
                fs_id: Some(FilesystemIdentifier { mountpoint: upper.display().to_string() }),
                used_bytes: value(bytes),
                inodes_used: value(inodes),
            }),
            swap: None,
        })
    }

    /// Usage of a pod and its containers.
    pub async fn sandbox_stats(&self, sandbox: &Arc<Sandbox>) -> Result<PodSandboxStats> {
        let mut containers = Vec::new();
        for container in self.containers_of(&sandbox.id) {
            containers.push(self.container_stats(&container).await?);
        }
        let now = now_ns();
        let usage = self.cgroups.usage(&sandbox.record.lock().cgroup);
        let shim = sandbox.description.lock().as_ref().map(|description| description.pid);
        let network =
            shim.filter(|_| sandbox.is_ready() && !sandbox.on_host_network()).map(|pid| network(now, pid));
        let linux = LinuxPodSandboxStats {
            cpu: Some(cpu(now, &usage, None)),
            memory: Some(memory(now, &usage)),
            network,
            process: Some(ProcessUsage { timestamp: now, process_count: value(usage.pids) }),
            containers,
        };
        Ok(PodSandboxStats {
            attributes: Some(PodSandboxAttributes {
                id: sandbox.id.clone(),
                metadata: sandbox.config.metadata.clone(),
                labels: sandbox.config.labels.clone(),
                annotations: sandbox.config.annotations.clone(),
            }),
            linux: Some(linux),
            windows: None,
        })
    }
}

fn cpu(timestamp: i64, usage: &Usage, usage_nano_cores: Option<UInt64Value>) -> CpuUsage {
    CpuUsage { timestamp, usage_core_nano_seconds: value(usage.cpu_ns), usage_nano_cores }
}

fn memory(timestamp: i64, usage: &Usage) -> MemoryUsage {
    let limit = usage.memory_limit_bytes;
    MemoryUsage {
        timestamp,
        working_set_bytes: value(usage.working_set_bytes),
        available_bytes: (limit > 0)
            .then(|| UInt64Value { value: limit.saturating_sub(usage.working_set_bytes) }),
        usage_bytes: value(usage.memory_bytes),
        rss_bytes: value(usage.rss_bytes),
        page_faults: value(usage.page_faults),
        major_page_faults: value(usage.major_page_faults),
    }
}

/// The shim lives in the pod's network namespace, so its view of the interfaces is the pod's.
fn network(timestamp: i64, shim: u32) -> NetworkUsage {
    let table = fs::read_to_string(format!("/proc/{shim}/net/dev")).unwrap_or_default();
    let interfaces = interfaces(&table);
    NetworkUsage { timestamp, default_interface: interfaces.first().cloned(), interfaces }
}

fn interfaces(table: &str) -> Vec<NetworkInterfaceUsage> {
    let rows = table.lines().filter_map(|line| line.split_once(':'));
    let rows = rows.map(|(name, rest)| (name.trim(), rest)).filter(|(name, _)| *name != "lo");
    rows.map(|(name, rest)| {
        let numbers: Vec<u64> = rest.split_whitespace().map(|word| word.parse().unwrap_or(0)).collect();
        let at = |position: usize| value(numbers.get(position).copied().unwrap_or(0));
        NetworkInterfaceUsage {
            name: name.into(),
            rx_bytes: at(0),
            rx_errors: at(2),
            tx_bytes: at(8),
            tx_errors: at(10),
        }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_counters_are_read_from_the_kernel_table() {
        let table = "Inter-|   Receive  |  Transmit\n face |bytes packets errs\n    lo: 5 1 0 0 0 0 0 0 5 1 0 0 0 0 0 0\n  \
                     eth0: 1500 10 1 0 0 0 0 0 900 9 2 0 0 0 0 0\n";
        let all = interfaces(table);
        assert_eq!(all.len(), 1);
        let one = &all[0];
        assert_eq!(one.name, "eth0");
        let numbers =
            [one.rx_bytes, one.rx_errors, one.tx_bytes, one.tx_errors].map(|field| field.unwrap().value);
        assert_eq!(numbers, [1500, 1, 900, 2]);
    }
}
