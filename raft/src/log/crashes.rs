//! Crashes at every point of a scripted life of the log, and disks that fill up, hang and fail.
//!
//! The promise, after any crash: what was acknowledged is there, in order and without holes; the vote is not older than any
//! that was acknowledged, and none that was never asked for; what was not acknowledged is there or is not, but never
//! changed and never out of order; and the log works on.

use std::io;
use std::path::Path;

use bytes::Bytes;

use super::*;
use crate::disk::{Crash, Disk, SimDisk};
use crate::entry::Payload;

const OWNER: Owner = Owner { cluster: 1, member: 1 };

fn setup(disk: &SimDisk) -> Setup {
    let seams = Seams { disk: Arc::new(disk.clone()), work: Work::Inline, ..Seams::default() };
    Setup {
        directory: "/data/log".into(),
        owner: OWNER,
        cache_bytes: 0,
        segment_bytes: 8 << 10,
        reserve_bytes: 0,
        seams,
        meters: Meters::default(),
    }
}

fn entry(term: u64, index: u64) -> Entry {
    let text = format!("{term}.{index} {}", "x".repeat((index * 37 % 400) as usize));
    Entry { id: LogId { term, index }, payload: Payload::Command(Bytes::from(text)) }
}

/// One step of the script.
#[derive(Clone, Copy, Debug)]
enum Step {
    Vote(u64),
    Append(u64),
    /// Appends without waiting, so that rounds hold more than one thing.
    Burst(u64),
    Truncate(u64),
    Purge(u64),
    /// As when a snapshot newer than the whole log was installed.
    Jump(u64),
    Commit,
    Reopen,
}

fn script() -> Vec<Step> {
    let mut steps = vec![Step::Vote(1)];
    for round in 0..22 {
        steps.extend([Step::Append(1 + round % 5), Step::Burst(3), Step::Commit, Step::Append(2)]);
        match round % 6 {
            1 => steps.extend([Step::Vote(2 + round), Step::Truncate(3), Step::Append(4)]),
            2 | 4 => steps.push(Step::Purge(12)),
            3 => steps.push(Step::Reopen),
            5 => steps.extend([Step::Truncate(1), Step::Truncate(1), Step::Burst(2)]),
            _ => steps.push(Step::Append(9)),
        }
        if round == 15 {
            steps.push(Step::Jump(50));
        }
    }
    steps
}

/// What the log should hold: after the last thing acknowledged, and after each asked for since.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    vote: u64,
    purged: Option<LogId>,
    /// All entries ever that were not cut off, purged ones too.
    terms: Vec<u64>,
}

impl Model {
    fn next(&self) -> u64 {
        self.terms.len() as u64
    }

    fn last(&self) -> Option<LogId> {
        let index = self.next().checked_sub(1)?;
        Some(LogId { term: self.terms[index as usize], index })
    }

    fn first(&self) -> u64 {
        self.purged.map_or(0, |id| id.index + 1)
    }
}

/// The states a crash may leave: the one acknowledged, and those that were under way, in order.
struct Life {
    states: Vec<Model>,
    now: Model,
}

impl Life {
    fn changed(&mut self) {
        self.states.push(self.now.clone());
    }

    fn acknowledged(&mut self) {
        self.states = vec![self.now.clone()];
    }
}

async fn append(
    log: &Log,
    life: &mut Life,
    count: u64,
) -> Result<oneshot::Receiver<Result<(), Error>>, Error> {
    let term = life.now.vote;
    let mut entries = Vec::new();
    for _ in 0..count {
        entries.push(entry(term, life.now.next()));
        life.now.terms.push(term);
        life.changed();
    }
    let (done, told) = completion();
    log.append(entries, done).await?;
    Ok(told)
}

