//! Each target takes its seeds, the corpus, and mutations of both; the same each time.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::time::{Duration, Instant};

use fuzz_tests::{TARGETS, Target, mutate::Mutator};

/// Mutations of each target, unless they take too long.
const MUTATIONS: usize = 50_000;
/// Time for the mutations of one target.
const TIME: Duration = Duration::from_secs(1);

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
    let folder = Path::new(&here).join("corpus").join(name);
    let Ok(files) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn run(target: &Target, input: &[u8]) {
    let outcome = std::panic::catch_unwind(|| (target.run)(input));
    assert!(outcome.is_ok(), "{} panicked on {:?}", target.name, input);
}

fn check(name: &str) {
    let target = fuzz_tests::target(name).unwrap();
    let mut seeds = (target.seeds)();
    assert!(!seeds.is_empty(), "{name} has no seeds");
    seeds.extend(corpus(name));
    seeds.iter().for_each(|seed| run(target, seed));
    let begin = Instant::now();
    let mut mutator = Mutator::new(1, seeds);
    let done =
        (0..MUTATIONS).take_while(|_| begin.elapsed() < TIME).map(|_| run(target, &mutator.input())).count();
    assert!(done > 0);
    println!("{name}: {done} mutations in {:?}", begin.elapsed());
}

macro_rules! targets {
    ($($test:ident: $name:literal,)*) => {
        $(#[test] fn $test() { check($name); })*

        #[test]
        fn every_target_is_run() {
            let run = [$($name),*];
            let missing: Vec<_> = TARGETS.iter().map(|target| target.name).filter(|name| !run.contains(name)).collect();
            assert!(missing.is_empty(), "{missing:?}");
        }
    };
}

targets! {
    peer_frames: "peer-frame",
    client_requests: "client-request",
    snapshot_streams: "snapshot-stream",
    log_records: "log-record",
    log_segments: "log-segment",
    commands: "command",
    state_records: "state-record",
    state_content: "state-content",
    images: "image",
    images_of_the_engine: "engine-image",
    manifests_of_backups: "backup-manifest",
    machines: "machine",
}
