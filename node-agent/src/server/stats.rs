//! `/stats/summary`: what node, pods and containers use, in kubelet's words.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::{
    cri::{labels, v1},
    shared::Shared,
    sys::{
        clock::from_nanos,
        facts::{self, Consumption},
    },
};

/// Remembers the last processor times, to tell rates.
#[derive(Default)]
pub struct Sampler {
    last: Mutex<HashMap<String, Sample>>,
}

#[derive(Clone, Copy)]
struct Sample {
    at_nanos: i64,
    cpu_nanos: u64,
    rate: u64,
}

impl Sampler {
    /// The processor rate since the last look, in billionths of a processor.
    fn rate(&self, key: &str, at_nanos: i64, cpu_nanos: u64) -> u64 {
        let mut last = self.last.lock();
        let rate = match last.get(key) {
            Some(before) if at_nanos > before.at_nanos && cpu_nanos >= before.cpu_nanos => {
                let used = u128::from(cpu_nanos - before.cpu_nanos) * 1_000_000_000;
                let span = u128::try_from(at_nanos - before.at_nanos).unwrap_or(1);
                u64::try_from(used / span).unwrap_or(0)
            }
            Some(before) => before.rate,
            None => 0,
        };
        last.insert(key.to_owned(), Sample { at_nanos, cpu_nanos, rate });
        rate
    }

    /// Forgets what is no longer there.
    fn retain(&self, present: &[String]) {
        self.last.lock().retain(|key, _| key.is_empty() || present.contains(key));
    }
}

/// The summary.
pub async fn summary(shared: &Shared, sampler: &Sampler) -> Value {
    let now = shared.clock.now();
    // A runtime without statistics leaves them out.
    let (containers, sandboxes) =
        tokio::join!(shared.runtime.container_stats(), shared.runtime.sandbox_stats());
    let containers = containers.unwrap_or_default();
    let ids: Vec<String> =
        containers.iter().filter_map(|c| c.attributes.as_ref()).map(|a| a.id.clone()).collect();
    sampler.retain(&ids);
    let networks: BTreeMap<String, v1::NetworkUsage> = sandboxes
        .unwrap_or_default()
        .into_iter()
        .filter_map(|s| {
            let uid = s.attributes?.labels.get(labels::POD_UID)?.clone();
            Some((uid, s.linux?.network?))
        })
        .collect();
    json!({
        "node": node(shared, sampler, now),
        "pods": pods(sampler, &containers, &networks),
    })
}

fn node(shared: &Shared, sampler: &Sampler, now: Timestamp) -> Value {
    let used = Consumption::read();
    let at_nanos = i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX);
    let time = now.to_string();
    json!({
        "nodeName": shared.options.node_name,
        "cpu": {
            "time": time,
            "usageNanoCores": sampler.rate("", at_nanos, used.cpu_nanos),
            "usageCoreNanoSeconds": used.cpu_nanos,
        },
        "memory": {
            "time": time,
            "availableBytes": used.available_bytes,
            "usageBytes": used.memory_usage_bytes,
            "workingSetBytes": used.working_set_bytes,
        },
        "fs": file_system(&shared.options.root_dir, &time),
    })
}

fn file_system(path: &Path, time: &str) -> Value {
    let (capacity, available) = facts::disk(path).unwrap_or_default();
    let (inodes, free) = facts::inodes(path).unwrap_or_default();
    json!({
        "time": time,
        "capacityBytes": capacity,
        "availableBytes": available,
        "usedBytes": capacity.saturating_sub(available),
        "inodes": inodes,
        "inodesFree": free,
        "inodesUsed": inodes.saturating_sub(free),
    })
}

fn pods(
    sampler: &Sampler,
    containers: &[v1::ContainerStats],
    networks: &BTreeMap<String, v1::NetworkUsage>,
) -> Vec<Value> {
    let mut by_pod: BTreeMap<&str, Vec<&v1::ContainerStats>> = BTreeMap::new();
    for stats in containers {
        let uid = stats.attributes.as_ref().and_then(|a| a.labels.get(labels::POD_UID));
        if let Some(uid) = uid {
            by_pod.entry(uid).or_default().push(stats);
        }
    }
    by_pod.into_iter().map(|(uid, stats)| pod(sampler, uid, &stats, networks.get(uid))).collect()
}

