//! Backups on a schedule: each member writes its own, see [`directory`](crate::backup::directory). Whatever goes wrong is
//! logged and tried again at the next turn; serving goes on.

use std::path::PathBuf;

use raft::disk::{Disk as _, RealDisk};
use tokio::time::{Duration, Instant, interval};

use super::{Error, Handle, Options};
use crate::backup::Error as BackupError;
use crate::backup::directory::{Directory, Made, Retention};
use crate::backup::export::Origin;
use crate::machine::Machine;

/// What a member backs up into, and how often.
#[derive(Clone, Debug)]
struct Turn {
    directory: PathBuf,
    scratch: PathBuf,
    retention: Retention,
    free_bytes_min: u64,
}

/// Makes a backup now and then.
pub async fn run(handle: Handle, options: Options, directory: PathBuf) -> Result<(), Error> {
    let mut ticks = interval(Duration::from_secs(options.backup_interval_s.max(1)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The first tick is immediate: a member that has just started has nothing new to save.
    ticks.tick().await;
    let turn = Turn {
        directory,
        scratch: options.data_dir.join("backup"),
        retention: options.backup_retention,
        free_bytes_min: options.free_bytes_min,
    };
    loop {
        ticks.tick().await;
        let (turn, machine, origin) = (turn.clone(), handle.machine().clone(), handle.origin());
        let started = Instant::now();
        let directory = turn.directory.clone();
        match tokio::task::spawn_blocking(move || turn.make(&machine, origin)).await {
            Ok(Ok(made)) => tracing::info!(
                name = made.name,
                revision = made.revision,
                bytes = made.bytes,
                bytes_new = made.bytes_new,
                removed = made.removed,
                took_ms = started.elapsed().as_millis(),
                "a backup was made"
            ),
            Ok(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(directory = %directory.display(), error, "a backup could not be made");
            }
            Err(error) => tracing::error!(%error, "a backup did not end as it should"),
        }
    }
}

impl Turn {
    fn make(&self, machine: &Machine, origin: Origin) -> Result<Made, BackupError> {
        let directory = Directory::open(&self.directory)?;
        let mut made = machine.backup(&directory, origin, &self.scratch, |bytes| self.room(bytes))?;
        made.removed = directory.retain(self.retention, origin.made_unix_ms)?;
        Ok(made)
    }

    /// Refuses to fill a disk that others need.
    fn room(&self, bytes: u64) -> Result<(), BackupError> {
        let looking = BackupError::file("look at the disk of", &self.directory);
        let free = RealDisk.free_bytes(&self.directory).map_err(looking)?;
        if free < bytes.saturating_add(self.free_bytes_min) {
            return Err(BackupError::Refused(format!(
                "{} has {free} bytes free: {bytes} for the backup would leave fewer than {}",
                self.directory.display(),
                self.free_bytes_min
            )));
        }
        Ok(())
    }
}
