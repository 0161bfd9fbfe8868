//! The project's own tasks: verify, schema, bench, faults, fuzz, simulate.

mod bench;
mod cargo;
mod faults;
mod fuzz;
mod schema;
mod simulate;
mod verify;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "The project's own tasks")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Measure, and print a table: start, pod, failover, api, store.
    Bench(bench::Options),
    /// Strike real processes of a store with random faults, and judge what their clients saw.
    Faults(faults::Options),
    /// Feed every decoder with bytes that nobody meant, guided by coverage.
    Fuzz(fuzz::Options),
    /// Derive the committed schema table from the published definitions.
    Schema(schema::Options),
    /// Simulate whole clusters of the store, each from a seed and with its own faults.
    Simulate(simulate::Options),
    /// Check everything that CI checks.
    Verify(verify::Options),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Bench(options) => bench::run(&options),
        Task::Faults(options) => faults::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Schema(options) => schema::run(&options),
        Task::Simulate(options) => simulate::run(&options),
        Task::Verify(options) => verify::run(&options),
    }
}