async fn perform(log: &mut Log, setup: &Setup, life: &mut Life, step: Step) -> Result<(), Error> {
    match step {
        Step::Vote(term) => {
            life.now.vote = term;
            life.changed();
            log.save_vote(Vote { term, member: 1, committed: true }).await?;
        }
        Step::Append(count) => finished(append(log, life, count).await?).await?,
        Step::Burst(count) => {
            let mut all = Vec::new();
            for _ in 0..count {
                all.push(append(log, life, 2).await?);
            }
            for told in all {
                finished(told).await?;
            }
        }
        Step::Truncate(count) => {
            let length = life.now.next().saturating_sub(count).max(life.now.first());
            life.now.terms.truncate(length as usize);
            life.changed();
            log.truncate(life.now.last()).await?;
        }
        Step::Purge(count) => {
            let index = (life.now.first() + count).min(life.now.next()) - 1;
            let upto = LogId { term: life.now.terms[index as usize], index };
            life.now.purged = Some(upto);
            life.changed();
            log.purge(upto);
            // A purge is not acknowledged; whatever is written next comes after it.
            return finished(append(log, life, 1).await?).await.map(|()| life.acknowledged());
        }
        Step::Jump(count) => {
            let term = life.now.vote;
            life.now.terms.extend(vec![term; count as usize]);
            life.now.purged = life.now.last();
            life.changed();
            log.purge(LogId { term, index: life.now.next() - 1 });
            return finished(append(log, life, 1).await?).await.map(|()| life.acknowledged());
        }
        Step::Commit => {
            log.save_committed(life.now.last());
            return Ok(());
        }
        Step::Reopen => {
            log.close().await?;
            *log = Log::open(setup, Fuse::new())?;
        }
    }
    life.acknowledged();
    Ok(())
}

/// Runs the script until it ends or the disk does, and returns what may be found afterwards.
async fn run(disk: &SimDisk, steps: &[Step]) -> Life {
    let mut life = Life { states: vec![Model::default()], now: Model::default() };
    let setup = setup(disk);
    let Ok(mut log) = Log::open(&setup, Fuse::new()) else { return life };
    for step in steps {
        if perform(&mut log, &setup, &mut life, *step).await.is_err() {
            break;
        }
    }
    life
}

async fn found(log: &Log) -> Model {
    let ends = log.ends();
    let first = ends.purged.map_or(0, |id| id.index + 1);
    let entries = log.read(0, u64::MAX, usize::MAX).await.unwrap();
    let mut terms = Vec::new();
    for (number, found) in entries.iter().enumerate() {
        assert_eq!(found.id.index, first + number as u64, "a hole");
        assert_eq!(*found, entry(found.id.term, found.id.index), "an entry that was never appended");
        terms.push(found.id.term);
    }
    assert_eq!(ends.last.map_or(0, |id| id.index + 1), first + terms.len() as u64);
    Model { vote: log.vote().map_or(0, |vote| vote.term), purged: ends.purged, terms }
}

/// Whether what was found is one of the states a crash may leave.
fn matches(model: &Model, found: &Model) -> bool {
    let first = model.first() as usize;
    model.vote == found.vote && model.purged == found.purged && model.terms[first..] == found.terms[..]
}

