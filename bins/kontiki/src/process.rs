//! What every long-running command needs: a runtime, a log, and a token that ends when the process is asked to stop.

use std::{future::Future, io::IsTerminal};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Runs a future on a multi-threaded runtime.
pub fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    kontiki::install_crypto();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("starting the async runtime")?.block_on(future)
}

/// Writes the log to standard error; `RUST_LOG` chooses what is in it.
pub fn start_log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,audit=warn"));
    // Started twice only by a mistake of ours, which costs nothing but the second one.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let _ = log.with_ansi(std::io::stderr().is_terminal()).try_init();
}

/// Ends at SIGINT or SIGTERM. A closed terminal (SIGHUP) ends nothing: clusters outlive it.
pub fn until_asked_to_stop() -> anyhow::Result<CancellationToken> {
    let token = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hangup = signal(SignalKind::hangup())?;
    let stop = token.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
                _ = hangup.recv() => {}
            }
        }
        stop.cancel();
    });
    Ok(token)
}
