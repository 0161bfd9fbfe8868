//! Random faults for as long as one likes; what `cargo xtask faults` runs.

use anyhow::Context;
use clap::{Parser, ValueEnum};
use faults_tests::contender::Guards;
use faults_tests::coverage::Coverage;
use faults_tests::fault::{self, Fault};
use faults_tests::workload::Reads;
use faults_tests::{bank, cluster, locks, run};

/// Runs in a hundred that may say nothing, on a machine that is busy now and then.
const INVALID_PERCENT_MAX: u64 = 2;

/// What clients do, each as often as it stands here.
const LOADS: [Load; 4] = [Load::Keys, Load::Keys, Load::Locks, Load::Bank];
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

#[derive(Parser)]
#[command(about = "Strikes real processes of a store under load, and judges what its clients saw")]
struct Arguments {
    /// How many runs.
    #[arg(long, default_value_t = 20)]
    runs: u64,
    /// Only this class of faults, by the name that runs are reported under.
    #[arg(long)]
    only: Option<String>,
    /// What clients do: put and read keys, contend for a lock, or move money between accounts. By chance if not given.
    #[arg(long)]
    load: Option<Load>,
    /// The same seed gives the same faults and the same requests, though not the same timing.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Load {
    Keys,
    Locks,
    Bank,
}

/// One run; what it says of itself, and what really happened.
async fn strike(fault: Fault, load: Load, seed: u64) -> anyhow::Result<(String, Coverage)> {
    match load {
        Load::Keys => {
            let report = run::run(fault, seed, Reads::Linearizable).await?;
            Ok((format!("{report:?}"), report.seen))
        }
        Load::Locks => {
            let seen = locks::run(fault, seed, Guards::Checked).await?;
            Ok((format!("{seen:?}"), seen))
        }
        Load::Bank => {
            let seen = bank::run(fault, seed).await?;
            Ok((format!("{seen:?}"), seen))
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(missing) = cluster::missing() {
        anyhow::bail!("the machine lacks {missing}");
    }
    let wanted = |fault: &Fault| arguments.only.as_ref().is_none_or(|only| format!("{fault:?}") == *only);
    let possible = |fault: &Fault| match fault.lacks() {
        None => true,
        Some(missing) => {
            println!("{fault:?} is left out: the machine lacks {missing}");
            false
        }
    };
    let faults: Vec<Fault> = fault::ALL.iter().copied().filter(wanted).filter(possible).collect();
    let mut chance = StdRng::seed_from_u64(arguments.seed);
    let (mut failed, mut invalid, mut seen) = (0, 0, Coverage::default());
    for number in 1..=arguments.runs {
        let fault = *faults.choose(&mut chance).context("no class of faults has this name")?;
        let load = *LOADS.choose(&mut chance).unwrap_or(&Load::Keys);
        let load = arguments.load.unwrap_or(if fault.suits_all() { load } else { Load::Keys });
        match strike(fault, load, chance.random()).await {
            Ok((told, happened)) => {
                println!("{number}: {fault:?}, {load:?}: {told}");
                seen.merge(&happened);
            }
            Err(error) => {
                let said_nothing = error.root_cause().to_string().starts_with("invalid run");
                *(if said_nothing { &mut invalid } else { &mut failed }) += 1;
                println!("{number}: {fault:?}, {load:?}: FAILED: {error:#}");
            }
        }
    }
    println!("in all: {seen:?}");
    anyhow::ensure!(failed == 0, "{failed} of {} runs failed", arguments.runs);
    anyhow::ensure!(
        invalid * 100 <= arguments.runs * INVALID_PERCENT_MAX,
        "{invalid} of {} runs saw too little traffic",
        arguments.runs
    );
    Ok(())
}
