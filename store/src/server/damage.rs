//! A member that found its state damaged remembers it, and does not start again: it must not vote, lead or serve.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::Error;
use crate::mvcc;

const MARK: &str = "damaged";

/// Refuses a directory whose member was found damaged.
pub fn check(directory: &Path) -> Result<(), Error> {
    let path = directory.join(MARK);
    match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::Directory { path, detail: error.to_string() }),
        Ok(found) => {
            let detail = format!(
                "this member was found damaged ({}): remove it from the cluster and add it anew with an empty \
                 directory, or restore a backup",
                found.trim()
            );
            Err(Error::Directory { path, detail })
        }
    }
}

/// Remembers damage; whatever else stops a member may be gone at the next start.
pub fn remember(directory: &Path, error: &mvcc::Error) -> io::Result<Option<PathBuf>> {
    let detail = match error {
        mvcc::Error::Corrupt { .. } => error.to_string(),
        mvcc::Error::Engine(engine) if engine.is_corruption() => format!("{engine}: {}", engine.source),
        mvcc::Error::Engine(_) | mvcc::Error::Format { .. } => return Ok(None),
    };
    let path = directory.join(MARK);
    let mut file = File::create(&path)?;
    writeln!(file, "{detail}")?;
    file.sync_all()?;
    File::open(directory)?.sync_all()?;
    Ok(Some(path))
}
