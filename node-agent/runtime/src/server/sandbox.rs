//! Pods: their namespaces, network and shim.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use network::pod::PortMapping;
use parking_lot::Mutex;
use proto::cri::{ContainerEventType, DnsConfig, NamespaceMode, NamespaceOption, PodSandboxConfig, Protocol};
use tokio::time::Instant;

use super::record::{self, SandboxRecord};
use super::{Runtime, blocking, new_id, now_ns};
use crate::error::{Error, Result};
use crate::limits::SHIM_START_TIMEOUT;
use crate::shim::client::Client;
use crate::shim::protocol::{Config, Description, Request};
use crate::spec;
use crate::sys::namespaces::{Pins, Plan};
use crate::sys::{files, mounts};

/// How often a condition that the kernel does not announce is looked at again.
const POLL: Duration = Duration::from_millis(10);

/// Tries to remove the cgroup of a shim that is just ending: two seconds' worth.
const SHIM_CGROUP_TRIES: u32 = 200;

/// A pod.
#[derive(Debug)]
pub struct Sandbox {
    pub id: String,
    pub config: PodSandboxConfig,
    pub record: Mutex<SandboxRecord>,
    pub shim: Client,
    pub pins: Pins,
    pub directory: PathBuf,
    /// The shim answers.
    pub alive: AtomicBool,
    /// Its shim is being told to end, so the end is no accident.
    pub ending: AtomicBool,
    /// First process of the shared process namespace, and the shim's own id, once they are known.
    pub description: Mutex<Option<Description>>,
    /// Held while the pod is being stopped or removed.
    pub changing: tokio::sync::Mutex<()>,
}

impl Sandbox {
    fn options(&self) -> NamespaceOption {
        namespace_options(&self.config)
    }

    /// Whether the pod uses the host's network.
    pub fn on_host_network(&self) -> bool {
        spec::mode(self.options().network) == NamespaceMode::Node
    }

    /// Whether it can have containers.
    pub fn is_ready(&self) -> bool {
        self.alive.load(Ordering::Acquire) && !self.record.lock().stopped
    }

    /// What makes it unique.
    pub fn name(&self) -> String {
        sandbox_name(&self.config)
    }

    /// What it contributes to a container's specification.
    pub fn surroundings(
        &self,
        runtime: &Runtime,
        options: &NamespaceOption,
        cgroup: String,
    ) -> Result<spec::Surroundings> {
        let own_network = !self.on_host_network();
        let own_ipc = spec::mode(self.options().ipc) != NamespaceMode::Node;
        let mode = spec::mode(options.pid);
        let pid = match mode {
            NamespaceMode::Container | NamespaceMode::Node => None,
            NamespaceMode::Pod => Some(self.pause_pid()?),
            NamespaceMode::Target => Some(runtime.container(&options.target_id)?.pid()?),
        };
        Ok(spec::Surroundings {
            network: own_network.then(|| self.pins.network()),
            uts: own_network.then(|| self.pins.uts()),
            ipc: own_ipc.then(|| self.pins.ipc()),
            pid: pid.map(|pid| PathBuf::from(format!("/proc/{pid}/ns/pid"))),
            host_pid: mode == NamespaceMode::Node,
            shm: if own_ipc { self.directory.join("shm") } else { "/dev/shm".into() },
            etc_files: vec![
                (self.directory.join("hostname"), "/etc/hostname"),
                (self.directory.join("resolv.conf"), "/etc/resolv.conf"),
            ],
            hostname: hostname(&self.config),
            cgroup,
            unified_cgroups: runtime.cgroups.is_unified(),
            available: runtime.available.clone(),
        })
    }

    fn pause_pid(&self) -> Result<i32> {
        let pid = self.description.lock().as_ref().and_then(|description| description.pause_pid);
        pid.ok_or_else(|| Error::Invalid("the pod does not share its process namespace".into()))
    }
}

fn namespace_options(config: &PodSandboxConfig) -> NamespaceOption {
    let security = config.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
    security
        .and_then(|security| security.namespace_options.clone())
        .unwrap_or(NamespaceOption { pid: NamespaceMode::Container as i32, ..NamespaceOption::default() })
}

fn sandbox_name(config: &PodSandboxConfig) -> String {
    let metadata = config.metadata.clone().unwrap_or_default();
    format!("{}_{}_{}_{}", metadata.name, metadata.namespace, metadata.uid, metadata.attempt)
}

