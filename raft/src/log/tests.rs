//! What is promised of the log across crashes and damage. A crash is a copy of the directory taken while the log
//! is open: what only memory holds is not in the copy, just as after `kill -9`.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::*;
use crate::entry::Payload;

const OWNER: Owner = Owner { cluster: 1, member: 1 };
const CACHE_BYTES: usize = 1 << 20;

struct Scene {
    directory: TempDir,
    log: Log,
}

fn open_at(path: &Path, cache_bytes: usize) -> Result<Log, Error> {
    Log::open(path, OWNER, cache_bytes, Fuse::new())
}

fn scene(cache_bytes: usize) -> Scene {
    let directory = tempfile::tempdir().unwrap();
    let log = open_at(&directory.path().join("log"), cache_bytes).unwrap();
    Scene { directory, log }
}

fn entry(term: u64, index: u64) -> Entry {
    let payload = Payload::Command(Bytes::from(format!("command {term}.{index} {}", "x".repeat(100))));
    Entry { id: LogId { term, index }, payload }
}

fn id(term: u64, index: u64) -> Option<LogId> {
    Some(LogId { term, index })
}

impl Scene {
    /// Appends and returns what will tell of durability.
    async fn append(&self, term: u64, indexes: std::ops::Range<u64>) -> oneshot::Receiver<Result<(), Error>> {
        let (done, told) = completion();
        self.log.append(indexes.map(|index| entry(term, index)).collect(), done).await.unwrap();
        told
    }

    async fn append_durably(&self, term: u64, indexes: std::ops::Range<u64>) {
        self.append(term, indexes).await.await.unwrap().unwrap();
    }

    async fn vote(&self, term: u64) {
        self.log.save_vote(Vote { term, member: 1, committed: true }).await.unwrap();
    }

    /// The directory as a crash now would leave it.
    fn crash(&self, name: &str) -> PathBuf {
        let to = self.directory.path().join(name);
        copy(&self.directory.path().join("log"), &to);
        to
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        match item.file_type().unwrap().is_dir() {
            true => copy(&item.path(), &target),
            false => drop(fs::copy(item.path(), target).unwrap()),
        }
    }
}

