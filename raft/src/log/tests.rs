//! What is promised of the log across crashes and damage, on the disk of this machine. A crash is a copy of the directory taken while the log
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

/// Small, so that tests have many.
const SEGMENT_BYTES: u64 = 16 << 10;

fn setup(path: &Path, cache_bytes: usize) -> Setup {
    let segment_bytes = SEGMENT_BYTES;
    Setup {
        directory: path.to_owned(),
        owner: OWNER,
        cache_bytes,
        segment_bytes,
        reserve_bytes: 0,
        seams: Seams::default(),
        meters: Meters::default(),
    }
}

fn open_at(path: &Path, cache_bytes: usize) -> Result<Log, Error> {
    Log::open(&setup(path, cache_bytes), Fuse::new())
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
    // The mark before the segments: a crash is one moment, a copy is not.
    let mut items: Vec<_> = fs::read_dir(from).unwrap().map(|item| item.unwrap()).collect();
    items.sort_by_key(|item| std::cmp::Reverse(item.file_name()));
    for item in items {
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
    let other = Setup { owner: Owner { cluster: 1, member: 2 }, ..setup(&path, CACHE_BYTES) };
    let error = Log::open(&other, Fuse::new()).err().unwrap();
    assert!(matches!(error, Error::ForeignCluster { .. }), "{error}");
}

#[tokio::test]
async fn a_hole_is_refused() {
    let scene = scene(CACHE_BYTES);
    scene.append_durably(0, 0..3).await;
    let (done, _) = completion();
    assert!(scene.log.append(vec![entry(0, 4)], done).await.is_err());
}

fn segments(path: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(path).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| layout::segment_number(name).is_some()).collect();
    names.sort();
    names.iter().map(|name| path.join(name)).collect()
}

