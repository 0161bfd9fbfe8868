//! What the kernel says of this process, under the names every Prometheus client uses.

use std::fs;

/// Ticks in a second in what the kernel tells of times; a promise of Linux to programs on every machine.
const TICKS_PER_S: f64 = 100.0;

/// Bytes of a page where `/proc` counts pages.
const PAGE_BYTES: f64 = 4096.0;

/// Zeroes where the kernel says nothing.
#[derive(Debug, Default)]
pub struct Process {
    pub cpu_s: f64,
    pub resident_bytes: f64,
    pub virtual_bytes: f64,
    pub started_unix_s: f64,
    pub open_files: f64,
    pub open_files_max: f64,
}

impl Process {
    pub fn now() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The name of the program comes second, in parentheses, and may contain anything.
        let fields: Vec<f64> = stat
            .rsplit_once(')')
            .map(|(_, rest)| rest.split_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect())
            .unwrap_or_default();
        // Counted from the third field on, as proc(5) numbers them.
        let field = |number: usize| fields.get(number - 3).copied().unwrap_or_default();
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        Self {
            cpu_s: (field(14) + field(15)) / TICKS_PER_S,
            resident_bytes: resident_bytes().unwrap_or(field(24) * PAGE_BYTES),
            virtual_bytes: field(23),
            started_unix_s: booted_unix_s() + field(22) / TICKS_PER_S,
            open_files: fs::read_dir("/proc/self/fd").map_or(0.0, |entries| entries.count() as f64),
            open_files_max: limit.map_or(f64::MAX, |limit| limit as f64),
        }
    }
}

fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some((kib * 1024) as f64)
}

fn booted_unix_s() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let booted = stat.lines().find_map(|line| line.strip_prefix("btime "));
    booted.and_then(|seconds| seconds.trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_understood() {
        let process = Process::now();
        assert!(
            process.resident_bytes > 1e5 && process.virtual_bytes >= process.resident_bytes,
            "{process:?}"
        );
        assert!(process.open_files >= 3.0 && process.open_files_max >= process.open_files, "{process:?}");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((process.started_unix_s - now).abs() < 600.0, "{process:?} at {now}");
    }
}