fn pod(
    sampler: &Sampler,
    uid: &str,
    stats: &[&v1::ContainerStats],
    network: Option<&v1::NetworkUsage>,
) -> Value {
    let label = |key: &str| {
        let first = stats.first().and_then(|s| s.attributes.as_ref());
        first.and_then(|a| a.labels.get(key)).cloned().unwrap_or_default()
    };
    let rows: Vec<Usage> = stats.iter().map(|s| Usage::of(s, sampler)).collect();
    let mut pod = json!({
        "podRef": {"name": label(labels::POD_NAME), "namespace": label(labels::POD_NAMESPACE), "uid": uid},
        "containers": rows.iter().map(Usage::json).collect::<Vec<_>>(),
        "cpu": {
            "time": rows.first().map(|r| r.time.clone()),
            "usageNanoCores": rows.iter().map(|r| r.rate).sum::<u64>(),
            "usageCoreNanoSeconds": rows.iter().map(|r| r.cpu_nanos).sum::<u64>(),
        },
        "memory": {
            "time": rows.first().map(|r| r.time.clone()),
            "usageBytes": rows.iter().map(|r| r.usage_bytes).sum::<u64>(),
            "workingSetBytes": rows.iter().map(|r| r.working_set_bytes).sum::<u64>(),
        },
    });
    if let Some(interface) = network.and_then(|n| n.default_interface.as_ref()) {
        pod["network"] = json!({
            "name": interface.name,
            "rxBytes": value(interface.rx_bytes.as_ref()),
            "txBytes": value(interface.tx_bytes.as_ref()),
        });
    }
    pod
}

/// What one container uses.
pub struct Usage {
    name: String,
    time: String,
    cpu_nanos: u64,
    rate: u64,
    usage_bytes: u64,
    working_set_bytes: u64,
    rss_bytes: u64,
    rootfs_bytes: u64,
}

impl Usage {
    fn of(stats: &v1::ContainerStats, sampler: &Sampler) -> Self {
        let cpu = stats.cpu.unwrap_or_default();
        let memory = stats.memory.unwrap_or_default();
        let attributes = stats.attributes.clone().unwrap_or_default();
        let cpu_nanos = value(cpu.usage_core_nano_seconds.as_ref());
        let told = value(cpu.usage_nano_cores.as_ref());
        let rate = if told > 0 { told } else { sampler.rate(&attributes.id, cpu.timestamp, cpu_nanos) };
        Self {
            name: attributes.labels.get(labels::CONTAINER_NAME).cloned().unwrap_or_default(),
            time: from_nanos(cpu.timestamp).unwrap_or(Timestamp::UNIX_EPOCH).to_string(),
            cpu_nanos,
            rate,
            usage_bytes: value(memory.usage_bytes.as_ref()),
            working_set_bytes: value(memory.working_set_bytes.as_ref()),
            rss_bytes: value(memory.rss_bytes.as_ref()),
            rootfs_bytes: value(stats.writable_layer.as_ref().and_then(|l| l.used_bytes.as_ref())),
        }
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "cpu": {
                "time": self.time,
                "usageNanoCores": self.rate,
                "usageCoreNanoSeconds": self.cpu_nanos,
            },
            "memory": {
                "time": self.time,
                "usageBytes": self.usage_bytes,
                "workingSetBytes": self.working_set_bytes,
                "rssBytes": self.rss_bytes,
            },
            "rootfs": {"time": self.time, "usedBytes": self.rootfs_bytes},
        })
    }
}

/// A wrapped number of CRI; 0 if it is not there.
pub fn value(number: Option<&v1::UInt64Value>) -> u64 {
    number.map_or(0, |n| n.value)
}

#[cfg(test)]
mod tests {
    use super::Sampler;

    #[test]
    fn rates_are_told_from_two_samples() {
        let sampler = Sampler::default();
        assert_eq!(sampler.rate("c", 1_000, 0), 0);
        assert_eq!(sampler.rate("c", 2_000, 500), 500_000_000);
        assert_eq!(sampler.rate("c", 2_000, 500), 500_000_000, "the same sample again says the same");
    }
}
