//! Volumes of pods: setting them up, keeping them up to date, taking them down.
//!
//! Set-up is idempotent: it runs once at start, again after an agent restart, and whenever a source changed.
//! Layout, below the pod's directory: `volumes/kubernetes.io~<plugin>/<volume name>`.

pub mod atomic;
pub mod host;
pub mod mounts;
pub mod payload;
pub mod token;

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use api::quantity::Quantity;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Volume};

use self::payload::Payload;
use crate::{pod::spec, sys::Kernel};

/// One volume that could not be set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its name.
    pub volume: String,
    /// Why, in words for an event.
    pub message: String,
}

/// What is to be done for one volume; computed without effects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Files, written all at once; on a tmpfs if they are secret.
    Files {
        /// Which.
        files: Payload,
        /// Never touches a disk.
        secret: bool,
    },
    /// An empty directory, in memory if so asked.
    Empty {
        /// On a tmpfs.
        memory: bool,
        /// Bytes of the tmpfs; 0 for the kernel's default.
        size_bytes: u64,
    },
    /// A path of the host.
    Host {
        /// Where.
        path: String,
        /// What has to be there.
        r#type: String,
    },
}

/// Decides what a volume needs.
pub fn work(inputs: &payload::Inputs<'_>, volume: &Volume) -> Result<Work, Failure> {
    let failed = |message: String| Failure { volume: volume.name.clone(), message };
    if let Some(files) = payload::of(inputs, volume) {
        let secret = volume.secret.is_some() || volume.projected.is_some();
        return Ok(Work::Files { files: files.map_err(failed)?, secret });
    }
    if let Some(empty) = &volume.empty_dir {
        let memory = empty.medium.as_deref() == Some("Memory");
        // On disk a size limit is only enforced by eviction, which this agent does not do.
        let size = empty.size_limit.as_ref().and_then(|q| q.0.parse::<Quantity>().ok());
        let size_bytes = size.map_or(0, |q| u64::try_from(q.units()).unwrap_or(0));
        return Ok(Work::Empty { memory, size_bytes });
    }
    if let Some(host) = &volume.host_path {
        let r#type = host.type_.clone().unwrap_or_default();
        return Ok(Work::Host { path: host.path.clone(), r#type });
    }
    Err(failed("this kind of volume is not supported by the node agent".into()))
}

/// Where a volume is on the host.
pub fn path(pod_dir: &Path, volume: &Volume) -> PathBuf {
    if let Some(host) = &volume.host_path {
        return PathBuf::from(&host.path);
    }
    pod_dir.join("volumes").join(format!("kubernetes.io~{}", plugin(volume))).join(&volume.name)
}

fn plugin(volume: &Volume) -> &'static str {
    if volume.config_map.is_some() {
        "configmap"
    } else if volume.secret.is_some() {
        "secret"
    } else if volume.projected.is_some() {
        "projected"
    } else if volume.downward_api.is_some() {
        "downward-api"
    } else {
        "empty-dir"
    }
}

/// Whether containers may never write to a volume.
pub fn is_read_only(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.projected.is_some()
        || volume.downward_api.is_some()
}

/// Does the work of all volumes of a pod, off the async threads.
pub async fn set_up(
    kernel: Arc<dyn Kernel>,
    pod: Arc<Pod>,
    pod_dir: PathBuf,
    works: Vec<(Volume, Work)>,
    now: Timestamp,
) -> Result<(), Failure> {
    let all = move || {
        let context = spec::of(&pod).security_context.as_ref();
        let group = context.and_then(|c| c.fs_group).and_then(|g| u32::try_from(g).ok());
        for (volume, work) in &works {
            let at = path(&pod_dir, volume);
            let done = set_up_one(&*kernel, &at, work, group, now);
            done.map_err(|message| Failure { volume: volume.name.clone(), message })?;
        }
        Ok(())
    };
    let crashed = |_| Failure { volume: String::new(), message: "setting volumes up was interrupted".into() };
    tokio::task::spawn_blocking(all).await.map_err(crashed)?
}

fn set_up_one(
    kernel: &dyn Kernel,
    at: &Path,
    work: &Work,
    group: Option<u32>,
    now: Timestamp,
) -> Result<(), String> {
    let io = |e: io::Error| format!("{}: {e}", at.display());
    match work {
        Work::Files { files, secret } => {
            make_dir(at, 0o755).map_err(io)?;
            if *secret && !kernel.is_mount_point(at).map_err(io)? {
                kernel.mount_tmpfs(at, 0).map_err(io)?;
                fs::set_permissions(at, fs::Permissions::from_mode(0o755)).map_err(io)?;
            }
            let changed = atomic::write(at, files, now).map_err(io)?;
            match group.filter(|_| changed) {
                Some(group) => kernel.own_by_group(at, group, true).map_err(io),
                None => Ok(()),
            }
        }
        Work::Empty { memory, size_bytes } => {
            let fresh = !at.exists();
            make_dir(at, 0o777).map_err(io)?;
            if *memory && !kernel.is_mount_point(at).map_err(io)? {
                kernel.mount_tmpfs(at, *size_bytes).map_err(io)?;
                fs::set_permissions(at, fs::Permissions::from_mode(0o777)).map_err(io)?;
            }
            match group.filter(|_| fresh) {
                Some(group) => kernel.own_by_group(at, group, false).map_err(io),
                None => Ok(()),
            }
        }
        Work::Host { path, r#type } => host::check(path, r#type),
    }
}

/// A directory with exactly this mode if it is new.
fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Unmounts everything of a pod and removes its volumes. Host paths are never touched. Idempotent.
pub async fn tear_down(kernel: Arc<dyn Kernel>, pod_dir: PathBuf) -> Result<(), String> {
    let all = move || {
        let volumes = pod_dir.join("volumes");
        let io = |e: io::Error| format!("{}: {e}", volumes.display());
        for point in kernel.mounts_below(&pod_dir).map_err(io)? {
            kernel.unmount(&point).map_err(|e| format!("unmount {}: {e}", point.display()))?;
        }
        // What could not be unmounted must not be deleted from within.
        if let Some(left) = kernel.mounts_below(&pod_dir).map_err(io)?.first() {
            return Err(format!("{} is still mounted", left.display()));
        }
        match fs::remove_dir_all(&volumes) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io(e)),
            _ => Ok(()),
        }
    };
    tokio::task::spawn_blocking(all).await.map_err(|e| e.to_string())?
}
