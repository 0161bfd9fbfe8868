//! What the mains of all programs share: configuration from a file, a log, and an orderly end.

use std::{
    future::Future,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Largest configuration file that is read, in bytes.
const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// Why a program could not begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A file is too large to be a configuration.
    #[error("{path} is larger than {CONFIG_BYTES_MAX} bytes", path = path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// A file is not what it should be.
    #[error("{path} is no valid configuration", path = path.display())]
    Config {
        /// Which.
        path: PathBuf,
        /// What is wrong with it, and where.
        #[source]
        source: serde_json::Error,
    },
    /// The async runtime or the signal handlers could not be set up.
    #[error("cannot start the async runtime")]
    Runtime(#[source] std::io::Error),
}

/// Reads options from a JSON file.
pub fn read_config<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(failed)?.len() > CONFIG_BYTES_MAX {
        return Err(Error::TooLarge { path: path.to_owned() });
    }
    let text = std::fs::read(path).map_err(failed)?;
    serde_json::from_slice(&text).map_err(|source| Error::Config { path: path.to_owned(), source })
}

/// Writes the log to standard error; `RUST_LOG` chooses what is in it.
pub fn start_log() {
    start_log_at("info,audit=warn");
}

/// The same, with another choice of what is logged than ours; that of the environment still comes first.
pub fn start_log_at(filter: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Started twice only by a mistake of ours, which costs nothing but the second one.
    let _ = log.with_ansi(std::io::stderr().is_terminal()).try_init();
}

/// Runs a future on a multi-threaded runtime.
pub fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Error> {
    run_on(Builder::new_multi_thread().enable_all().build(), future)
}

/// The same on one that suits a member of the store.
pub fn block_on_store<T>(future: impl Future<Output = T>) -> Result<T, Error> {
    run_on(store::runtime(), future)
}

fn run_on<T>(runtime: io::Result<Runtime>, future: impl Future<Output = T>) -> Result<T, Error> {
    crate::install_crypto();
    Ok(runtime.map_err(Error::Runtime)?.block_on(future))
}

/// A token that ends at SIGINT or SIGTERM. A closed terminal (SIGHUP) ends nothing: clusters outlive it.
pub fn until_asked_to_stop() -> Result<CancellationToken, Error> {
    let listen = |kind| signal(kind).map_err(Error::Runtime);
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let mut hangup = listen(SignalKind::hangup())?;
    let token = CancellationToken::new();
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