/// The host's name on the host's network, else the pod's.
fn hostname(config: &PodSandboxConfig) -> String {
    let on_host = spec::mode(namespace_options(config).network) == NamespaceMode::Node;
    if on_host {
        return rustix::system::uname().nodename().to_string_lossy().into_owned();
    }
    if !config.hostname.is_empty() {
        return config.hostname.clone();
    }
    config.metadata.as_ref().map(|metadata| metadata.name.clone()).unwrap_or_default()
}

impl Runtime {
    /// Makes a pod and returns its id. What was begun is undone if it fails.
    pub async fn run_sandbox(self: &Arc<Self>, config: PodSandboxConfig, handler: String) -> Result<String> {
        let metadata = config.metadata.clone().unwrap_or_default();
        if metadata.name.is_empty() || metadata.uid.is_empty() {
            return Err(Error::Invalid("a sandbox needs a name and a uid".into()));
        }
        if !handler.is_empty() {
            return Err(Error::Invalid(format!("no runtime for {handler:?} is configured")));
        }
        let name = self.reserve_name(sandbox_name(&config))?;
        let id = new_id();
        let cgroup = config.linux.as_ref().map(|linux| linux.cgroup_parent.clone()).unwrap_or_default();
        let cgroup =
            if cgroup.is_empty() { format!("{}/pods/{id}", self.options.cgroup_parent) } else { cgroup };
        let record = SandboxRecord { created_ns: now_ns(), cgroup, handler, ..SandboxRecord::default() };
        let sandbox = Arc::new(self.sandbox_of(id.clone(), config, record));
        if let Err(error) = self.set_up(&sandbox).await {
            if let Err(leftover) = self.tear_down(&sandbox).await {
                tracing::error!(sandbox = id, error = leftover.chain(), "undoing a failed sandbox");
            }
            files::remove_all(&sandbox.directory)?;
            return Err(error);
        }
        name.keep();
        self.sandboxes.lock().insert(id.clone(), sandbox.clone());
        self.follow(sandbox);
        self.announce(&id, &id, ContainerEventType::ContainerCreatedEvent);
        self.announce(&id, &id, ContainerEventType::ContainerStartedEvent);
        Ok(id)
    }

    /// The sandbox object for an id, before or after a restart.
    pub(super) fn sandbox_of(&self, id: String, config: PodSandboxConfig, record: SandboxRecord) -> Sandbox {
        let socket = self.options.run_dir.join("shims").join(format!("{}.sock", &id[..16]));
        Sandbox {
            shim: Client::new(&id, &socket),
            pins: Pins::new(self.options.run_dir.join("namespaces").join(&id)),
            directory: self.sandbox_dir(&id),
            alive: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            description: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            record: Mutex::new(record),
            config,
            id,
        }
    }

    async fn set_up(&self, sandbox: &Arc<Sandbox>) -> Result<()> {
        let (prepared, cgroups) = (sandbox.clone(), self.cgroups.clone());
        blocking(move || prepare(&prepared, &cgroups)).await?;
        if !sandbox.on_host_network() {
            let attached = self.network.attach(&sandbox.id, &sandbox.pins.network()).await?;
            sandbox.record.lock().addresses.clone_from(&attached.addresses);
            let mappings = port_mappings(&sandbox.config)?;
            self.network.map_ports(&sandbox.id, &attached.addresses, &mappings).await?;
        }
        self.start_shim(sandbox).await?;
        let record = sandbox.record.lock().clone();
        record::save(&sandbox.directory, &sandbox.config, &record)
    }

    async fn start_shim(&self, sandbox: &Sandbox) -> Result<()> {
        files::create_private_dir(&self.options.run_dir.join("shims"))?;
        files::create_private_dir(&self.library_root())?;
        let command = &self.options.shim_command;
        let config = Config {
            sandbox: sandbox.id.clone(),
            command: command.clone(),
            socket: self.options.run_dir.join("shims").join(format!("{}.sock", &sandbox.id[..16])),
            library_root: self.library_root(),
            network: (!sandbox.on_host_network()).then(|| sandbox.pins.network()),
            shared_pid: spec::mode(sandbox.options().pid) == NamespaceMode::Pod,
            cgroup: self.shim_cgroup(&sandbox.id),
            log: sandbox.directory.join("shim.log"),
        };
        let path = sandbox.directory.join("shim.json");
        files::write_json(&path, &config)?;
        let program = command.first().ok_or_else(|| Error::Invalid("shim_command is empty".into()))?;
        let errors = fs::File::create(sandbox.directory.join("shim.err"))
            .map_err(Error::file("creating", sandbox.directory.join("shim.err")))?;
        let mut child = tokio::process::Command::new(program)
            .args(&command[1..])
            .arg("run")
            .arg(&path)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .map_err(Error::file("starting shim", program))?;
        let deadline = Instant::now() + SHIM_START_TIMEOUT;
        loop {
            if let Ok(description) = sandbox.shim.describe().await {
                *sandbox.description.lock() = Some(description);
                sandbox.alive.store(true, Ordering::Release);
                break;
            }
            let ended = child.try_wait().map_err(Error::system("waiting for the shim"))?;
            if ended.is_some() || Instant::now() > deadline {
                let said = fs::read_to_string(sandbox.directory.join("shim.err")).unwrap_or_default();
                return Err(Error::ShimGone {
                    sandbox: sandbox.id.clone(),
                    reason: format!("did not start: {said}"),
                });
            }
            tokio::time::sleep(POLL).await;
        }
        // As long as this runtime lives it is the shim's parent and must collect it.
        self.tasks.spawn({
            let stopping = self.stopping.clone();
            async move {
                tokio::select! {
                    _ = child.wait() => {}
                    () = stopping.cancelled() => {}
                }
            }
        });
        Ok(())
    }

