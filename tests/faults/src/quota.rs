//! Members in a control group of their own, as in a container: with little of a core, or with no more memory.
//!
//! A group counts what its members ask for from then on, and tells how often it held them back: so a run knows that the fault
//! struck. Both versions of control groups are understood.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::process::Pid;

use crate::fault::Scene;
use crate::limits::{POLL, QUOTA_CPU_US, QUOTA_MEMORY, QUOTA_PERIOD_US};

const ROOT: &str = "/sys/fs/cgroup";

/// How long it lasts: longer than an election, and some flushes of the state.
const LASTING: Duration = Duration::from_secs(3);

/// What a group is short of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    /// Time on a core.
    Cpu,
    /// Memory, that of cached files included.
    Memory,
}

impl Quota {
    fn controller(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
        }
    }

    fn effect(self) -> &'static str {
        match self {
            Self::Cpu => "periods without a core",
            Self::Memory => "times that memory was refused",
        }
    }
}

/// A group of one process, which goes back to where it was when this is dropped.
struct Group {
    quota: Quota,
    /// Whether all controllers are in one tree.
    unified: bool,
    path: PathBuf,
    process: Option<(Pid, PathBuf)>,
}

impl Group {
    fn new(quota: Quota) -> anyhow::Result<Self> {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let unified = Path::new(ROOT).join("cgroup.controllers").exists();
        let tree = tree(quota, unified);
        if unified {
            fs::write(tree.join("cgroup.subtree_control"), format!("+{}", quota.controller()))?;
        }
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = tree.join(format!("kontiki-faults-{}-{number}", std::process::id()));
        fs::create_dir(&path)?;
        let group = Self { quota, unified, path, process: None };
        group.limit()?;
        Ok(group)
    }

    fn limit(&self) -> anyhow::Result<()> {
        let orders = match (self.quota, self.unified) {
            (Quota::Cpu, true) => vec![("cpu.max", format!("{QUOTA_CPU_US} {QUOTA_PERIOD_US}"))],
            (Quota::Cpu, false) => vec![
                ("cpu.cfs_period_us", QUOTA_PERIOD_US.to_string()),
                ("cpu.cfs_quota_us", QUOTA_CPU_US.to_string()),
            ],
            (Quota::Memory, true) => vec![("memory.max", QUOTA_MEMORY.to_string())],
            (Quota::Memory, false) => vec![("memory.limit_in_bytes", QUOTA_MEMORY.to_string())],
        };
        orders.into_iter().try_for_each(|(file, order)| self.tell(file, &order))
    }

    fn tell(&self, file: &str, order: &str) -> anyhow::Result<()> {
        let file = self.path.join(file);
        fs::write(&file, order).with_context(|| format!("writing {order:?} into {}", file.display()))
    }

    /// Takes a process in.
    fn take(&mut self, process: Pid) -> anyhow::Result<()> {
        let number = process.as_raw_nonzero();
        let groups = fs::read_to_string(format!("/proc/{number}/cgroup"))?;
        let before = groups.lines().find_map(|line| self.names(line)).context("the group of a process")?;
        let before = tree(self.quota, self.unified).join(before.trim_start_matches('/'));
        self.tell("cgroup.procs", &number.to_string())?;
        self.process = Some((process, before));
        Ok(())
    }

    /// The path in a line of `/proc/PID/cgroup`, if it is about the same tree.
    fn names<'a>(&self, line: &'a str) -> Option<&'a str> {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let same = match self.unified {
            true => controllers.is_empty(),
            false => controllers.split(',').any(|controller| controller == self.quota.controller()),
        };
        same.then_some(path)
    }

    /// How often it held its process back.
    fn held_back(&self) -> anyhow::Result<u64> {
        let (file, key) = match (self.quota, self.unified) {
            (Quota::Cpu, _) => ("cpu.stat", "nr_throttled "),
            (Quota::Memory, true) => ("memory.events", "max "),
            (Quota::Memory, false) => ("memory.failcnt", ""),
        };
        let told = fs::read_to_string(self.path.join(file))?;
        let times = told.lines().find_map(|line| line.strip_prefix(key));
        Ok(times.with_context(|| format!("{key}in {file}"))?.trim().parse()?)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some((process, before)) = &self.process {
            // It may have ended.
            drop(fs::write(before.join("cgroup.procs"), process.as_raw_nonzero().to_string()));
        }
        if let Err(error) = fs::remove_dir(&self.path) {
            eprintln!("{} is left: {error}", self.path.display());
        }
    }
}

fn tree(quota: Quota, unified: bool) -> PathBuf {
    if unified { PathBuf::from(ROOT) } else { Path::new(ROOT).join(quota.controller()) }
}

/// What the machine lacks for a quota, if anything.
pub fn missing(quota: Quota) -> Option<&'static str> {
    match (Group::new(quota), quota) {
        (Ok(_), _) => None,
        (Err(_), Quota::Cpu) => Some("control groups that limit time on a core"),
        (Err(_), Quota::Memory) => Some("control groups that limit memory"),
    }
}

/// Holds a member back for a while. It may make do, or be ended and started again; the others go on, and what was acknowledged stands.
pub async fn strike(scene: &mut Scene, at: usize, quota: Quota) -> anyhow::Result<()> {
    let mut group = Group::new(quota)?;
    group.take(scene.cluster.pid(at)?)?;
    let begin = Instant::now();
    while begin.elapsed() < LASTING && !scene.cluster.has_ended(at)? {
        tokio::time::sleep(POLL).await;
    }
    scene.changes_go_on("while a member is held back").await?;
    scene.seen.add_surely(quota.effect(), group.held_back()?)?;
    drop(group);
    if scene.cluster.has_ended(at)? {
        ensure!(quota == Quota::Memory, "member {at} has ended: {}", scene.cluster.last_words(at));
        scene.seen.add("members that ended for want of something", 1);
        return scene.cluster.spawn(at);
    }
    scene.seen.add("members that made do", 1);
    Ok(())
}
