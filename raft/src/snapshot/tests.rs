//! An image arrives as it was sent, or not at all.

use std::path::Path;

use futures::TryStreamExt;
use proto::raft::SnapshotChunk;

use super::*;
use crate::limits::SNAPSHOT_CHUNK_BYTES;

async fn image(root: &Path) -> Vec<SnapshotChunk> {
    std::fs::create_dir_all(root.join("deep/er")).unwrap();
    std::fs::write(root.join("empty"), b"").unwrap();
    std::fs::write(root.join("exact"), vec![1; SNAPSHOT_CHUNK_BYTES]).unwrap();
    std::fs::write(root.join("deep/er/long"), vec![2; SNAPSHOT_CHUNK_BYTES * 2 + 7]).unwrap();
    chunks(root.to_owned(), b"header".to_vec(), crate::seams::Work::Threads).try_collect().await.unwrap()
}

fn receive(root: PathBuf, chunks: &[SnapshotChunk]) -> io::Result<bool> {
    let mut receiver = Receiver::new(root)?;
    for chunk in chunks {
        receiver.take(chunk)?;
    }
    Ok(receiver.is_finished())
}

#[tokio::test]
async fn an_image_arrives_as_it_was_sent() {
    let directory = tempfile::tempdir().unwrap();
    let chunks = image(&directory.path().join("from")).await;
    assert_eq!(&chunks[0].header[..], b"header");
    let to = directory.path().join("to");
    assert!(receive(to.clone(), &chunks[1..]).unwrap());
    assert_eq!(std::fs::read(to.join("empty")).unwrap(), b"");
    assert_eq!(std::fs::read(to.join("exact")).unwrap(), vec![1; SNAPSHOT_CHUNK_BYTES]);
    assert_eq!(std::fs::read(to.join("deep/er/long")).unwrap(), vec![2; SNAPSHOT_CHUNK_BYTES * 2 + 7]);
}

#[tokio::test]
async fn a_cut_or_damaged_image_is_not_complete() {
    let directory = tempfile::tempdir().unwrap();
    let chunks = image(&directory.path().join("from")).await;
    for cut in 1..chunks.len() {
        let to = directory.path().join(format!("cut-{cut}"));
        assert!(!receive(to, &chunks[1..cut]).unwrap(), "cut at {cut}");
        let mut missing = chunks[1..].to_vec();
        missing.remove(cut - 1);
        let to = directory.path().join(format!("missing-{cut}"));
        assert!(!receive(to, &missing).unwrap_or(false), "missing {cut}");
        let mut damaged = chunks[1..].to_vec();
        let mut data = damaged[cut - 1].data.to_vec();
        let Some(byte) = data.first_mut() else { continue };
        *byte ^= 1;
        damaged[cut - 1].data = data.into();
        let to = directory.path().join(format!("damaged-{cut}"));
        assert!(receive(to, &damaged).is_err(), "damaged {cut}");
    }
}

#[test]
fn names_cannot_leave_the_image() {
    let directory = tempfile::tempdir().unwrap();
    for (number, name) in ["../x", "/etc/x", "a/../../x", "."].into_iter().enumerate() {
        let chunk = SnapshotChunk { file: name.into(), last: true, ..SnapshotChunk::default() };
        assert!(receive(directory.path().join(number.to_string()), &[chunk]).is_err(), "{name}");
    }
}

#[test]
fn what_a_crash_left_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("images");
    std::fs::create_dir_all(root.join("incoming-0")).unwrap();
    std::fs::write(root.join("incoming-0/file"), b"half").unwrap();
    let images = Images::open(root.clone()).unwrap();
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
    assert_ne!(images.incoming(), images.incoming());
}
