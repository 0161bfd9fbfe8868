//! The single-role binary kontiki-controllers: the reconciliation loops.

use std::path::PathBuf;

use clap::Parser;
use kontiki::{program, roles};

/// Runs the controllers: Deployments, endpoints, nodes and the rest.
#[derive(Parser)]
#[command(version)]
struct Command {
    /// Options as JSON; `kontiki::roles::Options` in the library's documentation lists them
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let command = Command::parse();
    program::start_log();
    let options: roles::Options = program::read_config(&command.config)?;
    program::block_on(async move {
        let stop = program::until_asked_to_stop()?;
        Ok(roles::controllers(options, stop).await?)
    })?
}
