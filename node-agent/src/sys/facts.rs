//! Facts about the machine, from /proc, /sys and the file system.

use std::{fs, path::Path};

/// What a node's status says about its machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Processors the agent may use.
    pub cpus: u64,
    /// Memory, bytes: the machine's or the enclosing cgroup's, whichever is less.
    pub memory_bytes: u64,
    /// Size of the file system of the agent's directory, bytes.
    pub disk_bytes: u64,
    /// `/etc/machine-id`.
    pub machine_id: String,
    /// DMI product UUID.
    pub system_uuid: String,
    /// Changes with every boot.
    pub boot_id: String,
    /// `uname -r`.
    pub kernel: String,
    /// `PRETTY_NAME` of os-release.
    pub os_image: String,
    /// As Go spells it.
    pub architecture: String,
}

/// What is in use now, in percent of what there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Memory that is neither free nor reclaimable.
    pub memory_percent: u64,
    /// The agent's file system.
    pub disk_percent: u64,
    /// Process ids.
    pub pid_percent: u64,
}

/// Memory and processor use of the whole node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consumption {
    /// Processor time since boot, nanoseconds.
    pub cpu_nanos: u64,
    /// Memory in use, reclaimable included, bytes.
    pub memory_usage_bytes: u64,
    /// Memory in use that cannot be reclaimed easily, bytes.
    pub working_set_bytes: u64,
    /// Memory available, bytes.
    pub available_bytes: u64,
}

impl Facts {
    /// Reads them. What cannot be read is empty or zero: a node with holes in its facts is still a node.
    pub fn read(root_dir: &Path) -> Self {
        Self {
            cpus: std::thread::available_parallelism().map_or(1, |n| n.get() as u64),
            memory_bytes: memory_total(),
            disk_bytes: disk(root_dir).map_or(0, |(total, _)| total),
            machine_id: line("/etc/machine-id"),
            system_uuid: line("/sys/class/dmi/id/product_uuid"),
            boot_id: line("/proc/sys/kernel/random/boot_id"),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            os_image: os_image(),
            architecture: go_architecture(std::env::consts::ARCH).to_owned(),
        }
    }
}

impl Usage {
    /// Reads it.
    pub fn read(root_dir: &Path) -> Self {
        let memory = Consumption::read();
        let total = memory_total();
        Self {
            memory_percent: percent(total.saturating_sub(memory.available_bytes.min(total)), total),
            disk_percent: disk(root_dir)
                .map_or(0, |(total, free)| percent(total.saturating_sub(free), total)),
            pid_percent: percent(processes(), number("/proc/sys/kernel/pid_max")),
        }
    }
}

impl Consumption {
    /// Reads it.
    pub fn read() -> Self {
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let field = |name: &str| meminfo(&memory, name);
        let total = field("MemTotal");
        let available = field("MemAvailable");
        Self {
            cpu_nanos: cpu_nanos(&fs::read_to_string("/proc/stat").unwrap_or_default()),
            memory_usage_bytes: total.saturating_sub(field("MemFree")),
            working_set_bytes: total.saturating_sub(available),
            available_bytes: available,
        }
    }
}

/// Total and available bytes of the file system of a path.
pub fn disk(path: &Path) -> Option<(u64, u64)> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some((stat.f_blocks.saturating_mul(stat.f_frsize), stat.f_bavail.saturating_mul(stat.f_frsize)))
}

/// Total, free and used inodes of the file system of a path.
pub fn inodes(path: &Path) -> Option<(u64, u64)> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some((stat.f_files, stat.f_ffree))
}

fn memory_total() -> u64 {
    let machine = meminfo(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal");
    let cgroup = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok());
    cgroup.map_or(machine, |limit| limit.min(machine))
}

fn meminfo(table: &str, name: &str) -> u64 {
    let found = table.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = found.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

/// User, nice, system, irq, softirq and steal time of the first line of /proc/stat; ticks are 10 ms.
fn cpu_nanos(stat: &str) -> u64 {
    let fields: Vec<u64> =
        stat.lines().next().unwrap_or("").split_whitespace().skip(1).filter_map(|f| f.parse().ok()).collect();
    let busy = [0, 1, 2, 5, 6, 7].iter().filter_map(|i| fields.get(*i)).sum::<u64>();
    busy.saturating_mul(10_000_000)
}

fn processes() -> u64 {
    let load = line("/proc/loadavg");
    let total = load.split_whitespace().nth(3).and_then(|f| f.split('/').nth(1)?.parse().ok());
    total.unwrap_or(0)
}

fn percent(part: u64, whole: u64) -> u64 {
    part.saturating_mul(100).checked_div(whole).unwrap_or(0)
}

fn line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn number(path: &str) -> u64 {
    line(path).parse().unwrap_or(0)
}

fn os_image() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    value.map_or_else(|| "Linux".to_owned(), |v| v.trim_matches('"').to_owned())
}

fn go_architecture(rust: &str) -> &str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::{cpu_nanos, go_architecture, meminfo, percent};

    #[test]
    fn meminfo_is_kibibytes() {
        let table = "MemTotal:       16 kB\nMemFree:  4 kB\n";
        assert_eq!(meminfo(table, "MemTotal"), 16 * 1024);
        assert_eq!(meminfo(table, "MemAvailable"), 0);
    }

    #[test]
    fn processor_time_leaves_out_idle_and_wait() {
        assert_eq!(cpu_nanos("cpu  1 2 3 100 100 4 5 6 0 0\n"), 21 * 10_000_000);
    }

    #[test]
    fn architectures_are_named_as_go_names_them() {
        assert_eq!(go_architecture("x86_64"), "amd64");
        assert_eq!(percent(1, 0), 0);
    }
}