    fn library_root(&self) -> PathBuf {
        self.options.run_dir.join("libcontainer")
    }

    fn shim_cgroup(&self, id: &str) -> String {
        format!("{}/shims/{id}", self.options.cgroup_parent)
    }

    /// Stops a pod: its containers are killed, network and shim go away. Records stay until it is removed.
    pub async fn stop_sandbox(self: &Arc<Self>, id: &str) -> Result<()> {
        let Ok(sandbox) = self.sandbox(id) else { return Ok(()) };
        let _changing = sandbox.changing.lock().await;
        if sandbox.record.lock().stopped {
            return Ok(());
        }
        for container in self.containers_of(&sandbox.id) {
            self.stop_container(&container.id, 0).await?;
        }
        self.tear_down(&sandbox).await?;
        let record = {
            let mut record = sandbox.record.lock();
            record.stopped = true;
            record.clone()
        };
        record::update(&sandbox.directory, &record)?;
        self.announce(&sandbox.id, &sandbox.id, ContainerEventType::ContainerStoppedEvent);
        Ok(())
    }

    /// Takes everything of a pod out of the kernel. Repeatable.
    pub(super) async fn tear_down(&self, sandbox: &Arc<Sandbox>) -> Result<()> {
        sandbox.ending.store(true, Ordering::Release);
        if let Ok(description) = sandbox.shim.describe().await {
            for state in &description.containers {
                sandbox.shim.command(&Request::Delete { id: state.id.clone() }).await?;
            }
            sandbox.shim.command(&Request::Shutdown).await?;
        } else {
            self.clean_after_dead_shim(sandbox).await?;
        }
        sandbox.alive.store(false, Ordering::Release);
        if !sandbox.on_host_network() {
            self.network.detach(&sandbox.id, &sandbox.pins.network()).await?;
        }
        self.remove_shim_cgroup(&sandbox.id).await;
        let (gone, cgroups, group) =
            (sandbox.clone(), self.cgroups.clone(), sandbox.record.lock().cgroup.clone());
        let top = self.options.cgroup_parent.clone();
        blocking(move || {
            mounts::unmount_below(&gone.directory)?;
            gone.pins.remove()?;
            // The agent may have put something of its own there.
            if let Err(error) = cgroups.remove(&group) {
                tracing::debug!(group, error = error.chain(), "leaving the pod's cgroup");
            }
            cgroups.remove_empty_parents(&group, &top);
            Ok(())
        })
        .await
    }

    /// A shim that was killed leaves containers without a parent. They cannot be watched any more, so they end.
    pub(super) async fn clean_after_dead_shim(&self, sandbox: &Sandbox) -> Result<()> {
        let group = sandbox.record.lock().cgroup.clone();
        let containers = record::children(&sandbox.directory.join("containers"));
        for id in containers {
            let group = format!("{group}/{id}");
            self.cgroups.kill(&group);
            self.cgroups.kill(&self.shim_cgroup(&sandbox.id));
            let deadline = Instant::now() + crate::limits::KILL_TIMEOUT;
            while !self.cgroups.processes(&group).is_empty() && Instant::now() < deadline {
                tokio::time::sleep(POLL).await;
            }
            self.cgroups.remove(&group)?;
            files::remove_all(&self.library_root().join(id))?;
        }
        self.cgroups.kill(&self.shim_cgroup(&sandbox.id));
        Ok(())
    }

    async fn remove_shim_cgroup(&self, id: &str) {
        let group = self.shim_cgroup(id);
        for _ in 0..SHIM_CGROUP_TRIES {
            if self.cgroups.remove(&group).is_ok() {
                self.cgroups.remove_empty_parents(&group, &self.options.cgroup_parent);
                return;
            }
            tokio::time::sleep(POLL).await;
        }
        tracing::warn!(group, "the shim of a stopped sandbox does not end");
    }

