//! Kontiki: a Kubernetes-compatible cluster in one binary.

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

mod agent;
mod down;
mod image;
mod kubeconfig;
mod server;
mod status;
mod store;
mod up;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A Kubernetes-compatible cluster in one binary.
///
/// To try it: `kontiki up`, then use kubectl with the kubeconfig it names.
#[derive(Parser)]
#[command(name = "kontiki", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a cluster on this machine, wait until it is ready, and leave it running
    Up(up::Up),
    /// Stop a cluster that `up` started, and remove its containers, networks and mounts
    Down(down::Down),
    /// Show the servers and agents of a cluster that `up` started
    Status(status::Status),
    /// Run one server in the foreground: store, API server, scheduler and controllers
    Server(server::Server),
    /// Run one node in the foreground: containers, pod network, service proxy and DNS
    Agent(agent::Agent),
    /// Run only the replicated key-value store, with the etcd v3 API
    Store(Box<store::Store>),
    #[command(flatten)]
    Ask(Box<::store::ctl::Command>),
    /// Print a kubeconfig for a user of a cluster
    Kubeconfig(kubeconfig::Kubeconfig),
    /// Build, import and list container images without a registry
    #[command(subcommand)]
    Image(image::Image),
    /// Print a script for a shell that completes commands and flags
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the version
    Version,
}

fn main() -> ExitCode {
    // The shim forks, so it must begin before anything starts a thread. The runtime calls it; people do not.
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == "shim") {
        return runtime::shim::main(arguments);
    }
    match run(::store::ctl::parse::<Cli>().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kontiki: {error:#}");
            error
                .downcast_ref::<::store::ctl::Error>()
                .map_or(ExitCode::FAILURE, |error| error.exit_code().into())
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Up(up) => up.run(),
        Command::Down(down) => down.run(),
        Command::Status(status) => status.run(),
        Command::Server(server) => server.run(),
        Command::Agent(agent) => agent.run(),
        Command::Store(store) => store.run(),
        Command::Ask(ask) => store::ask(*ask),
        Command::Kubeconfig(kubeconfig) => kubeconfig.run(),
        Command::Image(image) => image.run(),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "kontiki", &mut script);
            Ok(std::io::stdout().write_all(&script)?)
        }
        Command::Version => {
            println!("kontiki {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    }
}
