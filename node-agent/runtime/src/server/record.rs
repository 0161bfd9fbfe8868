//! What is kept on disk about sandboxes and containers, so that a restarted runtime knows them.
//!
//! ```text
//! <root>/sandboxes/<id>/record.json       written last: the sandbox exists
//!                      /config.pb         the PodSandboxConfig as it came
//!                      /shim.json         what its shim was started with
//!                      /hostname, /resolv.conf, /shm/
//!                      /containers/<id>/record.json, config.pb      as above, for a container
//!                                      /config.json                 the OCI specification
//!                                      /state.json                  written by the shim at every change
//!                                      /upper, /work, /rootfs       its overlay
//! ```

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use prost::Message;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::spec::user::User;
use crate::sys::files::{self, Durability};

/// A sandbox on disk.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SandboxRecord {
    /// Nanoseconds since 1970.
    pub created_ns: i64,
    /// Addresses of the pod.
    pub addresses: Vec<IpAddr>,
    /// It was stopped: nothing of it is left in the kernel.
    pub stopped: bool,
    /// Its cgroup, which its containers' are below.
    pub cgroup: String,
    /// Handler that was asked for.
    pub handler: String,
}

/// A container on disk.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// Nanoseconds since 1970.
    pub created_ns: i64,
    /// Id of its image.
    pub image_id: String,
    /// Name of its image with a digest, if it has one.
    pub image_ref: String,
    /// Layers that must not be removed as long as it exists.
    pub layers: Vec<String>,
    /// Log file, if any.
    pub log_path: Option<PathBuf>,
    /// Who it runs as.
    pub user: User,
    /// Its cgroup.
    pub cgroup: String,
    /// Number of the signal that asks it to end.
    pub stop_signal: i32,
}

/// Writes configuration and record, the record last.
pub fn save(directory: &Path, config: &impl Message, record: &impl Serialize) -> Result<()> {
    files::write_atomic(&directory.join("config.pb"), &config.encode_to_vec(), Durability::Process)?;
    update(directory, record)
}

/// Writes a changed record.
pub fn update(directory: &Path, record: &impl Serialize) -> Result<()> {
    files::write_json(&directory.join("record.json"), record)
}

/// Reads both; `None` when the record was never completed, or was cut short by a power cut (after which nothing of what
/// it describes is left).
pub fn load<C: Message + Default, R: DeserializeOwned>(directory: &Path) -> Result<Option<(C, R)>> {
    let record_path = directory.join("record.json");
    let path = directory.join("config.pb");
    let read = |path: &Path| match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file("reading", path)(error)),
    };
    let (Some(record), Some(config)) = (read(&record_path)?, read(&path)?) else { return Ok(None) };
    match (serde_json::from_slice(&record), C::decode(config.as_slice())) {
        (Ok(record), Ok(config)) => Ok(Some((config, record))),
        _ => {
            tracing::warn!(path = %directory.display(), "forgetting a record that was cut short");
            Ok(None)
        }
    }
}

/// Names of the sub-directories of a directory; none if it does not exist.
pub fn children(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
