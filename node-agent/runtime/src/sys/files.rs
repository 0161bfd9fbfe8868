//! Files that survive a crash: written aside, then renamed over the old ones.

use std::fs;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Creates a directory and its parents, readable by root only.
pub fn create_private_dir(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(Error::file("creating directory", path))
}

/// Whether bytes must be on disk before anyone is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Survives the death of this process. For what means nothing after a reboot, when every container is gone.
    Process,
    /// Survives a power cut.
    Machine,
}

/// Replaces the file at once: a reader sees the old bytes or the new ones, whatever happens in between.
pub fn write_atomic(path: &Path, bytes: &[u8], durability: Durability) -> Result<()> {
    let temporary = path.with_extension(format!("tmp{}", std::process::id()));
    let result = fs::File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        if durability == Durability::Machine {
            file.sync_data()?;
        }
        fs::rename(&temporary, path)
    });
    if result.is_err() {
        // The write already failed; the leftover is overwritten by the next attempt if this fails too.
        let _ = fs::remove_file(&temporary);
    }
    result.map_err(Error::file("writing", path))
}

/// [`write_atomic`] of a JSON document that a reboot may take.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let bytes = serde_json::to_vec(value).map_err(Error::parse(path.display().to_string()))?;
    write_atomic(path, &bytes, Durability::Process)
}

/// [`write_atomic`] of a JSON document that a reboot must not take.
pub fn write_json_durable<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let bytes = serde_json::to_vec(value).map_err(Error::parse(path.display().to_string()))?;
    write_atomic(path, &bytes, Durability::Machine)
}

/// Reads a JSON document.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = fs::read(path).map_err(Error::file("reading", path))?;
    serde_json::from_slice(&bytes).map_err(Error::parse(path.display().to_string()))
}

/// Removes a file or a whole directory; that it is not there is success.
pub fn remove_all(path: &Path) -> Result<()> {
    let result = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::File { action: "removing", path: path.into(), source: error })
        }
        _ => Ok(()),
    }
}

/// Bytes and inodes in use below a directory, without following links or leaving its file system.
pub fn usage(path: &Path) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    let Ok(root) = fs::symlink_metadata(path) else { return (0, 0) };
    let device = root.dev();
    let (mut bytes, mut inodes) = (root.blocks() * 512, 1);
    let mut pending = vec![path.to_path_buf()];
    while let Some(directory) = pending.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.dev() != device {
                continue;
            }
            bytes += metadata.blocks() * 512;
            inodes += 1;
            if metadata.is_dir() {
                pending.push(entry.path());
            }
        }
    }
    (bytes, inodes)
}
