//! The single-role binary kontiki-node: containers, pod network, service proxy and DNS of one node.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use kontiki::{
    agent::{Agent, Options},
    program,
};

/// Runs the pods of one node.
#[derive(Parser)]
#[command(version)]
struct Command {
    /// Options as JSON; `kontiki::agent::Options` in the library's documentation lists them
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

fn main() -> ExitCode {
    // The shim forks, so it must begin before anything starts a thread. The runtime calls it; people do not.
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == "shim") {
        return runtime::shim::main(arguments);
    }
    match run(&Command::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kontiki-node: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> anyhow::Result<()> {
    program::start_log();
    let options: Options = program::read_config(&command.config)?;
    anyhow::ensure!(options.network_namespace.is_none(), "start kontiki-node inside the network namespace");
    program::block_on(async move {
        let stop = program::until_asked_to_stop()?;
        Ok(Agent::start(options).await?.run(stop).await?)
    })?
}
