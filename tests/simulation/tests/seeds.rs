//! 128 seeds, always the same, each with its own cluster and faults.

use std::path::Path;

use simulation_tests::coverage::Coverage;
use simulation_tests::{SEEDS, apart, replay};

const SIMULATE: &str = env!("CARGO_BIN_EXE_kontiki-simulate");

/// Seeds of one test: as many tests as it takes, so that they share the processors.
const PART: u64 = 8;

fn part(number: u64) {
    let (mut failed, mut valid, mut coverage) = (Vec::new(), 0, Coverage::default());
    for seed in number * PART..(number + 1) * PART {
        match apart::run(Path::new(SIMULATE), seed, None).expect("it runs") {
            Ok(report) => {
                valid += u64::from(report.valid);
                coverage.merge(&report.coverage);
            }
            Err(failure) => {
                failed.push(format!("seed {seed}: {failure}\n{}\n{}", failure.tail, replay(seed)))
            }
        }
    }
    println!("{coverage}");
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    assert!(valid >= PART - 1, "{valid} of {PART} runs had enough traffic to say something");
}

macro_rules! parts {
    ($($name:ident: $number:literal,)*) => {
        $(#[test] fn $name() { part($number) })*

        #[test]
        fn every_seed_is_run() {
            let numbers = [$($number),*];
            assert!((0..SEEDS / PART).all(|number| numbers.contains(&number)));
        }
    };
}

parts! {
    part_00: 0, part_01: 1, part_02: 2, part_03: 3, part_04: 4, part_05: 5, part_06: 6, part_07: 7,
    part_08: 8, part_09: 9, part_10: 10, part_11: 11, part_12: 12, part_13: 13, part_14: 14, part_15: 15,
}