async fn check(disk: &SimDisk, life: &Life, what: &str) {
    let setup = setup(disk);
    let log = Log::open(&setup, Fuse::new()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let first = found(&log).await;
    assert!(
        life.states.iter().any(|state| matches(state, &first)),
        "{what}: found {first:?}, expected one of {:?}",
        life.states
    );
    // It works on, over what the crash left, and across another crash.
    let term = first.vote.max(1);
    let next = first.purged.map_or(0, |id| id.index + 1) + first.terms.len() as u64;
    log.save_vote(Vote { term, member: 1, committed: true }).await.unwrap();
    let (done, told) = completion();
    log.append(vec![entry(term, next)], done).await.unwrap();
    finished(told).await.unwrap();
    drop(log);
    disk.crash(Crash::Nothing);
    let log = Log::open(&setup, Fuse::new()).unwrap_or_else(|error| panic!("{what}, again: {error}"));
    let again = found(&log).await;
    assert_eq!(again.terms.len(), first.terms.len() + 1, "{what}");
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_wherever_it_crashes() {
    let steps = script();
    let whole = SimDisk::default();
    let life = run(&whole, &steps).await;
    assert_eq!(life.states.len(), 1, "the script runs to its end");
    let operations = whole.operations();
    assert!(operations > 200, "{operations} operations");
    for operation in 0..operations {
        let disk = SimDisk::default();
        disk.crash_after(operation);
        let life = run(&disk, &steps).await;
        // Tasks of the log that end late must not reach the disk after the crash.
        let torn = (0..4).map(|seed| Crash::Torn(operation * 4 + seed));
        for crash in [Crash::Nothing, Crash::Everything].into_iter().chain(torn) {
            let disk = disk.duplicate();
            disk.crash(crash);
            check(&disk, &life, &format!("operation {operation}, {crash:?}")).await;
        }
    }
}

#[tokio::test]
async fn what_is_said_to_be_committed_is_there_wherever_it_crashes() {
    let start = |disk: &SimDisk| Log::open(&Setup { segment_bytes: 16 << 20, ..setup(disk) }, Fuse::new());
    // The disk is behind: these do not go together in one write, and others have all of them already.
    let run = async |disk: &SimDisk| -> Result<(), Error> {
        let log = start(disk)?;
        log.save_vote(Vote { term: 1, member: 1, committed: true }).await?;
        let mut waiting = Vec::new();
        for index in 0..5 {
            let payload = Payload::Command(Bytes::from(vec![7; limits::WRITE_BYTES_MAX * 3 / 4]));
            let (done, told) = completion();
            log.append(vec![Entry { id: LogId { term: 1, index }, payload }], done).await?;
            log.save_committed(Some(LogId { term: 1, index }));
            waiting.push(told);
        }
        for told in waiting {
            finished(told).await?;
        }
        Ok(())
    };
    let whole = SimDisk::default();
    run(&whole).await.unwrap();
    let mut most = None;
    for operation in 0..whole.operations() {
        let disk = SimDisk::default();
        disk.crash_after(operation);
        // The last operations are those of ending.
        let _crashed = run(&disk).await;
        disk.crash(Crash::Everything);
        let log = start(&disk).unwrap();
        let (committed, last) = (log.committed(), log.ends().last);
        assert!(
            committed <= last,
            "operation {operation}: {committed:?} is committed and the log ends with {last:?}"
        );
        most = most.max(committed);
    }
    assert!(most.is_some(), "nothing was ever said to be committed");
}

#[tokio::test]
async fn a_second_crash_over_a_torn_tail_resurrects_nothing() {
    for seed in 0..200 {
        let disk = SimDisk::default();
        let steps = [Step::Vote(1), Step::Append(5), Step::Burst(9), Step::Burst(9)];
        disk.crash_after(12 + seed % 8);
        run(&disk, &steps).await;
        disk.crash(Crash::Torn(seed));
        let setup = setup(&disk);
        let log = Log::open(&setup, Fuse::new()).unwrap();
        let before = found(&log).await;
        // Of the same size as what may stand there, but of another term.
        log.save_vote(Vote { term: 2, member: 1, committed: true }).await.unwrap();
        let (done, told) = completion();
        log.append(vec![entry(2, before.terms.len() as u64)], done).await.unwrap();
        finished(told).await.unwrap();
        drop(log);
        disk.crash(Crash::Torn(seed + 1000));
        let after = found(&Log::open(&setup, Fuse::new()).unwrap()).await;
        assert_eq!((after.vote, after.terms.len()), (2, before.terms.len() + 1), "seed {seed}");
    }
}

#[tokio::test]
async fn every_flipped_bit_of_what_was_synced_is_refused_or_harmless() {
    let disk = SimDisk::default();
    let life = run(&disk, &script()[..20]).await;
    // The mark is not synced: after a power failure a flip in the very last round would look like a torn tail.
    disk.crash(Crash::Everything);
    let expected = &life.states[0];
    let mut refused = 0;
    for (path, size) in disk.files() {
        for bit in (0..size * 8).step_by(331) {
            let disk = disk.duplicate();
            disk.flip_bit(&path, bit).unwrap();
            match Log::open(&setup(&disk), Fuse::new()) {
                Ok(log) => assert!(matches(expected, &found(&log).await), "{} bit {bit}", path.display()),
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 50, "{refused}");
}

#[tokio::test]
async fn the_first_error_stops_the_log_and_nothing_unsynced_is_acknowledged() {
    for operation in 0..60 {
        let disk = SimDisk::default();
        let setup = setup(&disk);
        let fuse = Fuse::new();
        let log = Log::open(&setup, fuse.clone()).unwrap();
        log.save_vote(Vote { term: 1, member: 1, committed: true }).await.unwrap();
        disk.fail_after(operation, io::ErrorKind::Other);
        let mut acknowledged = 0;
        for index in 0..60 {
            let (done, told) = completion();
            if log.append(vec![entry(1, index)], done).await.is_err() || finished(told).await.is_err() {
                break;
            }
            acknowledged = index + 1;
        }
        // The disk is well again, and the log still refuses (S7).
        assert!(fuse.check().is_err());
        assert!(log.save_vote(Vote { term: 2, member: 1, committed: true }).await.is_err());
        drop(log);
        disk.crash(Crash::Nothing);
        let log = Log::open(&setup, Fuse::new()).unwrap();
        assert!(found(&log).await.terms.len() as u64 >= acknowledged);
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_keeps_what_is_there_and_writes_go_on_when_there_is_space() {
    let disk = SimDisk::default();
    let setup = setup(&disk);
    let fuse = Fuse::new();
    let log = Log::open(&setup, fuse.clone()).unwrap();
    let mut full = log.full();
    log.save_vote(Vote { term: 1, member: 1, committed: true }).await.unwrap();
    disk.set_capacity(Some(disk.used() + 2000));
    let mut waiting = Vec::new();
    for index in 0..100 {
        let (done, told) = completion();
        log.append(vec![entry(1, index)], done).await.unwrap();
        waiting.push(told);
    }
    full.wait_for(|full| *full).await.unwrap();
    assert!(fuse.check().is_ok(), "a full disk is no damage");
    let kept = log.read(0, 100, usize::MAX).await.unwrap();
    assert_eq!(kept.len(), 100, "reads go on");
    disk.set_capacity(None);
    for told in waiting {
        finished(told).await.unwrap();
    }
    full.wait_for(|full| !*full).await.unwrap();
    drop(log);
    disk.crash(Crash::Nothing);
    assert_eq!(found(&Log::open(&setup, Fuse::new()).unwrap()).await.terms.len(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_leaves_room_for_votes() {
    let disk = SimDisk::default();
    let log = Log::open(&Setup { segment_bytes: 256 << 10, ..setup(&disk) }, Fuse::new()).unwrap();
    let mut full = log.full();
    log.save_vote(Vote { term: 1, member: 1, committed: true }).await.unwrap();
    disk.set_capacity(Some(disk.used()));
    let mut index = 0;
    while !*full.borrow_and_update() {
        let (done, told) = completion();
        log.append(vec![entry(1, index)], done).await.unwrap();
        finished(told).await.unwrap();
        index += 1;
        tokio::task::yield_now().await;
    }
    log.save_vote(Vote { term: 2, member: 1, committed: true }).await.unwrap();
    log.close().await.unwrap();
}

/// Writes entries one after the other.
async fn write(log: &Log, count: u64) {
    for index in 0..count {
        let (done, told) = completion();
        log.append(vec![entry(1, index)], done).await.unwrap();
        finished(told).await.unwrap();
    }
}

/// Fills the disk up with entries from `index` on, and returns what then waits for space.
async fn fill(log: &Log, disk: &SimDisk, mut index: u64) -> Vec<oneshot::Receiver<Result<(), Error>>> {
    let mut full = log.full();
    disk.set_capacity(Some(disk.used()));
    let mut waiting = Vec::new();
    while !*full.borrow_and_update() || waiting.len() < 100 {
        let (done, told) = completion();
        log.append(vec![entry(1, index)], done).await.unwrap();
        waiting.push(told);
        index += 1;
        tokio::time::sleep(limits::SPACE_RETRY).await;
    }
    waiting
}

#[tokio::test(start_paused = true)]
async fn on_a_full_disk_the_log_keeps_no_spares() {
    let disk = SimDisk::default();
    let log = Log::open(&setup(&disk), Fuse::new()).unwrap();
    log.save_vote(Vote { term: 1, member: 1, committed: true }).await.unwrap();
    write(&log, 400).await;
    log.purge(LogId { term: 1, index: 300 });
    log.save_vote(Vote { term: 2, member: 1, committed: true }).await.unwrap();
    let spares = || {
        let is_spare = |path: &Path| path.to_string_lossy().contains("/spare-");
        disk.files().iter().filter(|(path, bytes)| is_spare(path) && **bytes > 0).count()
    };
    assert!(spares() > 0, "{:?}", disk.files());
    let waiting = fill(&log, &disk, 400).await;
    assert_eq!(spares(), 0);
    disk.set_capacity(None);
    for told in waiting {
        finished(told).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn on_a_full_disk_what_makes_room_does_not_wait_for_room() {
    let disk = SimDisk::default();
    let setup = setup(&disk);
    let log = Log::open(&setup, Fuse::new()).unwrap();
    log.save_vote(Vote { term: 1, member: 1, committed: true }).await.unwrap();
    write(&log, 400).await;
    let waiting = fill(&log, &disk, 400).await;
    let next = 400 + waiting.len() as u64;
    log.purge(LogId { term: 1, index: 300 });
    for told in waiting {
        finished(told).await.unwrap();
    }
    drop(log);
    disk.crash(Crash::Nothing);
    let log = Log::open(&setup, Fuse::new()).unwrap();
    assert_eq!(log.ends().purged, Some(LogId { term: 1, index: 300 }));
    let kept = log.read(301, next, usize::MAX).await.unwrap();
    assert_eq!(kept, (301..next).map(|index| entry(1, index)).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn what_is_left_to_the_state_is_not_taken() {
    const RESERVE: u64 = 100_000;
    let disk = SimDisk::default();
    let log = Log::open(&Setup { reserve_bytes: RESERVE, ..setup(&disk) }, Fuse::new()).unwrap();
    let mut full = log.full();
    let capacity = disk.used() + RESERVE + 50_000;
    disk.set_capacity(Some(capacity));
    let mut waiting = Vec::new();
    for index in 0..2000 {
        let (done, told) = completion();
        log.append(vec![entry(1, index)], done).await.unwrap();
        waiting.push(told);
    }
    full.wait_for(|full| *full).await.unwrap();
    assert!(disk.used() + RESERVE <= capacity, "{} of {capacity} bytes are used", disk.used());
    disk.set_capacity(Some(capacity + (1 << 20)));
    for told in waiting {
        finished(told).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_hanging_disk_acknowledges_nothing_until_it_moves() {
    let disk = SimDisk::default();
    let log = Log::open(&setup(&disk), Fuse::new()).unwrap();
    disk.hang(true);
    let (done, mut told) = completion();
    log.append(vec![entry(0, 0)], done).await.unwrap();
    let before = log.backlog();
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert!(told.try_recv().is_err());
    assert_eq!(log.backlog(), before);
    assert!(before.queued > before.finished);
    disk.hang(false);
    finished(told).await.unwrap();
    assert!(disk.list(Path::new("/data/log")).unwrap().len() >= 2);
}
