//! The project's own tasks: verify, schema, bench, etcd, faults, fuzz, simulate.

mod bench;
mod cargo;
mod fuzz;
mod program;
mod schema;
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
    /// Make the same random calls to our store and to etcd, and compare the answers: --calls N --seed S.
    Etcd(program::Options),
    /// Strike real processes of a store with random faults, and judge what their clients saw: --runs N --seed S.
    Faults(program::Options),
    /// Feed every decoder with bytes that nobody meant, guided by coverage.
    Fuzz(fuzz::Options),
    /// Derive the committed schema table from the published definitions.
    Schema(schema::Options),
    /// Simulate whole clusters of the store, each from a seed and with its own faults: --seeds N --seed S --bug M4.
    Simulate(program::Options),
    /// Check everything that CI checks.
    Verify(verify::Options),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Bench(options) => bench::run(&options),
        Task::Etcd(options) => program::run(&program::ETCD, &options),
        Task::Faults(options) => program::run(&program::FAULTS, &options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Schema(options) => schema::run(&options),
        Task::Simulate(options) => program::run(&program::SIMULATE, &options),
        Task::Verify(options) => verify::run(&options),
    }
}
