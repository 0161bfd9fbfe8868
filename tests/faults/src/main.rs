//! Random faults for as long as one likes; what `cargo xtask faults` runs.

use clap::Parser;
use faults_tests::workload::Reads;
use faults_tests::{cluster, fault, run};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

#[derive(Parser)]
#[command(about = "Strikes real processes of a store under load, and judges what its clients saw")]
struct Arguments {
    /// How many runs.
    #[arg(long, default_value_t = 20)]
    runs: u64,
    /// The same seed gives the same faults and the same requests, though not the same timing.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(missing) = cluster::missing() {
        anyhow::bail!("the machine lacks {missing}");
    }
    let mut chance = StdRng::seed_from_u64(arguments.seed);
    let mut failed = 0;
    for number in 1..=arguments.runs {
        let fault = *fault::ALL.choose(&mut chance).unwrap_or(&fault::Fault::KillLeader);
        match run::run(fault, chance.random(), Reads::Linearizable).await {
            Ok(report) => println!("{number}: {fault:?}: {report:?}"),
            Err(error) => {
                failed += 1;
                println!("{number}: {fault:?}: FAILED: {error:#}");
            }
        }
    }
    anyhow::ensure!(failed == 0, "{failed} of {} runs failed", arguments.runs);
    Ok(())
}
