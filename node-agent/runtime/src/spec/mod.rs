//! From what CRI asks for to the document the container library runs: pure decisions, no kernel calls.
//!
//! Not enforced, because no libseccomp is linked: seccomp profiles. `RuntimeDefault` and `Localhost` start the
//! container unconfined, and its verbose status says so. SELinux and AppArmor labels are ignored likewise.

mod capabilities;
mod mounts;
mod resources;
pub mod user;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proto::cri::{ContainerConfig, LinuxContainerSecurityContext, NamespaceMode};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::image::config::Defaults;
pub use capabilities::Available;
use user::User;

/// Search path when neither image nor pod has one.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const MASKED_PATHS: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

const READONLY_PATHS: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What the sandbox contributes to its containers.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Pinned network namespace, unless the pod uses the host's.
    pub network: Option<PathBuf>,
    /// Pinned host name namespace, likewise.
    pub uts: Option<PathBuf>,
    /// Pinned IPC namespace, unless the pod uses the host's.
    pub ipc: Option<PathBuf>,
    /// Process namespace to join: the pod's shared one or the target's. `None` with [`Self::host_pid`] false is an own one.
    pub pid: Option<PathBuf>,
    /// The container sees the host's processes.
    pub host_pid: bool,
    /// Directory mounted at `/dev/shm`.
    pub shm: PathBuf,
    /// Files mounted at `/etc/hostname` and `/etc/resolv.conf`, unless the configuration mounts its own.
    pub etc_files: Vec<(PathBuf, &'static str)>,
    /// Host name, for the environment.
    pub hostname: String,
    /// The container's cgroup.
    pub cgroup: String,
    /// Whether the machine has one cgroup tree, so that a container can have its own view of it.
    pub unified_cgroups: bool,
    /// Capabilities this runtime can hand out.
    pub available: Available,
}

/// Everything a container's specification is made from.
#[derive(Debug)]
pub struct Request<'a> {
    /// What CRI asks for.
    pub config: &'a ContainerConfig,
    /// What the image says.
    pub image: &'a Defaults,
    /// Who it runs as.
    pub user: &'a User,
    /// Where its root file system will be.
    pub rootfs: &'a Path,
    /// The pod around it.
    pub surroundings: &'a Surroundings,
}

impl Request<'_> {
    fn security(&self) -> LinuxContainerSecurityContext {
        self.config.linux.as_ref().and_then(|linux| linux.security_context.clone()).unwrap_or_default()
    }

    /// The OCI runtime specification as a document.
    pub fn specification(&self) -> Result<Value> {
        let security = self.security();
        let (masked, readonly) = restricted_paths(&security);
        let mut linux = json!({
            "namespaces": self.namespaces(&security),
            "resources": resources::document(self.config, security.privileged),
            "cgroupsPath": self.surroundings.cgroup,
            "maskedPaths": masked,
            "readonlyPaths": readonly,
            "devices": mounts::devices(self.config, security.privileged)?,
        });
        if let Some(propagation) = mounts::root_propagation(self.config) {
            linux["rootfsPropagation"] = json!(propagation);
        }
        Ok(json!({
            "ociVersion": "1.0.2",
            "process": self.process(&security)?,
            "root": {"path": self.rootfs, "readonly": security.readonly_rootfs},
            "hostname": Value::Null,
            "mounts": mounts::document(self.config, self.surroundings, security.privileged)?,
            "annotations": self.config.annotations,
            "linux": linux,
        }))
    }

    fn process(&self, security: &LinuxContainerSecurityContext) -> Result<Value> {
        let capabilities = capabilities::decide(security, &self.surroundings.available)?;
        Ok(json!({
            "terminal": self.config.tty,
            "user": {"uid": self.user.uid, "gid": self.user.gid, "additionalGids": self.user.groups, "umask": 0o022},
            "args": command_line(self.config, self.image)?,
            "env": self.environment(),
            "cwd": self.working_directory(),
            "capabilities": capabilities,
            "noNewPrivileges": security.no_new_privs && !security.privileged,
        }))
    }

    fn working_directory(&self) -> String {
        let chosen =
            [&self.config.working_dir, &self.image.working_dir].into_iter().find(|dir| !dir.is_empty());
        let chosen = chosen.map_or("/", String::as_str);
        if chosen.starts_with('/') { chosen.to_string() } else { format!("/{chosen}") }
    }

    fn environment(&self) -> Vec<String> {
        let mut all: Vec<String> = vec![DEFAULT_PATH.into()];
        if !self.surroundings.hostname.is_empty() {
            all.push(format!("HOSTNAME={}", self.surroundings.hostname));
        }
        if self.config.tty {
            all.push("TERM=xterm".into());
        }
        if self.user.uid == 0 || !self.user.home.is_empty() {
            let home = if self.user.home.is_empty() { "/root" } else { &self.user.home };
            all.push(format!("HOME={home}"));
        }
        let given = self.config.envs.iter().map(|env| format!("{}={}", env.key, env.value));
        for entry in self.image.env.iter().cloned().chain(given) {
            let key = entry.split('=').next().unwrap_or_default();
            match all.iter_mut().find(|old| old.split('=').next() == Some(key)) {
                Some(old) => *old = entry,
                None => all.push(entry),
            }
        }
        all
    }

    fn namespaces(&self, security: &LinuxContainerSecurityContext) -> Vec<Value> {
        let around = self.surroundings;
        let mut all = vec![json!({"type": "mount"})];
        let pinned =
            [("network", &around.network), ("uts", &around.uts), ("ipc", &around.ipc), ("pid", &around.pid)];
        for (kind, path) in pinned {
            if let Some(path) = path {
                all.push(json!({"type": kind, "path": path}));
            }
        }
        if around.pid.is_none() && !around.host_pid {
            all.push(json!({"type": "pid"}));
        }
        if around.unified_cgroups && !security.privileged {
            all.push(json!({"type": "cgroup"}));
        }
        all
    }
}

