//! Seeds for as long as one likes; what `cargo xtask simulate` runs.

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use clap::Parser;
use parking_lot::Mutex;
use simulation_tests::bugs::{Bug, hunt, named};
use simulation_tests::coverage::Coverage;
use simulation_tests::plan::plan;
use simulation_tests::run::{Manner, run};
use simulation_tests::{SEEDS, replay};

/// Seeds that one process runs before its results are taken.
const PART: u64 = 8;

#[derive(Parser)]
#[command(
    about = "Simulates clusters of the store, each with its own faults, and holds them against the invariants"
)]
struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = SEEDS)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print everything that happens.
    #[arg(long)]
    loud: bool,
    /// Processes at the same time; the source of randomness below everything is one for each.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Switch a known bug on (M4, say), and stop at the first seed that finds it.
    #[arg(long, value_parser = named)]
    bug: Option<Bug>,
    /// Print the results for a program.
    #[arg(long, hide = true)]
    part: bool,
}

/// What came of some seeds.
#[derive(Default)]
struct Results {
    seeds: u64,
    failed: Vec<u64>,
    coverage: Coverage,
}

impl Results {
    /// As one process tells another.
    fn print(&self) {
        self.failed.iter().for_each(|seed| println!("=failed {seed}"));
        self.coverage.iter().for_each(|(name, count)| println!("=count {count} {name}"));
    }

    /// Takes what another process printed; passes on what is for people.
    fn take(&mut self, printed: &str) {
        for line in printed.lines() {
            if let Some(seed) = line.strip_prefix("=failed ") {
                self.failed.extend(seed.parse::<u64>());
            } else if let Some((count, name)) =
                line.strip_prefix("=count ").and_then(|line| line.split_once(' '))
            {
                // Names are few and the same in every process.
                self.coverage.add(String::leak(name.to_owned()), count.parse().unwrap_or(0));
            } else {
                println!("{line}");
            }
        }
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if std::env::var_os("RUST_LOG").is_some() {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt().with_env_filter(filter).without_time().init();
    }
    if let Some(bug) = arguments.bug.filter(|_| !arguments.loud) {
        return report(bug, &arguments);
    }
    let results = match arguments.part || arguments.loud || arguments.seeds <= PART {
        true => here(&arguments),
        false => in_parts(&arguments)?,
    };
    if arguments.part {
        results.print();
        return Ok(());
    }
    let hours = results.coverage.of("simulated ms") as f64 / 3_600_000.0;
    println!(
        "{} seeds, {hours:.2} simulated hours, {} failed {:?}",
        results.seeds,
        results.failed.len(),
        results.failed
    );
    print!("{}", results.coverage);
    anyhow::ensure!(results.failed.is_empty(), "{} of {} seeds failed", results.failed.len(), results.seeds);
    Ok(())
}

/// Looks for a bug.
fn report(bug: Bug, arguments: &Arguments) -> anyhow::Result<()> {
    let seeds = arguments.seed..arguments.seed + arguments.seeds;
    match hunt(bug, seeds) {
        Some((seed, failure)) => {
            println!("{bug:?}: seed {seed}: {failure}");
            Ok(())
        }
        None => anyhow::bail!("{bug:?} was not found by {} seeds", arguments.seeds),
    }
}

/// Runs all seeds in this process.
fn here(arguments: &Arguments) -> Results {
    let mut results = Results { seeds: arguments.seeds, ..Results::default() };
    for seed in arguments.seed..arguments.seed + arguments.seeds {
        let plan = plan(seed);
        if arguments.loud {
            println!("{plan:#?}");
        }
        match run(&plan, Manner { loud: arguments.loud, bug: arguments.bug, ..Manner::default() }) {
            Ok(report) => {
                results.coverage.merge(&report.coverage);
                results.coverage.add("simulated ms", report.simulated_ms);
                results.coverage.add("invalid runs", u64::from(!report.valid));
                if !arguments.part {
                    println!("seed {seed}: {:016x} after {} events", report.digest.0, report.digest.1);
                }
            }
            Err(failure) => {
                println!("seed {seed}: {failure}\n  {}", replay(seed));
                results.failed.push(seed);
            }
        }
    }
    results
}

/// Runs all seeds in processes of some each.
fn in_parts(arguments: &Arguments) -> anyhow::Result<Results> {
    let program = std::env::current_exe().context("finding this program")?;
    let end = arguments.seed + arguments.seeds;
    let next = AtomicU64::new(arguments.seed);
    let results = Mutex::new(Results { seeds: arguments.seeds, ..Results::default() });
    let work = || -> anyhow::Result<()> {
        loop {
            let seed = next.fetch_add(PART, Ordering::Relaxed);
            if seed >= end {
                return Ok(());
            }
            let seeds = PART.min(end - seed);
            let mut part = Command::new(&program);
            part.args(["--part", "--seed", &seed.to_string(), "--seeds", &seeds.to_string()]);
            let output = part.output().context("running a part")?;
            let mut results = results.lock();
            results.take(&String::from_utf8_lossy(&output.stdout));
            if !output.status.success() {
                println!(
                    "seeds {seed} to {}: {}: {}",
                    seed + seeds - 1,
                    output.status,
                    String::from_utf8_lossy(&output.stderr)
                );
                results.failed.push(seed);
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..arguments.jobs.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a worker panicked")))
        })
    })?;
    let mut results = results.into_inner();
    results.failed.sort_unstable();
    Ok(results)
}
