//! The single-role binary kontiki-store: one member of a replicated store that speaks the etcd v3 API.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A replicated key-value store with watch streams and the etcd v3 API.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Command {
    #[command(flatten)]
    flags: store::cli::Flags,
    #[command(subcommand)]
    ask: Option<Ask>,
}

#[derive(clap::Subcommand)]
enum Ask {
    #[command(flatten)]
    Store(Box<store::ctl::Command>),
    /// Print a script for a shell that completes commands and flags
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:#}");
            error
                .downcast_ref::<store::ctl::Error>()
                .map_or(ExitCode::FAILURE, |error| error.exit_code().into())
        }
    }
}

fn start() -> anyhow::Result<()> {
    let command = store::ctl::parse();
    store::runtime().context("cannot start the async runtime")?.block_on(run(command))
}

async fn run(Command { flags, ask }: Command) -> anyhow::Result<()> {
    let flags = if ask.is_none() { flags.resolve()? } else { flags };
    let filter = EnvFilter::try_new(flags.log_filter()).context("--log-level")?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let out = &mut std::io::stdout();
    match ask {
        Some(Ask::Store(ask)) => return Ok(store::ctl::run(*ask, out).await?),
        Some(Ask::Completion { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Command::command(), "kontiki-store", &mut script);
            return Ok(out.write_all(&script)?);
        }
        None => {}
    }
    let shutdown = CancellationToken::new();
    tokio::spawn(cancel_on_signal(shutdown.clone())?);
    Ok(store::cli::run(flags, shutdown).await?)
}

/// Cancels on SIGINT and SIGTERM.
fn cancel_on_signal(shutdown: CancellationToken) -> anyhow::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => tracing::info!("interrupted"),
            _ = terminate.recv() => tracing::info!("asked to terminate"),
        }
        shutdown.cancel();
    })
}