/// The places of the records of a segment, and what they are.
fn records(segment: &Path) -> Vec<(layout::Kind, std::ops::Range<usize>)> {
    let disk = crate::disk::RealDisk;
    let number = layout::segment_number(segment.file_name().unwrap().to_str().unwrap()).unwrap();
    let mut reader = segment::Reader::new(crate::disk::Disk::open(&disk, segment).unwrap(), number, 0);
    let mut found = Vec::new();
    while let Some(record) = reader.next().unwrap() {
        let start = record.offset as usize;
        found.push((record.kind, start..start + layout::HEADER_BYTES + record.body.len()));
    }
    found
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_damaged_log_is_refused_at_start() {
    let scene = scene(CACHE_BYTES);
    scene.vote(1).await;
    for index in 0..300 {
        scene.append_durably(1, index..index + 1).await;
    }
    scene.log.close().await.unwrap();
    let refused = |name: &str, change: &dyn Fn(&Path)| {
        let path = scene.crash(name);
        assert!(open_at(&path, CACHE_BYTES).is_ok());
        change(&path);
        let error = open_at(&path, CACHE_BYTES).err();
        assert!(matches!(error, Some(Error::Storage { .. })), "{name}: {error:?}");
    };
    let count = segments(&scene.crash("count")).len();
    assert!(count > 3, "{count} segments");
    for (number, kinds) in [(0, 3), (1, 2), (count - 1, 2)] {
        let found = records(&segments(&scene.crash(&format!("found-{number}")))[number]);
        for nth in [0, 1, kinds, found.len() / 2, found.len() - 1] {
            let (kind, place) = found[nth].clone();
            for at in [place.start, place.start + 9, place.end - 1] {
                refused(&format!("{kind:?} {nth} of segment {number} flipped at {at}"), &|path| {
                    change(&segments(path)[number], |bytes| bytes[at] ^= 1);
                });
            }
            refused(&format!("{kind:?} {nth} of segment {number} zeroed"), &|path| {
                change(&segments(path)[number], |bytes| bytes[place.clone()].fill(0));
            });
        }
        refused(&format!("segment {number} cut"), &|path| {
            change(&segments(path)[number], |bytes| bytes.truncate(found[found.len() / 2].1.start));
        });
        refused(&format!("segment {number} missing"), &|path| {
            fs::remove_file(&segments(path)[number]).unwrap()
        });
        refused(&format!("segment {number} emptied"), &|path| {
            fs::write(&segments(path)[number], "").unwrap()
        });
    }
    refused("all segments missing", &|path| {
        segments(path).iter().for_each(|path| fs::remove_file(path).unwrap())
    });
    refused("two segments exchanged", &|path| {
        let segments = segments(path);
        fs::rename(&segments[1], path.join("x")).unwrap();
        fs::rename(&segments[2], &segments[1]).unwrap();
        fs::rename(path.join("x"), &segments[2]).unwrap();
    });
    refused("the mark damaged", &|path| {
        change(&path.join("mark"), |bytes| {
            bytes[3] ^= 1;
            bytes[515] ^= 1;
        });
    });
}

#[tokio::test]
async fn the_mark_survives_the_loss_of_one_copy() {
    let scene = scene(CACHE_BYTES);
    scene.append_durably(0, 0..3).await;
    for at in [0, 512] {
        let path = scene.crash(&format!("crash-{at}"));
        change(&path.join("mark"), |bytes| bytes[at] ^= 1);
        assert_eq!(open_at(&path, CACHE_BYTES).unwrap().ends().last, id(0, 2));
    }
}

#[tokio::test]
async fn a_lost_tail_is_noticed() {
    let scene = scene(CACHE_BYTES);
    scene.vote(1).await;
    for index in 0..50 {
        scene.append_durably(1, index..index + 1).await;
    }
    // The mark is raised right after the completion; the next write orders us behind it.
    scene.vote(1).await;
    let path = scene.crash("crash");
    let segment = segments(&path).pop().unwrap();
    let (_, last) = records(&segment).pop().unwrap();
    // Even the last record of all: that it was acknowledged only the mark knows.
    let (_, last_but_one) = records(&segment).iter().rev().nth(1).cloned().unwrap();
    change(&segment, |bytes| bytes[last_but_one.start..last.end].fill(0));
    let error = open_at(&path, CACHE_BYTES).err().unwrap();
    assert!(matches!(error, Error::Storage { .. }), "{error}");
}

#[tokio::test]
async fn purged_segments_become_the_next_ones() {
    let scene = scene(0);
    scene.vote(1).await;
    let path = scene.directory.path().join("log");
    let mut most = 0;
    for round in 0..40_u64 {
        scene.append_durably(1, round * 20..round * 20 + 20).await;
        if round >= 5 {
            scene.log.purge(LogId { term: 1, index: (round - 5) * 20 });
            scene.vote(1).await;
        }
        most = most.max(fs::read_dir(&path).unwrap().count());
        let from = round.saturating_sub(5) * 20 + 1;
        assert_eq!(ids(&scene.log, from, u64::MAX).await.len() as u64, round * 20 + 20 - from);
    }
    assert!(most <= 9, "{most} files");
    let newest = segments(&path).pop().unwrap();
    assert!(layout::segment_number(newest.file_name().unwrap().to_str().unwrap()).unwrap() > 6);
    let log = open_at(&scene.crash("crash"), 0).unwrap();
    assert_eq!(ids(&log, 0, u64::MAX).await.len(), 119);
}

#[tokio::test]
async fn an_entry_larger_than_a_segment_has_one_of_its_own() {
    let scene = scene(0);
    let payload = Payload::Command(Bytes::from(vec![7; 3 * SEGMENT_BYTES as usize]));
    scene.append_durably(0, 0..3).await;
    let (done, told) = completion();
    scene.log.append(vec![Entry { id: LogId { term: 0, index: 3 }, payload }], done).await.unwrap();
    told.await.unwrap().unwrap();
    scene.append_durably(0, 4..6).await;
    for log in [&scene.log, &open_at(&scene.crash("crash"), 0).unwrap()] {
        let entries = log.read(0, 10, usize::MAX).await.unwrap();
        assert_eq!(entries.len(), 6);
        assert_eq!(entries[3].bytes(), 96 + 3 * SEGMENT_BYTES as usize);
    }
}

#[tokio::test]
async fn two_cannot_use_one_log() {
    let scene = scene(CACHE_BYTES);
    let error = open_at(&scene.directory.path().join("log"), CACHE_BYTES).err().unwrap();
    assert!(matches!(error, Error::Directory { .. }), "{error}");
}

#[tokio::test]
async fn the_former_format_is_refused_with_advice() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir_all(directory.path().join("db")).unwrap();
    let error = open_at(directory.path(), CACHE_BYTES).err().unwrap().to_string();
    assert!(error.contains("earlier version") && error.contains("restore"), "{error}");
}

#[tokio::test]
async fn a_missing_mark_is_refused() {
    let scene = scene(CACHE_BYTES);
    scene.vote(1).await;
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
