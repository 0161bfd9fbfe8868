//! Container logs are rotated by size: the agent renames the file and the runtime opens a new one.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{
    cri::{self, Selector, v1},
    limits,
    shared::Shared,
};

/// Looks at the logs of running containers now and then until shutdown.
pub async fn run(shared: Arc<Shared>, shutdown: CancellationToken) {
    let work = async {
        loop {
            tokio::time::sleep(limits::LOG_CHECK).await;
            if let Err(e) = check(&shared).await {
                debug!(error = %e, "logs could not be looked at");
            }
        }
    };
    shutdown.run_until_cancelled(work).await;
}

async fn check(shared: &Shared) -> cri::Result<()> {
    for container in shared.runtime.list_containers(Selector::new()).await? {
        if container.state != v1::ContainerState::ContainerRunning as i32 {
            continue;
        }
        let path = PathBuf::from(shared.runtime.container_status(&container.id).await?.log_path);
        let now = shared.clock.now();
        let subject = path.clone();
        let moved = tokio::task::spawn_blocking(move || rotate(&subject, now, limits::LOG_BYTES_MAX)).await;
        match moved {
            Ok(Ok(false)) => {}
            Ok(Ok(true)) => {
                if let Err(e) = shared.runtime.reopen_log(&container.id).await {
                    warn!(path = %path.display(), error = %e, "a rotated log was not opened anew");
                    put_back(&path);
                }
            }
            Ok(Err(e)) => warn!(path = %path.display(), error = %e, "a log could not be rotated"),
            Err(e) => warn!(path = %path.display(), error = %e, "a rotation broke off"),
        }
    }
    Ok(())
}

/// Moves a log aside if it is too long, and removes the oldest; true if it moved.
fn rotate(path: &Path, now: Timestamp, bytes_max: u64) -> io::Result<bool> {
    let length = match fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other?.len(),
    };
    if length < bytes_max {
        return Ok(false);
    }
    let mut old = rotated(path)?;
    old.sort();
    let excess = (old.len() + 2).saturating_sub(limits::LOG_FILES_MAX);
    for file in old.drain(..excess.min(old.len())) {
        fs::remove_file(file)?;
    }
    let mut aside = path.as_os_str().to_owned();
    aside.push(now.strftime(".%Y%m%d-%H%M%S").to_string());
    fs::rename(path, aside)?;
    Ok(true)
}

/// The runtime goes on writing to the newest rotated file: give it its name back.
fn put_back(path: &Path) {
    let newest = rotated(path).ok().and_then(|mut files| {
        files.sort();
        files.pop()
    });
    if let Some(newest) = newest
        && let Err(e) = fs::rename(newest, path)
    {
        warn!(path = %path.display(), error = %e, "a log lost its name");
    }
}

/// The files a log was rotated to.
fn rotated(path: &Path) -> io::Result<Vec<PathBuf>> {
    let Some((dir, name)) = path.parent().zip(path.file_name()) else { return Ok(Vec::new()) };
    let prefix = format!("{}.", name.to_string_lossy());
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::{Timestamp, limits, rotate, rotated};
    use crate::sys::clock::after;

    #[test]
    fn long_logs_move_aside_and_the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        assert!(!rotate(&path, Timestamp::UNIX_EPOCH, 4).unwrap());
        for second in 0..10 {
            fs::write(&path, "long enough").unwrap();
            assert!(rotate(&path, after(Timestamp::UNIX_EPOCH, Duration::from_secs(second)), 4).unwrap());
        }
        let left = rotated(&path).unwrap();
        assert_eq!(left.len() + 1, limits::LOG_FILES_MAX);
        assert!(left.iter().any(|p| p.to_string_lossy().ends_with("000009")));
    }
}
