//! What one durable append costs: this log beside the same records through RocksDB and its write-ahead log, as this crate
//! did before. On demand, optimized:
//!
//! ```text
//! CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo test -p kontiki-raft --lib cost -- --ignored --nocapture
//! ```

use std::time::{Duration, Instant};

use bytes::Bytes;
use rocksdb::{DB, DBRecoveryMode, Options, WriteBatch};

use super::*;
use crate::disk::{Disk, File};
use crate::entry::Payload;

const OWNER: Owner = Owner { cluster: 1, member: 1 };

fn entries(first: u64, count: u64) -> Vec<Entry> {
    let command = Bytes::from(vec![7; 300]);
    let entry = |index| Entry { id: LogId { term: 0, index }, payload: Payload::Command(command.clone()) };
    (first..first + count).map(entry).collect()
}

/// CPU time of the whole process.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn report(what: &str, batch: u64, mut latencies: Vec<Duration>, cpu: Duration) {
    latencies.sort_unstable();
    let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100].as_micros();
    let entries = latencies.len() as u64 * batch;
    let per_entry = cpu.as_nanos() as f64 / 1000.0 / entries as f64;
    println!(
        "{what:10} {batch:4} entries: p50 {:6} us, p99 {:6} us, {per_entry:6.2} us CPU per entry",
        at(50),
        at(99)
    );
}

fn measure(what: &str, batch: u64, rounds: u64, mut append: impl FnMut(Vec<Entry>)) {
    let mut latencies = Vec::new();
    let mut cpu_before = cpu();
    for round in 0..rounds + 50 {
        if round == 50 {
            latencies.clear();
            cpu_before = cpu();
        }
        let entries = entries(round * batch, batch);
        let begin = Instant::now();
        append(entries);
        latencies.push(begin.elapsed());
    }
    report(what, batch, latencies, cpu() - cpu_before);
}

fn with_rocksdb(path: &std::path::Path, batch: u64, rounds: u64) {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_manual_wal_flush(true);
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_write_buffer_size(64 << 20);
    let db = DB::open(&options, path).unwrap();
    let (mut chain, mut sealed) = (0, Vec::new());
    measure("RocksDB", batch, rounds, |entries| {
        let mut batch = WriteBatch::default();
        for entry in &entries {
            sealed.clear();
            chain = layout::seal(entry, chain, &mut sealed);
            let mut key = [b'l'; 9];
            key[1..].copy_from_slice(&entry.id.index.to_be_bytes());
            batch.put(key, &sealed);
        }
        db.write(batch).unwrap();
        db.flush_wal(true).unwrap();
    });
}

/// With the queue, and like RocksDB above without a thread. Recycled segments, as after a while of running.
fn with_segments(path: &std::path::Path, batch: u64, rounds: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let seams = Seams { work: Work::Inline, ..Seams::default() };
    seams.disk.create_dir(path).unwrap();
    for spare in 1..=40 {
        let file: Arc<dyn File> = seams.disk.create(&path.join(format!("spare-{spare}"))).unwrap();
        file.preallocate(16 << 20).unwrap();
        file.sync().unwrap();
    }
    let setup = Setup {
        directory: path.into(),
        owner: OWNER,
        cache_bytes: 1 << 20,
        segment_bytes: 16 << 20,
        reserve_bytes: 0,
        seams,
        meters: Meters::default(),
    };
    let log = runtime.block_on(async { Log::open(&setup, Fuse::new()).unwrap() });
    measure("segments", batch, rounds, |entries| {
        runtime.block_on(async {
            let (done, told) = completion();
            log.append(entries, done).await.unwrap();
            finished(told).await.unwrap();
        });
    });
}

/// The floor: a write of the same size and a sync, nothing else.
fn with_a_file(path: &std::path::Path, batch: u64, rounds: u64) {
    let disk = crate::disk::RealDisk;
    let file = disk.create(path).unwrap();
    file.preallocate(64 << 20).unwrap();
    file.sync().unwrap();
    let (bytes, mut at) = (vec![7; 328 * batch as usize], 0);
    measure("bare file", batch, rounds, |_| {
        file.write_at(at, &bytes).unwrap();
        file.sync().unwrap();
        at = (at + bytes.len() as u64) % (32 << 20);
    });
}

#[test]
#[ignore = "measures; on demand"]
fn cost_of_a_durable_append() {
    let directory =
        tempfile::tempdir_in(std::env::var_os("COST_DIR").unwrap_or_else(|| "/var/tmp".into())).unwrap();
    for (batch, rounds) in [(1, 4000), (16, 3000), (256, 1000)] {
        with_a_file(&directory.path().join(format!("file-{batch}")), batch, rounds);
        with_rocksdb(&directory.path().join(format!("rocksdb-{batch}")), batch, rounds);
        with_segments(&directory.path().join(format!("segments-{batch}")), batch, rounds);
    }
}
