//! The project's own tasks: verify, schema.

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
    /// Derive the committed schema table from the published definitions.
    Schema(schema::Options),
    /// Check everything that CI checks.
    Verify(verify::Options),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Schema(options) => schema::run(&options),
        Task::Verify(options) => verify::run(&options),
    }
}
