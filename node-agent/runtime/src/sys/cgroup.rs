//! Control groups, both layouts: one tree (v2) or a tree for each controller (v1, and the hybrid of both).
//!
//! Containers' own groups are made by the container library. Here are the groups of pods and shims around
//! them, the figures read from all of them, and changes of limits while they run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proto::cri::LinuxContainerResources as Resources;

use crate::error::{Error, Result};

/// How control groups are mounted on this machine.
#[derive(Clone, Debug)]
pub enum Layout {
    /// Version 2: all controllers in one tree.
    Unified(PathBuf),
    /// Version 1: controller (or `name=systemd`) to the root of its tree.
    PerController(BTreeMap<String, PathBuf>),
}

/// Usage of one control group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time, in nanoseconds.
    pub cpu_ns: u64,
    /// Memory charged, in bytes.
    pub memory_bytes: u64,
    /// Memory that cannot be reclaimed without swapping, in bytes: charged minus inactive file pages.
    pub working_set_bytes: u64,
    /// Anonymous memory, in bytes.
    pub rss_bytes: u64,
    /// Limit, in bytes; 0 is none.
    pub memory_limit_bytes: u64,
    /// Page faults.
    pub page_faults: u64,
    /// Page faults that needed the disk.
    pub major_page_faults: u64,
    /// Processes and threads.
    pub pids: u64,
}

impl Layout {
    /// Reads it from the mount table.
    pub fn detect() -> Result<Self> {
        let table = fs::read_to_string("/proc/self/mountinfo")
            .map_err(Error::file("reading", "/proc/self/mountinfo"))?;
        Self::parse(&table)
            .ok_or_else(|| Error::State("no cgroup file system is mounted below /sys/fs/cgroup".into()))
    }

