//! What is mounted into a container, and which devices it sees.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use proto::cri::{ContainerConfig, Mount, MountPropagation};
use serde_json::{Value, json};

use super::{Surroundings, mounted_by_config};
use crate::error::{Error, Result};

/// Directories of `/dev` that are mounts of their own in every container.
const SKIPPED_IN_DEV: &[&str] =
    &["pts", "shm", "fd", "mqueue", "console", "ptmx", "stdin", "stdout", "stderr", "core"];

/// How deep `/dev` is searched for a privileged container.
const DEV_DEPTH_MAX: usize = 3;

/// The mounts of the specification, in the order in which they are made.
pub fn document(config: &ContainerConfig, around: &Surroundings, privileged: bool) -> Result<Vec<Value>> {
    let sys = if privileged { "rw" } else { "ro" };
    let own = mounted_by_config(config);
    let base = [
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", sys]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", sys]),
        bind("/dev/shm", &around.shm, &["rbind", "rprivate", "rw"]),
    ];
    let files = around.etc_files.iter().map(|(file, target)| bind(target, file, &["bind", "rprivate", "rw"]));
    let mut all: Vec<Value> = base
        .into_iter()
        .chain(files)
        .filter(|mount| !own.contains(mount["destination"].as_str().unwrap_or_default()))
        .collect();
    let mut wished: Vec<&Mount> = config.mounts.iter().collect();
    // A mount over a parent of another one must come first.
    wished.sort_by_key(|mount| mount.container_path.matches('/').count());
    for wish in wished {
        all.push(host_mount(wish)?);
    }
    Ok(all)
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": kind, "source": source, "options": options})
}

fn bind(destination: &str, source: &Path, options: &[&str]) -> Value {
    json!({"destination": destination, "type": "bind", "source": source, "options": options})
}

fn host_mount(wish: &Mount) -> Result<Value> {
    if wish.image.is_some() {
        return Err(Error::Invalid("mounting an image as a volume is not supported".into()));
    }
    if !wish.container_path.starts_with('/') {
        return Err(Error::Invalid(format!("mount path {:?} is not absolute", wish.container_path)));
    }
    let source = Path::new(&wish.host_path);
    if !source.exists() {
        fs::create_dir_all(source).map_err(Error::file("creating mount source", source))?;
    }
    let source = fs::canonicalize(source).map_err(Error::file("resolving mount source", source))?;
    let mut options = vec!["rbind", propagation(wish)];
    options.push(if wish.readonly { "ro" } else { "rw" });
    if wish.recursive_read_only {
        options.push("rro");
    }
    Ok(bind(wish.container_path.trim_end_matches('/'), &source, &options))
}

fn propagation(wish: &Mount) -> &'static str {
    match MountPropagation::try_from(wish.propagation).unwrap_or(MountPropagation::PropagationPrivate) {
        MountPropagation::PropagationPrivate => "rprivate",
        MountPropagation::PropagationHostToContainer => "rslave",
        MountPropagation::PropagationBidirectional => "rshared",
    }
}

/// Propagation of the root, as strong as its most demanding mount needs.
pub fn root_propagation(config: &ContainerConfig) -> Option<&'static str> {
    let all: Vec<_> = config.mounts.iter().map(propagation).collect();
    ["rshared", "rslave"].into_iter().find(|kind| all.contains(kind))
}

/// Device nodes to make: those asked for, and all of the host's for a privileged container.
pub fn devices(config: &ContainerConfig, privileged: bool) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    if privileged {
        host_devices(Path::new("/dev"), 0, &mut all);
    }
    for wish in &config.devices {
        let path = if wish.container_path.is_empty() { &wish.host_path } else { &wish.container_path };
        let node = device(Path::new(&wish.host_path), path)
            .ok_or_else(|| Error::Invalid(format!("{:?} is no device", wish.host_path)))?;
        all.retain(|other: &Value| other["path"] != node["path"]);
        all.push(node);
    }
    Ok(all)
}

fn host_devices(directory: &Path, depth: usize, all: &mut Vec<Value>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let skipped =
            depth == 0 && entry.file_name().to_str().is_some_and(|name| SKIPPED_IN_DEV.contains(&name));
        let Ok(kind) = entry.file_type() else { continue };
        if skipped {
            continue;
        }
        if kind.is_dir() && depth < DEV_DEPTH_MAX {
            host_devices(&path, depth + 1, all);
        } else if let Some(node) = device(&path, &path.to_string_lossy()) {
            all.push(node);
        }
    }
}

fn device(host: &Path, path: &str) -> Option<Value> {
    let metadata = fs::symlink_metadata(host).ok()?;
    let kind = metadata.file_type();
    let letter = match (kind.is_char_device(), kind.is_block_device()) {
        (true, _) => "c",
        (_, true) => "b",
        (false, false) => return None,
    };
    Some(json!({
        "path": path, "type": letter,
        "major": rustix::fs::major(metadata.rdev()), "minor": rustix::fs::minor(metadata.rdev()),
        "fileMode": metadata.permissions().mode() & 0o777, "uid": metadata.uid(), "gid": metadata.gid(),
    }))
}

/// Device access rules for the cgroup.
pub fn device_rules(config: &ContainerConfig, privileged: bool) -> Vec<Value> {
    if privileged {
        return vec![json!({"allow": true, "access": "rwm"})];
    }
    let mut all = vec![json!({"allow": false, "access": "rwm"})];
    for wish in &config.devices {
        if let Some(node) = device(Path::new(&wish.host_path), &wish.host_path) {
            let access = if wish.permissions.is_empty() { "rwm" } else { &wish.permissions };
            all.push(json!({
                "allow": true, "type": node["type"], "major": node["major"], "minor": node["minor"], "access": access,
            }));
        }
    }
    all
}
