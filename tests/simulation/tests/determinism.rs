//! The same seed gives the same run, event by event; another seed another.

use std::path::Path;

use simulation_tests::apart;
use simulation_tests::run::Report;

const SIMULATE: &str = env!("CARGO_BIN_EXE_kontiki-simulate");

fn report(seed: u64) -> Report {
    let outcome = apart::run(Path::new(SIMULATE), seed, None).expect("it runs");
    outcome.unwrap_or_else(|failure| panic!("{failure}\n{}", failure.tail))
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [1, 3, 5] {
        let first = report(seed);
        assert_eq!(first, report(seed));
        assert!(first.digest.1 > 1000, "a trace of {} events says little", first.digest.1);
        assert_ne!(first.digest, report(seed + 1000).digest);
    }
}