    fn parse(mountinfo: &str) -> Option<Self> {
        let mut controllers = BTreeMap::new();
        let mut unified = None;
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(point) = left.split(' ').nth(4) else { continue };
            let mut fields = right.split(' ');
            match (fields.next(), fields.nth(1)) {
                (Some("cgroup2"), _) => unified = unified.or(Some(PathBuf::from(point))),
                (Some("cgroup"), Some(options)) => {
                    for option in options.split(',').filter(|option| *option != "rw" && *option != "ro") {
                        controllers.entry(option.to_string()).or_insert_with(|| PathBuf::from(point));
                    }
                }
                _ => {}
            }
        }
        if controllers.is_empty() {
            unified.map(Self::Unified)
        } else {
            Some(Self::PerController(controllers))
        }
    }

    /// Whether this is version 2.
    pub fn is_unified(&self) -> bool {
        matches!(self, Self::Unified(_))
    }

    /// The group's directory for a controller, if that controller exists here.
    fn directory(&self, controller: &str, group: &str) -> Option<PathBuf> {
        let relative = group.trim_start_matches('/');
        match self {
            Self::Unified(root) => Some(root.join(relative)),
            Self::PerController(roots) => roots.get(controller).map(|root| root.join(relative)),
        }
    }

    /// Every directory that is this group, one for each tree.
    fn directories(&self, group: &str) -> Vec<PathBuf> {
        let relative = group.trim_start_matches('/');
        match self {
            Self::Unified(root) => vec![root.join(relative)],
            Self::PerController(roots) => {
                let mut all: Vec<_> = roots.values().map(|root| root.join(relative)).collect();
                all.sort();
                all.dedup();
                all
            }
        }
    }

    /// Creates a group with its parents. New parents on v1 inherit the processor set, which is empty otherwise;
    /// on v2 they hand their controllers down.
    pub fn create(&self, group: &str) -> Result<()> {
        match self {
            Self::Unified(root) => create_unified(root, group),
            Self::PerController(roots) => {
                for directory in self.directories(group) {
                    fs::create_dir_all(&directory).map_err(Error::file("creating cgroup", &directory))?;
                }
                roots.get("cpuset").map_or(Ok(()), |root| inherit_cpuset(root, group))
            }
        }
    }

    /// Moves a process into a group, in every tree that takes it.
    pub fn join(&self, group: &str, pid: u32) -> Result<()> {
        for directory in self.directories(group) {
            let file = directory.join("cgroup.procs");
            fs::write(&file, pid.to_string()).map_err(Error::file("moving a process into", file))?;
        }
        Ok(())
    }

    /// Removes a group and the groups below it, if no process is left in them. That it is not there is success.
    pub fn remove(&self, group: &str) -> Result<()> {
        self.directories(group).iter().try_for_each(|directory| remove_tree(directory))
    }

    /// Removes empty parents of a group, up to but not including `top`.
    pub fn remove_empty_parents(&self, group: &str, top: &str) {
        let mut current = Path::new(group).parent();
        while let Some(parent) = current.filter(|parent| parent.starts_with(top) && *parent != Path::new(top))
        {
            for directory in self.directories(&parent.to_string_lossy()) {
                // Busy means another pod lives below it.
                let _ = fs::remove_dir(directory);
            }
            current = parent.parent();
        }
    }

    /// Processes in a group and in the groups below it.
    pub fn processes(&self, group: &str) -> Vec<u32> {
        let mut pids = Vec::new();
        for directory in self.directories(group) {
            collect_processes(&directory, &mut pids);
        }
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Sends SIGKILL to everything in a group.
    pub fn kill(&self, group: &str) {
        if let Self::Unified(root) = self
            && fs::write(root.join(group.trim_start_matches('/')).join("cgroup.kill"), "1").is_ok()
        {
            return;
        }
        for pid in self.processes(group) {
            if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
                // A process that is gone already is what was wanted.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }

    /// Whether the kernel killed a process of this group for lack of memory.
    pub fn was_oom_killed(&self, group: &str) -> bool {
        let file = if self.is_unified() { "memory.events" } else { "memory.oom_control" };
        self.directory("memory", group)
            .map(|directory| flat_keyed(&directory.join(file)))
            .is_some_and(|keys| keys.get("oom_kill").is_some_and(|count| *count > 0))
    }

    /// Reads the usage of a group. Files that are missing count as zero: a controller may be off.
    pub fn usage(&self, group: &str) -> Usage {
        match self {
            Self::Unified(root) => usage_unified(&root.join(group.trim_start_matches('/'))),
            Self::PerController(_) => self.usage_per_controller(group),
        }
    }

    fn usage_per_controller(&self, group: &str) -> Usage {
        let number = |controller: &str, file: &str| {
            self.directory(controller, group).map_or(0, |directory| read_number(&directory.join(file)))
        };
        let stat = self
            .directory("memory", group)
            .map(|directory| flat_keyed(&directory.join("memory.stat")))
            .unwrap_or_default();
        let key = |name: &str| stat.get(name).copied().unwrap_or(0);
        let memory = number("memory", "memory.usage_in_bytes");
        Usage {
            cpu_ns: number("cpuacct", "cpuacct.usage"),
            memory_bytes: memory,
            working_set_bytes: memory.saturating_sub(key("total_inactive_file")),
            rss_bytes: key("total_rss"),
            memory_limit_bytes: bounded(number("memory", "memory.limit_in_bytes")),
            page_faults: key("total_pgfault"),
            major_page_faults: key("total_pgmajfault"),
            pids: number("pids", "pids.current"),
        }
    }

    /// Changes the limits of a group; what is zero or empty in `resources` stays as it is.
    pub fn update(&self, group: &str, resources: &Resources) -> Result<()> {
        let settings =
            if self.is_unified() { settings_unified(resources) } else { settings_per_controller(resources) };
        for (controller, file, value) in settings {
            let Some(directory) = self.directory(controller, group) else { continue };
            let path = directory.join(&file);
            if path.exists() {
                fs::write(&path, &value).map_err(Error::file("setting", path))?;
            }
        }
        Ok(())
    }
}

type Setting = (&'static str, String, String);

/// CPU shares (2..=262144) as a v2 weight (1..=10000), the conversion every runtime uses.
fn weight(shares: i64) -> i64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

fn settings_unified(resources: &Resources) -> Vec<Setting> {
    let mut all: Vec<Setting> = Vec::new();
    if resources.cpu_shares > 0 {
        all.push(("cpu", "cpu.weight".into(), weight(resources.cpu_shares).to_string()));
    }
    if resources.cpu_quota != 0 {
        let quota = if resources.cpu_quota < 0 { "max".into() } else { resources.cpu_quota.to_string() };
        let period = if resources.cpu_period > 0 { resources.cpu_period } else { 100_000 };
        all.push(("cpu", "cpu.max".into(), format!("{quota} {period}")));
    }
    if resources.memory_limit_in_bytes != 0 {
        let limit = resources.memory_limit_in_bytes;
        all.push(("memory", "memory.max".into(), if limit < 0 { "max".into() } else { limit.to_string() }));
    }
    if !resources.cpuset_cpus.is_empty() {
        all.push(("cpuset", "cpuset.cpus".into(), resources.cpuset_cpus.clone()));
    }
    if !resources.cpuset_mems.is_empty() {
        all.push(("cpuset", "cpuset.mems".into(), resources.cpuset_mems.clone()));
    }
    for limit in &resources.hugepage_limits {
        all.push(("hugetlb", format!("hugetlb.{}.max", limit.page_size), limit.limit.to_string()));
    }
    for (file, value) in &resources.unified {
        if !file.contains('/') {
            all.push(("unified", file.clone(), value.clone()));
        }
    }
    all
}

fn settings_per_controller(resources: &Resources) -> Vec<Setting> {
    let mut all: Vec<Setting> = Vec::new();
    if resources.cpu_shares > 0 {
        all.push(("cpu", "cpu.shares".into(), resources.cpu_shares.to_string()));
    }
    if resources.cpu_period > 0 {
        all.push(("cpu", "cpu.cfs_period_us".into(), resources.cpu_period.to_string()));
    }
    if resources.cpu_quota != 0 {
        all.push(("cpu", "cpu.cfs_quota_us".into(), resources.cpu_quota.to_string()));
    }
    if resources.memory_limit_in_bytes != 0 {
        all.push(("memory", "memory.limit_in_bytes".into(), resources.memory_limit_in_bytes.to_string()));
    }
    if !resources.cpuset_cpus.is_empty() {
        all.push(("cpuset", "cpuset.cpus".into(), resources.cpuset_cpus.clone()));
    }
    if !resources.cpuset_mems.is_empty() {
        all.push(("cpuset", "cpuset.mems".into(), resources.cpuset_mems.clone()));
    }
    for limit in &resources.hugepage_limits {
        all.push(("hugetlb", format!("hugetlb.{}.limit_in_bytes", limit.page_size), limit.limit.to_string()));
    }
    all
}

fn create_unified(root: &Path, group: &str) -> Result<()> {
    let mut directory = root.to_path_buf();
    for part in group.split('/').filter(|part| !part.is_empty()) {
        // A parent with processes of its own refuses; limits below it are then not enforced, as without cgroups.
        let available = fs::read_to_string(directory.join("cgroup.controllers")).unwrap_or_default();
        for controller in available.split_whitespace() {
            let _ = fs::write(directory.join("cgroup.subtree_control"), format!("+{controller}"));
        }
        directory.push(part);
        match fs::create_dir(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(Error::File { action: "creating cgroup", path: directory, source: error });
            }
            _ => {}
        }
    }
    Ok(())
}

fn inherit_cpuset(root: &Path, group: &str) -> Result<()> {
    let mut directory = root.to_path_buf();
    for part in group.split('/').filter(|part| !part.is_empty()) {
        let parent = directory.clone();
        directory.push(part);
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let (from, to) = (parent.join(file), directory.join(file));
            let current = fs::read_to_string(&to).map_err(Error::file("reading", &to))?;
            if current.trim().is_empty() {
                let value = fs::read_to_string(&from).map_err(Error::file("reading", from))?;
                fs::write(&to, value.trim()).map_err(Error::file("setting", to))?;
            }
        }
    }
    Ok(())
}

fn remove_tree(directory: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(directory) else { return Ok(()) };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_tree(&entry.path())?;
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::File { action: "removing cgroup", path: directory.into(), source: error })
        }
        _ => Ok(()),
    }
}

