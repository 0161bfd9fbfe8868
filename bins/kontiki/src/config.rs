//! Configuration files of servers and agents: the options of the library, as JSON.

use std::path::Path;

use anyhow::Context;
use serde::de::DeserializeOwned;

/// Largest configuration file that is read, in bytes.
const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// Reads options from a file.
pub fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let size = std::fs::metadata(path).with_context(|| format!("reading {}", path.display()))?.len();
    anyhow::ensure!(size <= CONFIG_BYTES_MAX, "{} is larger than {CONFIG_BYTES_MAX} bytes", path.display());
    let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is no valid configuration", path.display()))
}
