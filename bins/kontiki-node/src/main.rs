//! The single-role binary kontiki-node: containers, pod network, service proxy and DNS of one node.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Parser;
use kontiki::agent::{Agent, Options};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

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

#[tokio::main]
async fn run(command: &Command) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let text = std::fs::read(&command.config).with_context(|| format!("reading {}", command.config.display()))?;
    let options: Options = serde_json::from_slice(&text)
        .with_context(|| format!("{} is no valid configuration", command.config.display()))?;
    anyhow::ensure!(options.network_namespace.is_none(), "start kontiki-node inside the network namespace");
    let stop = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let asked = stop.clone();
    tokio::spawn(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        asked.cancel();
    });
    let agent = Agent::start(options).await.context("the node cannot start")?;
    Ok(agent.run(stop).await?)
}
