//! Mounting root file systems and taking mounts away again.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// An overlay to be mounted as a container's root file system.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Overlay {
    /// Directory that the lower names are relative to. Short names keep 127 layers within a page of options.
    pub layers_dir: PathBuf,
    /// Layer directories, the topmost first.
    pub lower: Vec<String>,
    /// Where changes go.
    pub upper: PathBuf,
    /// Scratch directory of overlayfs, beside `upper`.
    pub work: PathBuf,
    /// Where it is mounted.
    pub target: PathBuf,
}

impl Overlay {
    /// Mounts it. Changes the working directory of the process: only for the single-threaded shim.
    pub fn mount_in_place(&self) -> Result<()> {
        for directory in [&self.upper, &self.work, &self.target] {
            fs::create_dir_all(directory).map_err(Error::file("creating", directory))?;
        }
        // The container's root directory is the upper one: it must be open to every user of the image.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&self.upper, mode).map_err(Error::file("opening", &self.upper))?;
        let result = self.mount_relative();
        rustix::process::chdir("/").map_err(Error::system("leaving the layer directory"))?;
        result
    }

    fn mount_relative(&self) -> Result<()> {
        rustix::process::chdir(&self.layers_dir).map_err(Error::system("entering the layer directory"))?;
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            self.lower.join(":"),
            escape(&self.upper),
            escape(&self.work)
        );
        rustix::mount::mount(
            "overlay",
            &self.target,
            "overlay",
            MountFlags::empty(),
            Some(&*cstring(options)?),
        )
        .map_err(|error| Error::File {
            action: "mounting the overlay at",
            path: self.target.clone(),
            source: error.into(),
        })
    }
}

fn escape(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "\\\\").replace(',', "\\,").replace(':', "\\:")
}

fn cstring(text: String) -> Result<std::ffi::CString> {
    std::ffi::CString::new(text).map_err(|_| Error::Invalid("a path contains a zero byte".into()))
}

/// Mounts a small tmpfs.
pub fn tmpfs(target: &Path, options: &str) -> Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("tmpfs", target, "tmpfs", flags, Some(&*cstring(options.to_string())?))
        .map_err(|error| Error::file("mounting tmpfs at", target)(error.into()))
}

/// Binds one file or directory over another.
pub fn bind(source: &Path, target: &Path) -> Result<()> {
    rustix::mount::mount_bind(source, target)
        .map_err(|error| Error::file("bind mounting to", target)(error.into()))?;
    // On a host with shared mounts the pin must not travel into other mount namespaces.
    rustix::mount::mount_change(target, MountPropagationFlags::PRIVATE)
        .map_err(|error| Error::file("making private", target)(error.into()))
}

/// Takes away one mount; that there is none is success. Busy ones vanish with their last user.
pub fn unmount(target: &Path) -> Result<()> {
    match rustix::mount::unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(Error::file("unmounting", target)(error.into())),
    }
}

/// Takes away every mount at or below a directory, the newest first.
pub fn unmount_below(directory: &Path) -> Result<()> {
    let mut points = below(directory).map_err(Error::file("reading", "/proc/self/mountinfo"))?;
    while let Some(point) = points.pop() {
        unmount(&point)?;
    }
    Ok(())
}

/// Mount points at or below a directory, in the order in which they were mounted.
pub fn below(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let table = fs::read("/proc/self/mountinfo")?;
    let points = table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(unescape)
        .filter(|point| point.starts_with(directory))
        .collect();
    Ok(points)
}

/// Undoes the octal escapes of mountinfo (space is `\040`).
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}
