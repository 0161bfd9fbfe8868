//! The single-role binary kontiki-scheduler: gives pods their nodes.

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Gives every pod a node.
#[derive(Parser)]
#[command(version)]
struct Command {
    /// Options as JSON; `kontiki::roles::Options` in the library's documentation lists them
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let command = Command::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let text = std::fs::read(&command.config).with_context(|| format!("reading {}", command.config.display()))?;
    let options: kontiki::roles::Options = serde_json::from_slice(&text)
        .with_context(|| format!("{} is no valid configuration", command.config.display()))?;
    let stop = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let asked = stop.clone();
    tokio::spawn(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        asked.cancel();
    });
    Ok(kontiki::roles::scheduler(options, stop).await?)
}