async fn ids(log: &Log, from: u64, to: u64) -> Vec<LogId> {
    log.read(from, to, usize::MAX).await.unwrap().into_iter().map(|entry| entry.id).collect()
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_crash_at_any_point() {
    let scene = scene(CACHE_BYTES);
    scene.vote(3).await;
    for round in 0..20_u64 {
        scene.append_durably(3, round * 5..round * 5 + 5).await;
        let unacknowledged = scene.append(3, round * 5 + 5..round * 5 + 6).await;
        let log = open_at(&scene.crash(&format!("crash-{round}")), CACHE_BYTES).unwrap();
        let last = log.ends().last.unwrap().index;
        assert!(
            last == round * 5 + 4 || last == round * 5 + 5,
            "acknowledged {}, found {last}",
            round * 5 + 4
        );
        assert_eq!(ids(&log, 0, 1000).await.len() as u64, last + 1);
        assert_eq!(log.vote().unwrap().term, 3);
        unacknowledged.await.unwrap().unwrap();
        scene.log.truncate(id(3, round * 5 + 4)).await.unwrap();
    }
}

#[tokio::test]
async fn completions_come_in_order_and_entries_are_readable_at_once() {
    let scene = scene(CACHE_BYTES);
    scene.vote(1).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut last = None;
    for index in 0..200 {
        let (tell, told) = completion();
        let order = Arc::clone(&order);
        let done = Box::new(move |result| {
            order.lock().push(index);
            tell(result);
        });
        scene.log.append(vec![entry(1, index)], done).await.unwrap();
        assert_eq!(scene.log.ends().last, id(1, index));
        assert_eq!(ids(&scene.log, index, index + 1).await, [LogId { term: 1, index }]);
        last = Some(told);
    }
    last.unwrap().await.unwrap().unwrap();
    assert_eq!(*order.lock(), (0..200).collect::<Vec<_>>());
}

#[tokio::test]
async fn entries_that_left_the_memory_are_read_from_disk() {
    let scene = scene(0);
    scene.vote(1).await;
    scene.append_durably(1, 0..500).await;
    let all = ids(&scene.log, 0, u64::MAX).await;
    assert_eq!(all.len(), 500);
    let some = scene.log.read(10, 20, 500).await.unwrap();
    assert_eq!(some.iter().map(|entry| entry.id.index).collect::<Vec<_>>(), [10, 11]);
    assert_eq!(some[0], entry(1, 10));
}

#[tokio::test]
async fn a_truncated_log_continues_with_another_history() {
    for cache_bytes in [0, CACHE_BYTES] {
        let scene = scene(cache_bytes);
        scene.vote(1).await;
        scene.append_durably(1, 0..10).await;
        scene.vote(2).await;
        scene.log.truncate(id(1, 3)).await.unwrap();
        scene.append_durably(2, 4..7).await;
        let log = open_at(&scene.crash("crash"), cache_bytes).unwrap();
        for log in [&scene.log, &log] {
            let terms: Vec<_> = ids(log, 0, 100).await.into_iter().map(|id| id.term).collect();
            assert_eq!(terms, [1, 1, 1, 1, 2, 2, 2]);
        }
        scene.log.truncate(None).await.unwrap();
        assert_eq!(open_at(&scene.crash("empty"), cache_bytes).unwrap().ends().last, None);
    }
}

#[tokio::test]
async fn a_purged_log_starts_behind_the_purge() {
    let scene = scene(CACHE_BYTES);
    scene.vote(5).await;
    scene.append_durably(5, 0..100).await;
    scene.log.purge(LogId { term: 5, index: 59 });
    scene.append_durably(5, 100..101).await;
    let log = open_at(&scene.crash("crash"), CACHE_BYTES).unwrap();
    assert_eq!(log.ends(), Ends { purged: id(5, 59), last: id(5, 100) });
    assert_eq!(ids(&log, 0, 1000).await.first(), id(5, 60).as_ref());
    // As after a snapshot that is newer than the whole log.
    scene.log.purge(LogId { term: 5, index: 500 });
    scene.append_durably(5, 501..502).await;
    let log = open_at(&scene.crash("jumped"), CACHE_BYTES).unwrap();
    assert_eq!(log.ends(), Ends { purged: id(5, 500), last: id(5, 501) });
}

#[tokio::test]
async fn committed_is_remembered_with_the_next_write() {
    let scene = scene(CACHE_BYTES);
    scene.vote(1).await;
    scene.append_durably(1, 0..2).await;
    scene.log.save_committed(id(1, 1));
    scene.append_durably(1, 2..3).await;
    assert_eq!(open_at(&scene.crash("crash"), CACHE_BYTES).unwrap().committed(), id(1, 1));
}

#[tokio::test]
async fn a_log_of_another_member_is_refused() {
    let scene = scene(CACHE_BYTES);
    let path = scene.crash("crash");
    let other = Owner { cluster: 1, member: 2 };
    let error = Log::open(&path, other, CACHE_BYTES, Fuse::new()).err().unwrap();
    assert!(matches!(error, Error::ForeignCluster { .. }), "{error}");
}

#[tokio::test]
async fn a_hole_is_refused() {
    let scene = scene(CACHE_BYTES);
    scene.append_durably(0, 0..3).await;
    let (done, _) = completion();
    assert!(scene.log.append(vec![entry(0, 4)], done).await.is_err());
}

fn tamper(path: &Path, change: impl FnOnce(&DB)) {
    let db = DB::open_default(path.join("db")).unwrap();
    change(&db);
    db.flush_wal(true).unwrap();
}

#[tokio::test]
async fn a_damaged_log_is_refused_at_start() {
    let scene = scene(CACHE_BYTES);
    scene.vote(1).await;
    scene.append_durably(1, 0..10).await;
    scene.log.close().await.unwrap();
    let refused = |name: &str, change: &dyn Fn(&DB)| {
        let path = scene.crash(name);
        assert!(open_at(&path, CACHE_BYTES).is_ok());
        tamper(&path, change);
        let error = open_at(&path, CACHE_BYTES).err();
        assert!(matches!(error, Some(Error::Storage { .. })), "{name}: {error:?}");
    };
    refused("flipped", &|db| {
        let mut value = db.get(layout::key(4)).unwrap().unwrap();
        *value.last_mut().unwrap() ^= 1;
        db.put(layout::key(4), value).unwrap();
    });
    refused("missing", &|db| db.delete(layout::key(4)).unwrap());
    refused("beheaded", &|db| db.delete(layout::key(0)).unwrap());
    refused("shortened", &|db| db.delete(layout::key(9)).unwrap());
    refused("replaced", &|db| {
        let mut value = Vec::new();
        layout::seal(&entry(1, 9), 12345, &mut value);
        db.put(layout::key(9), value).unwrap();
    });
    refused("unvoted", &|db| db.delete(layout::VOTE).unwrap());
}

#[tokio::test]
async fn a_lost_tail_of_the_write_ahead_log_is_noticed() {
    let scene = scene(CACHE_BYTES);
    scene.vote(1).await;
    for index in 0..50 {
        scene.append_durably(1, index..index + 1).await;
    }
    // The mark is raised right after the completion; the next write orders us behind it.
    scene.vote(1).await;
    let path = scene.crash("crash");
    let wal = fs::read_dir(path.join("db")).unwrap().map(|item| item.unwrap().path());
    let wal = wal.filter(|path| path.extension().is_some_and(|extension| extension == "log")).max().unwrap();
    let length = fs::metadata(&wal).unwrap().len();
    fs::OpenOptions::new().write(true).open(&wal).unwrap().set_len(length / 2).unwrap();
    let error = open_at(&path, CACHE_BYTES).err().unwrap();
    assert!(matches!(error, Error::Storage { .. }), "{error}");
}

#[tokio::test]
async fn a_missing_mark_is_refused() {
    let scene = scene(CACHE_BYTES);
    let path = scene.crash("crash");
    fs::remove_file(path.join("mark")).unwrap();
    assert!(matches!(open_at(&path, CACHE_BYTES), Err(Error::Storage { .. })));
}

#[tokio::test]
async fn nothing_is_accepted_after_the_log_was_closed() {
    let scene = scene(CACHE_BYTES);
    scene.append_durably(0, 0..3).await;
    scene.log.close().await.unwrap();
    assert!(matches!(
        scene.log.save_vote(Vote { term: 1, member: 1, committed: false }).await,
        Err(Error::Stopped)
    ));
}
