//! `kontiki-bench`: the programs of the library, by name.

use bench::{api, failover, limits::PROGRAM_MAX, pod, start, store};
use clap::{Parser, Subcommand};
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};

/// Measures Kontiki, and prints tables of what it measured
///
/// The program `kontiki` beside this one is measured, or the one that the variable KONTIKI names.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    program: Program,
}

#[derive(Subcommand)]
enum Program {
    Start(start::Options),
    Pod(pod::Options),
    Failover(failover::Options),
    Api(api::Options),
    Store(store::Options),
    /// A gRPC server that does nothing, for the floor of `store`
    #[command(hide = true)]
    NoOpServer,
    /// Transactions on a store in the same process, for `store`
    #[command(hide = true)]
    InProcessTxns {
        /// Seconds to run
        seconds: f64,
    },
}

fn main() -> anyhow::Result<()> {
    let program = Arguments::parse().program;
    // Members run on this runtime; what is put beside them does, too.
    if matches!(program, Program::NoOpServer) {
        return ::store::runtime()?.block_on(store::serve_no_op());
    }
    if let Program::InProcessTxns { seconds } = program {
        let limit = std::time::Duration::from_secs_f64(seconds);
        return ::store::runtime()?.block_on(store::serve_in_process(limit));
    }
    // One thread, so that the generator has one core and needs no locks.
    Builder::new_current_thread().enable_all().build()?.block_on(bounded(program))
}

/// Runs a program until its end, its deadline or a signal; what it started is taken down in each case.
async fn bounded(program: Program) -> anyhow::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        result = tokio::time::timeout(PROGRAM_MAX, run(program)) => match result {
            Ok(result) => result,
            Err(_) => anyhow::bail!("stopped after {PROGRAM_MAX:?}, the longest a program may take"),
        },
        _ = interrupt.recv() => anyhow::bail!("interrupted"),
        _ = terminate.recv() => anyhow::bail!("asked to stop"),
    }
}

async fn run(program: Program) -> anyhow::Result<()> {
    match program {
        Program::Start(options) => start::run(options).await,
        Program::Pod(options) => pod::run(options).await,
        Program::Failover(options) => failover::run(options).await,
        Program::Api(options) => api::run(options).await,
        Program::Store(options) => store::run(options).await,
        Program::NoOpServer | Program::InProcessTxns { .. } => unreachable!("they were run above"),
    }
}
