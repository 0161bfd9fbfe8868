//! The project's own tasks: verify, schema, bench, simulate.

mod schema;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "The project's own tasks")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Derive the committed schema table from the published definitions.
    Schema(schema::Options),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Schema(options) => schema::run(&options),
    }
}
