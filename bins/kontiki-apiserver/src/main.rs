//! The single-role binary kontiki-apiserver: an API server over a store elsewhere.

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// The Kubernetes API over a store at `etcdServers`.
#[derive(Parser)]
#[command(version)]
struct Command {
    /// Options as JSON; `kontiki::Options` in the library's documentation lists them
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let command = Command::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let text = std::fs::read(&command.config).with_context(|| format!("reading {}", command.config.display()))?;
    let options: kontiki::Options = serde_json::from_slice(&text)
        .with_context(|| format!("{} is no valid configuration", command.config.display()))?;
    let stop = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let asked = stop.clone();
    tokio::spawn(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        asked.cancel();
    });
    anyhow::ensure!(!options.etcd_servers.is_empty(), "etcdServers must name the store");
    let options = kontiki::Options { scheduler: false, controllers: false, ..options };
    let server = kontiki::ControlPlane::start(options).await.context("the API server cannot start")?;
    Ok(server.run(stop).await?)
}