fn collect_processes(directory: &Path, pids: &mut Vec<u32>) {
    let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_processes(&entry.path(), pids);
        }
    }
}

fn usage_unified(directory: &Path) -> Usage {
    let cpu = flat_keyed(&directory.join("cpu.stat"));
    let stat = flat_keyed(&directory.join("memory.stat"));
    let key = |name: &str| stat.get(name).copied().unwrap_or(0);
    let memory = read_number(&directory.join("memory.current"));
    Usage {
        cpu_ns: cpu.get("usage_usec").copied().unwrap_or(0).saturating_mul(1000),
        memory_bytes: memory,
        working_set_bytes: memory.saturating_sub(key("inactive_file")),
        rss_bytes: key("anon"),
        memory_limit_bytes: bounded(read_number(&directory.join("memory.max"))),
        page_faults: key("pgfault"),
        major_page_faults: key("pgmajfault"),
        pids: read_number(&directory.join("pids.current")),
    }
}

/// The kernel writes "no limit" as a number near the largest one.
fn bounded(limit: u64) -> u64 {
    if limit >= 1 << 60 { 0 } else { limit }
}

fn read_number(path: &Path) -> u64 {
    fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn flat_keyed(path: &Path) -> BTreeMap<String, u64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.filter_map(|(key, value)| Some((key.to_string(), value.trim().parse().ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_layouts_are_recognised_from_the_mount_table() {
        let v2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        assert!(
            matches!(Layout::parse(v2), Some(Layout::Unified(root)) if root == Path::new("/sys/fs/cgroup"))
        );
        let hybrid = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let Some(Layout::PerController(roots)) = Layout::parse(hybrid) else {
            panic!("hybrid is per controller")
        };
        assert_eq!(roots["cpuacct"], Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        assert!(Layout::parse("").is_none());
    }

    #[test]
    fn shares_become_weights() {
        for (shares, expect) in [(2, 1), (1024, 39), (262_144, 10_000), (0, 1)] {
            assert_eq!(weight(shares), expect, "{shares} shares");
        }
    }

    #[test]
    fn only_given_limits_are_changed() {
        let resources = Resources { memory_limit_in_bytes: 1 << 20, ..Default::default() };
        assert_eq!(settings_unified(&resources), [("memory", "memory.max".into(), "1048576".into())]);
        assert_eq!(
            settings_per_controller(&resources),
            [("memory", "memory.limit_in_bytes".to_string(), "1048576".to_string())]
        );
    }
}
