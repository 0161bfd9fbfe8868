//! The single-role binary kontiki-scheduler: gives pods their nodes.

use std::path::PathBuf;

use clap::Parser;
use kontiki::{program, roles};

/// Gives every pod a node.
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
        Ok(roles::scheduler(options, stop).await?)
    })?
}
