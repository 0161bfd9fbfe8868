//! A sandbox's namespaces: created on a thread of their own, kept alive by bind mounts instead of a process.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::sched::CloneFlags;
use rustix::thread::LinkNameSpaceType;

use super::{files, mounts};
use crate::error::{Error, Result};

/// What a sandbox's namespaces must look like.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Own network namespace, and with it an own host name.
    pub network: bool,
    /// Own System V and POSIX message queues.
    pub ipc: bool,
    /// Host name inside, when `network`.
    pub hostname: String,
    /// Kernel settings of these namespaces, dotted name to value.
    pub sysctls: BTreeMap<String, String>,
}

/// Where the namespaces of one sandbox are pinned.
#[derive(Clone, Debug)]
pub struct Pins {
    directory: PathBuf,
}

impl Pins {
    /// The pins of a sandbox are files in this directory.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// The pinned network namespace.
    pub fn network(&self) -> PathBuf {
        self.directory.join("net")
    }

    /// The pinned host name namespace.
    pub fn uts(&self) -> PathBuf {
        self.directory.join("uts")
    }

    /// The pinned IPC namespace.
    pub fn ipc(&self) -> PathBuf {
        self.directory.join("ipc")
    }

    /// Creates and pins what `plan` asks for. Blocking: call it off the async threads.
    pub fn create(&self, plan: &Plan) -> Result<()> {
        files::create_private_dir(&self.directory)?;
        let mut flags = CloneFlags::empty();
        if plan.network {
            flags |= CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS;
        }
        if plan.ipc {
            flags |= CloneFlags::CLONE_NEWIPC;
        }
        if flags.is_empty() && plan.sysctls.is_empty() {
            return Ok(());
        }
        let created = std::thread::scope(|scope| {
            scope
                .spawn(|| self.create_on_this_thread(plan, flags))
                .join()
                .unwrap_or_else(|_| Err(Error::State("the thread that made the namespaces panicked".into())))
        });
        if created.is_err() {
            self.remove()?;
        }
        created
    }

    fn create_on_this_thread(&self, plan: &Plan, flags: CloneFlags) -> Result<()> {
        nix::sched::unshare(flags).map_err(Error::system("creating namespaces"))?;
        if plan.network {
            rustix::system::sethostname(plan.hostname.as_bytes())
                .map_err(Error::system("setting the host name"))?;
            allow_unprivileged_ping(&plan.sysctls);
            pin("net", &self.network())?;
            pin("uts", &self.uts())?;
        }
        if plan.ipc {
            pin("ipc", &self.ipc())?;
        }
        plan.sysctls.iter().try_for_each(|(name, value)| set_sysctl(name, value))
    }

    /// Releases the namespaces; they end with their last process.
    pub fn remove(&self) -> Result<()> {
        mounts::unmount_below(&self.directory)?;
        files::remove_all(&self.directory)
    }
}

fn pin(kind: &str, target: &Path) -> Result<()> {
    File::create(target).map_err(Error::file("creating", target))?;
    mounts::bind(&PathBuf::from(format!("/proc/thread-self/ns/{kind}")), target)
}

/// Containers may ping and bind low ports without privileges, as on other runtimes, unless the pod says otherwise.
fn allow_unprivileged_ping(sysctls: &BTreeMap<String, String>) {
    if !sysctls.contains_key("net.ipv4.ping_group_range") {
        // Kernels without user namespaces for this range refuse; ping then needs a capability, nothing else breaks.
        let _ = fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
    }
}

fn set_sysctl(name: &str, value: &str) -> Result<()> {
    let namespaced = ["net.", "kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."];
    if !namespaced.iter().any(|prefix| name.starts_with(prefix)) || name.contains("..") || name.contains('/')
    {
        return Err(Error::Invalid(format!("sysctl {name:?} does not belong to a pod's namespaces")));
    }
    let path = PathBuf::from("/proc/sys").join(name.replace('.', "/"));
    fs::write(&path, value).map_err(Error::file("setting sysctl", path))
}

/// Moves the calling thread into a pinned network namespace.
pub fn enter_network(path: &Path) -> Result<()> {
    let namespace = File::open(path).map_err(Error::file("opening", path))?;
    rustix::thread::move_into_link_name_space(
        std::os::fd::AsFd::as_fd(&namespace),
        Some(LinkNameSpaceType::Network),
    )
    .map_err(Error::system("entering the network namespace"))
}
