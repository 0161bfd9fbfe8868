//! Takes a local cluster down: processes, containers, namespaces, rules and mounts. The data stays unless asked.

use std::{path::Path, time::Duration};

use super::{Error, machine, process, state::Layout};

/// How long a process is given to end by itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// What became of the cluster.
#[derive(Clone, Debug, Default)]
pub struct Down {
    /// Processes that were ended.
    pub ended: usize,
    /// Whether the directory was deleted.
    pub deleted: bool,
}

/// Takes the cluster down. That parts of it, or all, do not run is no error.
pub async fn down(data_dir: &Path, delete: bool, progress: &(dyn Fn(&str) + Sync)) -> Result<Down, Error> {
    let layout = Layout::new(data_dir);
    let cluster = layout.read()?;
    let mut result = Down::default();
    for planned in &cluster.agents {
        let dir = layout.agent(&planned.name);
        if process::running(&dir).is_some() {
            result.ended += 1;
        }
        process::stop(&dir, PATIENCE).await?;
        clean_up(&dir, &planned.name, progress).await?;
    }
    for server in &cluster.servers {
        let dir = layout.server(&server.name);
        if process::running(&dir).is_some() {
            result.ended += 1;
            progress(&format!("stopping {}", server.name));
        }
        process::stop(&dir, PATIENCE).await?;
    }
    if let Some(segment) = &cluster.segment {
        machine::remove(segment, &cluster.agents)?;
    }
    if delete {
        let root = layout.root();
        std::fs::remove_dir_all(root).map_err(|source| Error::File {
            action: "delete",
            path: root.into(),
            source,
        })?;
        result.deleted = true;
    }
    Ok(result)
}

/// Removes what an agent left in the kernel. It runs in a process of its own, because it must enter the agent's network
/// namespace, which is a property of a thread.
async fn clean_up(dir: &Path, name: &str, progress: &(dyn Fn(&str) + Sync)) -> Result<(), Error> {
    let config = dir.join("config.json");
    if !config.exists() {
        return Ok(());
    }
    progress(&format!("removing the containers of {name}"));
    let program = std::env::current_exe().map_err(|source| Error::File {
        action: "find",
        path: "/proc/self/exe".into(),
        source,
    })?;
    let output = tokio::process::Command::new(&program)
        .args(["agent", "--clean-up", "--config"])
        .arg(&config)
        .stdin(std::process::Stdio::null())
        .output()
        .await
        .map_err(|source| Error::File { action: "run", path: program.clone(), source })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Process { name: format!("cleaning up after {name}"), what: "failed".into(), log: said })
}
