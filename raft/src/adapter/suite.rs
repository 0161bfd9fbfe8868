//! openraft's own storage suite, over our log and state machine.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use openraft::StorageError;
use openraft::storage::RaftStateMachine;
use openraft::testing::log::{StoreBuilder, Suite};
use parking_lot::Mutex;
use tempfile::TempDir;

use super::log::LogStore;
use super::machine::{Image, Machine};
use super::{Types, convert};
use crate::codec;
use crate::disk::SimDisk;
use crate::fuse::Fuse;
use crate::log::{Log, Setup};
use crate::meters::Meters;
use crate::record::{LogId, Owner, Position};
use crate::seams::{Seams, Work};
use crate::snapshot::{Discard, Images};
use crate::state_machine::{Batch, StateMachine, StateMachineError};

/// A state that is nothing but its position.
#[derive(Default)]
struct Positioned {
    position: Mutex<Option<Bytes>>,
}

fn storage(source: std::io::Error) -> StateMachineError {
    StateMachineError::Storage { action: "image", source: source.into() }
}

impl StateMachine for Positioned {
    fn apply(&self, batch: Batch) -> Result<Vec<Bytes>, StateMachineError> {
        *self.position.lock() = Some(batch.position);
        Ok(batch.commands.into_iter().map(|committed| committed.command).collect())
    }

    fn position(&self) -> Result<Option<Bytes>, StateMachineError> {
        Ok(self.position.lock().clone())
    }

    fn flush(&self) -> Result<bool, StateMachineError> {
        Ok(true)
    }

    fn checkpoint(&self, into: &Path) -> Result<Option<Bytes>, StateMachineError> {
        let position = self.position.lock().clone();
        std::fs::create_dir(into).map_err(storage)?;
        std::fs::write(into.join("position"), position.as_deref().unwrap_or_default()).map_err(storage)?;
        Ok(position)
    }

    fn restore(&self, from: &Path) -> Result<(), StateMachineError> {
        *self.position.lock() = Some(std::fs::read(from.join("position")).map_err(storage)?.into());
        Ok(())
    }
}

struct Builder {
    seams: Seams,
}

impl StoreBuilder<Types, LogStore, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError<Types>> {
        let directory = tempfile::tempdir().unwrap();
        let fuse = Fuse::new();
        let setup = Setup {
            directory: directory.path().join("log"),
            owner: Owner { cluster: 1, member: 1 },
            cache_bytes: 1 << 20,
            segment_bytes: 64 << 10,
            reserve_bytes: 0,
            seams: self.seams.clone(),
            meters: Meters::default(),
        };
        let log = Log::open(&setup, fuse.clone()).unwrap();
        let images = Images::open(directory.path().join("images")).unwrap();
        let machine = Machine::open(
            Arc::new(Positioned::default()),
            images,
            fuse.clone(),
            setup.seams.work,
            None,
            u64::MAX,
        );
        Ok((directory, LogStore::new(log, fuse), machine.unwrap()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_storage_suite_of_openraft_passes() {
    Suite::test_all(Builder { seams: Seams::default() }).await.unwrap();
}

#[tokio::test]
async fn the_storage_suite_of_openraft_passes_on_a_simulated_disk() {
    let seams = || Seams { disk: Arc::new(SimDisk::default()), work: Work::Inline, ..Seams::default() };
    Suite::test_all(Builder { seams: seams() }).await.unwrap();
}

#[tokio::test]
async fn an_image_stays_until_it_is_installed_though_whoever_brought_it_is_gone() {
    let (_directory, _log, mut machine) = Builder { seams: Seams::default() }.build().await.unwrap();
    let position = Position { applied: Some(LogId { term: 1, index: 4 }), ..Position::default() };
    let path = machine.images().incoming();
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("position"), codec::encode(&position)).unwrap();
    let received = Arc::new(Discard { images: machine.images().clone(), path: path.clone() });
    // The sender crashes: its call is dropped while openraft holds what it brought.
    let queued = Image::Received(received.clone());
    drop(received);
    machine.install_snapshot(&convert::snapshot_meta(&position).unwrap(), queued).await.unwrap();
    assert!(!path.exists(), "then nobody needs it");
}
