//! The single-role binary kontiki-apiserver: an API server over a store elsewhere.

use std::path::PathBuf;

use clap::Parser;
use kontiki::{ControlPlane, Options, program};

/// The Kubernetes API over a store at `etcdServers`.
#[derive(Parser)]
#[command(version)]
struct Command {
    /// Options as JSON; `kontiki::Options` in the library's documentation lists them
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let command = Command::parse();
    program::start_log();
    let options: Options = program::read_config(&command.config)?;
    program::block_on(async move {
        let stop = program::until_asked_to_stop()?;
        anyhow::ensure!(!options.etcd_servers.is_empty(), "etcdServers must name the store");
        let server = ControlPlane::start(Options { scheduler: false, controllers: false, ..options }).await?;
        Ok(server.run(stop).await?)
    })?
}
