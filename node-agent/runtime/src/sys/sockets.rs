//! Unix sockets at any path. The kernel takes 107 bytes; longer paths go through an open directory in `/proc`.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Longest path the kernel accepts, without the closing zero byte.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// A name for `path` short enough for the kernel; the directory stays open as long as the name is needed.
fn short(path: &Path) -> std::io::Result<(PathBuf, Option<File>)> {
    if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
        return Ok((path.to_path_buf(), None));
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(std::io::ErrorKind::InvalidInput.into());
    };
    let directory = File::open(parent)?;
    Ok((PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name), Some(directory)))
}

/// Binds a socket, replacing a dead one. The listener does not block.
pub fn bind(path: &Path) -> Result<UnixListener> {
    super::files::remove_all(path)?;
    let bound = short(path).and_then(|(name, _directory)| {
        let listener = UnixListener::bind(name)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(Error::file("binding socket", path))
}

/// Connects to a socket. The stream does not block afterwards.
pub fn connect(path: &Path) -> std::io::Result<UnixStream> {
    let (name, _directory) = short(path)?;
    let stream = UnixStream::connect(name)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}