    /// Removes a pod and its containers. That it is not there is success.
    pub async fn remove_sandbox(self: &Arc<Self>, id: &str) -> Result<()> {
        let Ok(sandbox) = self.sandbox(id) else { return Ok(()) };
        self.stop_sandbox(&sandbox.id).await?;
        for container in self.containers_of(&sandbox.id) {
            self.remove_container(&container.id).await?;
        }
        let _changing = sandbox.changing.lock().await;
        files::remove_all(&sandbox.directory)?;
        self.announce(&sandbox.id, &sandbox.id, ContainerEventType::ContainerDeletedEvent);
        self.sandboxes.lock().remove(&sandbox.id);
        self.release_name(&sandbox.name());
        Ok(())
    }
}

/// Everything of a pod that needs neither network nor shim.
fn prepare(sandbox: &Sandbox, cgroups: &crate::sys::cgroup::Layout) -> Result<()> {
    let (directory, config) = (&sandbox.directory, &sandbox.config);
    files::create_private_dir(directory)?;
    write_etc_files(directory, config)?;
    let group = sandbox.record.lock().cgroup.clone();
    cgroups.create(&group)?;
    let linux = config.linux.clone().unwrap_or_default();
    if let Some(resources) = &linux.resources {
        cgroups.update(&group, resources)?;
    }
    let options = namespace_options(config);
    let plan = Plan {
        network: spec::mode(options.network) != NamespaceMode::Node,
        ipc: spec::mode(options.ipc) != NamespaceMode::Node,
        hostname: hostname(config),
        sysctls: linux.sysctls.into_iter().collect(),
    };
    sandbox.pins.create(&plan)?;
    if plan.ipc {
        let shm = directory.join("shm");
        fs::create_dir(&shm).map_err(Error::file("creating", &shm))?;
        mounts::tmpfs(&shm, "mode=1777,size=64m")?;
    }
    if !config.log_directory.is_empty() {
        fs::create_dir_all(&config.log_directory).map_err(Error::file("creating", &config.log_directory))?;
    }
    Ok(())
}

fn write_etc_files(directory: &Path, config: &PodSandboxConfig) -> Result<()> {
    let resolv_conf = match &config.dns_config {
        Some(dns) => resolv_conf(dns),
        // Without a wish the pod resolves as the host does.
        None => fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
    };
    for (name, text) in [("hostname", format!("{}\n", hostname(config))), ("resolv.conf", resolv_conf)] {
        let path = directory.join(name);
        fs::write(&path, text).map_err(Error::file("writing", &path))?;
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        fs::set_permissions(&path, readable).map_err(Error::file("opening", path))?;
    }
    Ok(())
}

fn resolv_conf(dns: &DnsConfig) -> String {
    let mut text = String::new();
    if !dns.searches.is_empty() {
        text.push_str(&format!("search {}\n", dns.searches.join(" ")));
    }
    for server in &dns.servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !dns.options.is_empty() {
        text.push_str(&format!("options {}\n", dns.options.join(" ")));
    }
    text
}

fn port_mappings(config: &PodSandboxConfig) -> Result<Vec<PortMapping>> {
    let wished = config.port_mappings.iter().filter(|mapping| mapping.host_port > 0);
    wished
        .map(|mapping| {
            let port = |number: i32| {
                u16::try_from(number).map_err(|_| Error::Invalid(format!("{number} is no port")))
            };
            let protocol = match Protocol::try_from(mapping.protocol).unwrap_or(Protocol::Tcp) {
                Protocol::Tcp => "tcp",
                Protocol::Udp => "udp",
                Protocol::Sctp => "sctp",
            };
            let host_ip = match mapping.host_ip.as_str() {
                "" => None,
                text => Some(
                    text.parse::<IpAddr>().map_err(|_| Error::Invalid(format!("{text:?} is no address")))?,
                ),
            };
            Ok(PortMapping {
                protocol: protocol.into(),
                host_ip,
                host_port: port(mapping.host_port)?,
                container_port: port(mapping.container_port)?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_has_what_the_pod_asked_for() {
        let dns = DnsConfig {
            servers: vec!["10.96.0.10".into()],
            searches: vec!["default.svc.cluster.local".into(), "svc.cluster.local".into()],
            options: vec!["ndots:5".into()],
        };
        assert_eq!(
            resolv_conf(&dns),
            "search default.svc.cluster.local svc.cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n"
        );
    }
}