/// Kubernetes' rules for what runs: `command` replaces the entry point and the image's arguments, `args` the arguments.
fn command_line(config: &ContainerConfig, image: &Defaults) -> Result<Vec<String>> {
    let mut line = if config.command.is_empty() { image.entrypoint.clone() } else { config.command.clone() };
    if !config.args.is_empty() {
        line.extend(config.args.iter().cloned());
    } else if config.command.is_empty() {
        line.extend(image.cmd.iter().cloned());
    }
    if line.first().is_none_or(String::is_empty) {
        return Err(Error::Invalid("no command specified, neither by the container nor by its image".into()));
    }
    Ok(line)
}

fn restricted_paths(security: &LinuxContainerSecurityContext) -> (Vec<String>, Vec<String>) {
    if security.privileged {
        return (Vec::new(), Vec::new());
    }
    if security.masked_paths.is_empty() && security.readonly_paths.is_empty() {
        let owned = |paths: &[&str]| paths.iter().map(ToString::to_string).collect();
        return (owned(MASKED_PATHS), owned(READONLY_PATHS));
    }
    (security.masked_paths.clone(), security.readonly_paths.clone())
}

/// The process document of an exec: as the container's own, with other arguments.
pub fn exec_process(specification: &Value, arguments: &[String], tty: bool) -> Result<Value> {
    if arguments.is_empty() {
        return Err(Error::Invalid("exec needs a command".into()));
    }
    let mut process = specification["process"].clone();
    process["args"] = json!(arguments);
    process["terminal"] = json!(tty);
    if let (true, Some(environment)) = (tty, process["env"].as_array_mut()) {
        let has_terminal =
            environment.iter().any(|entry| entry.as_str().is_some_and(|text| text.starts_with("TERM=")));
        if !has_terminal {
            environment.push(json!("TERM=xterm"));
        }
    }
    Ok(process)
}

/// What a namespace mode number means; unknown numbers are the pod's own, the safest.
pub fn mode(number: i32) -> NamespaceMode {
    NamespaceMode::try_from(number).unwrap_or(NamespaceMode::Pod)
}

/// Destinations that the configuration mounts itself.
fn mounted_by_config(config: &ContainerConfig) -> BTreeSet<&str> {
    config.mounts.iter().map(|mount| mount.container_path.trim_end_matches('/')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::cri::KeyValue;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn command_and_args_follow_the_kubernetes_table() {
        let image = Defaults { entrypoint: strings(&["/ep"]), cmd: strings(&["cmd"]), ..Default::default() };
        for (command, args, expect) in [
            (&[][..], &[][..], &["/ep", "cmd"][..]),
            (&["/c"], &[], &["/c"]),
            (&[], &["a"], &["/ep", "a"]),
            (&["/c"], &["a"], &["/c", "a"]),
        ] {
            let config =
                ContainerConfig { command: strings(command), args: strings(args), ..Default::default() };
            assert_eq!(command_line(&config, &image).unwrap(), strings(expect), "{command:?} {args:?}");
        }
        assert!(command_line(&ContainerConfig::default(), &Defaults::default()).is_err());
    }

    fn surroundings() -> Surroundings {
        Surroundings {
            network: Some("/run/net".into()),
            uts: Some("/run/uts".into()),
            ipc: None,
            pid: None,
            host_pid: false,
            shm: "/run/shm".into(),
            etc_files: vec![("/state/resolv.conf".into(), "/etc/resolv.conf")],
            hostname: "pod".into(),
            cgroup: "/kontiki/pod/c".into(),
            unified_cgroups: false,
            available: Available::all(),
        }
    }

    #[test]
    fn the_document_is_a_specification_the_library_reads() {
        let envs = vec![KeyValue { key: "PATH".into(), value: "/bin".into() }];
        let config = ContainerConfig { command: strings(&["sh"]), envs, tty: true, ..Default::default() };
        let around = surroundings();
        let request = Request {
            config: &config,
            image: &Defaults::default(),
            user: &User::default(),
            rootfs: Path::new("/rootfs"),
            surroundings: &around,
        };
        let document = request.specification().unwrap();
        let spec: libcontainer::oci_spec::runtime::Spec = serde_json::from_value(document.clone()).unwrap();
        assert_eq!(spec.process().as_ref().unwrap().args().as_ref().unwrap(), &strings(&["sh"]));
        let environment = document["process"]["env"].as_array().unwrap();
        assert!(environment.contains(&json!("PATH=/bin")) && !environment.contains(&json!(DEFAULT_PATH)));
        let kinds: Vec<_> =
            document["linux"]["namespaces"].as_array().unwrap().iter().map(|ns| ns["type"].clone()).collect();
        assert_eq!(kinds, ["mount", "network", "uts", "pid"]);
        let exec = exec_process(&document, &strings(&["ls"]), false).unwrap();
        assert_eq!(exec["args"], json!(["ls"]));
    }
}
