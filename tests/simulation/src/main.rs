//! Seeds for as long as one likes; what `cargo xtask simulate` runs.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use clap::Parser;
use parking_lot::Mutex;
use simulation_tests::bugs::{self, Bug, Finds, hunt, named};
use simulation_tests::coverage::Coverage;
use simulation_tests::plan::plan;
use simulation_tests::run::{Failure, Manner, Report, run};
use simulation_tests::{SEEDS, apart, replay};

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
    /// Print everything that happens in the first seed.
    #[arg(long)]
    loud: bool,
    /// Runs at the same time, each in a process.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Switch a known bug on (M4, say), and stop at the first seed that finds it.
    #[arg(long, value_parser = named)]
    bug: Option<Bug>,
    /// Switch each known bug on in turn, and count the seeds that find it.
    #[arg(long)]
    census: bool,
    /// Run the first seed and print what came of it for a program.
    #[arg(long, hide = true)]
    told: bool,
}

/// What came of some seeds.
#[derive(Default)]
struct Results {
    failed: Vec<u64>,
    coverage: Coverage,
}

impl Results {
    fn take(&mut self, seed: u64, outcome: &Result<Report, Failure>) {
        match outcome {
            Ok(report) => {
                self.coverage.merge(&report.coverage);
                self.coverage.add("simulated ms", report.simulated_ms);
                self.coverage.add("invalid runs", u64::from(!report.valid));
            }
            Err(failure) => {
                println!("seed {seed}: {failure}\n  {}", replay(seed));
                self.failed.push(seed);
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
    if arguments.told {
        return apart::tell(arguments.seed, arguments.bug);
    }
    if arguments.loud {
        return aloud(&arguments);
    }
    let program = std::env::current_exe().context("finding this program")?;
    if arguments.census {
        return census(&program, &arguments);
    }
    match arguments.bug {
        Some(bug) => look_for(&program, bug, &arguments),
        None => all(&program, &arguments),
    }
}

/// Runs the first seed here.
fn aloud(arguments: &Arguments) -> anyhow::Result<()> {
    let plan = plan(arguments.seed);
    println!("{plan:#?}");
    let report = run(&plan, Manner { loud: true, bug: arguments.bug })
        .map_err(|failure| anyhow::anyhow!("seed {}: {failure}", arguments.seed))?;
    println!("seed {}: {:016x} after {} events", arguments.seed, report.digest.0, report.digest.1);
    print!("{}", report.coverage);
    Ok(())
}

/// Looks for a bug.
fn look_for(program: &Path, bug: Bug, arguments: &Arguments) -> anyhow::Result<()> {
    match hunt(program, bug, arguments.seed..arguments.seed + arguments.seeds)? {
        Some((seed, failure)) => {
            println!("{bug:?}: seed {seed}: {failure}");
            Ok(())
        }
        None => anyhow::bail!("{bug:?} was not found by {} seeds", arguments.seeds),
    }
}

/// Looks for every bug with every seed.
fn census(program: &Path, arguments: &Arguments) -> anyhow::Result<()> {
    for bug in bugs::ALL {
        let mut finds = Finds::default();
        each(program, Some(*bug), arguments, |seed, outcome| finds.take(seed, outcome))?;
        println!("{bug:?}: {finds}");
    }
    Ok(())
}

/// Runs all seeds.
fn all(program: &Path, arguments: &Arguments) -> anyhow::Result<()> {
    let mut results = Results::default();
    each(program, None, arguments, |seed, outcome| results.take(seed, outcome))?;
    let Results { mut failed, coverage } = results;
    failed.sort_unstable();
    let hours = coverage.of("simulated ms") as f64 / 3_600_000.0;
    println!("{} seeds, {hours:.2} simulated hours, {} failed {failed:?}", arguments.seeds, failed.len());
    print!("{coverage}");
    anyhow::ensure!(failed.is_empty(), "{} of {} seeds failed", failed.len(), arguments.seeds);
    Ok(())
}

/// Runs the seeds asked for, as many at a time as asked for, and hands over what comes of each.
fn each(
    program: &Path,
    bug: Option<Bug>,
    arguments: &Arguments,
    take: impl FnMut(u64, &Result<Report, Failure>) + Send,
) -> anyhow::Result<()> {
    let end = arguments.seed + arguments.seeds;
    let next = AtomicU64::new(arguments.seed);
    let take = Mutex::new(take);
    let work = || -> anyhow::Result<()> {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return Ok(());
            }
            let outcome = apart::run(program, seed, bug)?;
            (take.lock())(seed, &outcome);
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..arguments.jobs.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a worker panicked")))
        })
    })
}
