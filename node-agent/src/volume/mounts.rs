//! Which path of the host a container sees where.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};

use super::payload::is_inside;
use crate::{cri::v1, env::expand, pod::spec};

/// The mounts a container's specification asks for. `variables` is its environment, for `subPathExpr`.
/// Directories for sub-paths are made here, so this must run after the volumes are set up.
pub fn of(
    pod: &Pod,
    container: &Container,
    pod_dir: &Path,
    variables: &[(String, String)],
) -> Result<Vec<v1::Mount>, String> {
    let mounts = container.volume_mounts.iter().flatten();
    mounts.map(|mount| one(pod, pod_dir, variables, mount)).collect()
}

fn one(
    pod: &Pod,
    pod_dir: &Path,
    variables: &[(String, String)],
    mount: &VolumeMount,
) -> Result<v1::Mount, String> {
    let volumes = spec::of(pod).volumes.as_deref().unwrap_or(&[]);
    let volume = volumes.iter().find(|v| v.name == mount.name);
    let volume = volume.ok_or_else(|| format!("volume {:?} does not exist", mount.name))?;
    let root = super::path(pod_dir, volume);
    let sub = sub_path(variables, mount)?;
    let host = match sub.as_deref() {
        Some(sub) => resolve(&root, sub)?,
        None => root,
    };
    let readonly = mount.read_only.unwrap_or(false) || super::is_read_only(volume);
    let propagation = match mount.mount_propagation.as_deref() {
        Some("HostToContainer") => v1::MountPropagation::PropagationHostToContainer,
        Some("Bidirectional") => v1::MountPropagation::PropagationBidirectional,
        _ => v1::MountPropagation::PropagationPrivate,
    };
    Ok(v1::Mount {
        container_path: absolute(&mount.mount_path),
        host_path: host.to_string_lossy().into_owned(),
        readonly,
        propagation: propagation as i32,
        recursive_read_only: readonly && mount.recursive_read_only.as_deref() == Some("Enabled"),
        ..v1::Mount::default()
    })
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

fn sub_path(variables: &[(String, String)], mount: &VolumeMount) -> Result<Option<String>, String> {
    let expression = mount.sub_path_expr.as_deref().filter(|s| !s.is_empty());
    let Some(expression) = expression else { return Ok(mount.sub_path.clone().filter(|s| !s.is_empty())) };
    let missing = std::cell::RefCell::new(None);
    let lookup = |name: &str| {
        let found = variables.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
        if found.is_none() {
            *missing.borrow_mut() = Some(name.to_owned());
        }
        found
    };
    let expanded = expand::expand(expression, lookup);
    match missing.into_inner() {
        Some(name) => Err(format!("missing value for {name:?}")),
        None => Ok(Some(expanded)),
    }
}

/// A sub-path must not lead out of its volume, also not through symbolic links.
fn resolve(root: &Path, sub: &str) -> Result<PathBuf, String> {
    if !is_inside(sub) {
        return Err(format!("subPath {sub:?} must be relative and may not contain '..'"));
    }
    let failed = |e: std::io::Error| format!("failed to prepare subPath {sub:?}: {e}");
    let root = root.canonicalize().map_err(failed)?;
    let wanted = root.join(sub);
    if std::fs::symlink_metadata(&wanted).is_err() {
        // The deepest part that exists must be inside before anything is made below it.
        let present = wanted.ancestors().find(|p| p.exists()).unwrap_or(&root);
        if !present.canonicalize().map_err(failed)?.starts_with(&root) {
            return Err(format!("subPath {sub:?} leads out of its volume"));
        }
        std::fs::create_dir_all(&wanted).map_err(failed)?;
    }
    let real = wanted.canonicalize().map_err(failed)?;
    if real.starts_with(&root) { Ok(real) } else { Err(format!("subPath {sub:?} leads out of its volume")) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::resolve;

    #[test]
    fn sub_paths_stay_inside() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("volume");
        std::fs::create_dir(&root).unwrap();
        symlink("/etc", root.join("out")).unwrap();
        assert!(resolve(&root, "a/b").unwrap().ends_with("volume/a/b"));
        assert!(resolve(&root, "../x").is_err());
        assert!(resolve(&root, "out").is_err());
        assert!(resolve(&root, "out/new").is_err());
    }
}
