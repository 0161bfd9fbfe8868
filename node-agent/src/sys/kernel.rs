//! Kernel calls of the volumes: mounts and owners. Plain file operations need no trait; tests do them in a
//! temporary directory.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
};

use rustix::mount::{MountFlags, UnmountFlags};

/// What volumes ask of the kernel beyond files.
pub trait Kernel: Send + Sync + 'static {
    /// Mounts a tmpfs; `size_bytes` 0 for the kernel's default.
    fn mount_tmpfs(&self, path: &Path, size_bytes: u64) -> io::Result<()>;
    /// Unmounts, lazily if it is busy.
    fn unmount(&self, path: &Path) -> io::Result<()>;
    /// Whether something is mounted exactly here.
    fn is_mount_point(&self, path: &Path) -> io::Result<bool>;
    /// Gives a path and all below it to a group, with upstream's modes for fsGroup.
    fn own_by_group(&self, path: &Path, group: u32, read_only: bool) -> io::Result<()>;
    /// Mount points at or below a path, deepest first.
    fn mounts_below(&self, path: &Path) -> io::Result<Vec<std::path::PathBuf>>;
}

/// The real one.
#[derive(Debug, Default)]
pub struct Linux;

impl Kernel for Linux {
    fn mount_tmpfs(&self, path: &Path, size_bytes: u64) -> io::Result<()> {
        let size = if size_bytes == 0 { None } else { Some(format!("size={size_bytes}")) };
        let data = size.map(std::ffi::CString::new).transpose().map_err(io::Error::other)?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        Ok(rustix::mount::mount("tmpfs", path, "tmpfs", flags, data.as_deref())?)
    }

    fn unmount(&self, path: &Path) -> io::Result<()> {
        match rustix::mount::unmount(path, UnmountFlags::NOFOLLOW) {
            Err(rustix::io::Errno::BUSY) => {
                Ok(rustix::mount::unmount(path, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH)?)
            }
            done => Ok(done?),
        }
    }

    fn is_mount_point(&self, path: &Path) -> io::Result<bool> {
        let here = match fs::symlink_metadata(path) {
            Ok(meta) => meta,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(e),
        };
        let Some(parent) = path.parent() else { return Ok(true) };
        Ok(fs::symlink_metadata(parent)?.dev() != here.dev())
    }

    fn own_by_group(&self, path: &Path, group: u32, read_only: bool) -> io::Result<()> {
        own(path, group, read_only)
    }

    fn mounts_below(&self, path: &Path) -> io::Result<Vec<std::path::PathBuf>> {
        let table = fs::read_to_string("/proc/self/mountinfo")?;
        let mut found: Vec<_> =
            table.lines().filter_map(mount_point).filter(|point| point.starts_with(path)).collect();
        found.sort_by_key(|point| std::cmp::Reverse(point.components().count()));
        Ok(found)
    }
}

/// The fifth field of a mountinfo line, with its octal escapes undone.
fn mount_point(line: &str) -> Option<std::path::PathBuf> {
    let field = line.split(' ').nth(4)?;
    let mut text = String::with_capacity(field.len());
    let mut rest = field;
    while let Some(at) = rest.find('\\') {
        let code = rest.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        text.push_str(&rest[..at]);
        match code {
            Some(code) => {
                text.push(char::from(code));
                rest = &rest[at + 4..];
            }
            None => {
                text.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    text.push_str(rest);
    Some(text.into())
}

fn own(path: &Path, group: u32, read_only: bool) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    if meta.is_symlink() {
        return std::os::unix::fs::lchown(path, None, Some(group));
    }
    chown(path, None, Some(group))?;
    let shared = if read_only { 0o440 } else { 0o660 };
    let mode = if meta.is_dir() { meta.mode() | shared | 0o2110 } else { meta.mode() | shared };
    fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o7777))?;
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            own(&entry?.path(), group, read_only)?;
        }
    }
    Ok(())
}

/// Remembers mounts instead of making them.
#[derive(Debug, Default)]
pub struct Fake {
    mounts: parking_lot::Mutex<std::collections::BTreeSet<std::path::PathBuf>>,
}

impl Kernel for Fake {
    fn mount_tmpfs(&self, path: &Path, _size_bytes: u64) -> io::Result<()> {
        self.mounts.lock().insert(path.to_owned());
        Ok(())
    }

    fn unmount(&self, path: &Path) -> io::Result<()> {
        self.mounts.lock().remove(path);
        Ok(())
    }

    fn is_mount_point(&self, path: &Path) -> io::Result<bool> {
        Ok(self.mounts.lock().contains(path))
    }

    fn own_by_group(&self, _path: &Path, _group: u32, _read_only: bool) -> io::Result<()> {
        Ok(())
    }

    fn mounts_below(&self, path: &Path) -> io::Result<Vec<std::path::PathBuf>> {
        Ok(self.mounts.lock().iter().rev().filter(|point| point.starts_with(path)).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::mount_point;

    #[test]
    fn mount_points_with_spaces_are_unescaped() {
        let line = "36 35 98:0 / /a\\040b/c rw - tmpfs tmpfs rw";
        assert_eq!(mount_point(line), Some("/a b/c".into()));
    }
}
