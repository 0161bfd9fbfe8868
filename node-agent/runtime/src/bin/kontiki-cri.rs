//! The runtime as a program of its own, for crictl, for a stock kubelet, and for tests.
//!
//! ```text
//! kontiki-cri serve DIR NAME [POD_CIDR...]    serves CRI on DIR/run/cri.sock
//! kontiki-cri purge DIR NAME                  removes every pod and the pod network
//! kontiki-cri image build NAME VERSION FILE   assembles the hello image from /bin/busybox
//! kontiki-cri shim ...                        started by the above for each pod
//! ```

use std::path::Path;
use std::process::ExitCode;

use kontiki_runtime::error::chain;
use kontiki_runtime::image::build::{Recipe, build};
use kontiki_runtime::{Error, Options, Result, Server, shim};
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    let words: Vec<String> = arguments.map(|word| word.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        // Before anything starts a thread.
        ["shim", ref rest @ ..] => return shim::main(rest.iter().map(Into::into)),
        ["serve", directory, name, ref cidrs @ ..] => with_server(Path::new(directory), name, cidrs, serve),
        ["purge", directory, name] => with_server(Path::new(directory), name, &[], Server::purge),
        ["image", "build", name, version, file] => {
            build(&Recipe::hello(name, version, Path::new("/bin/busybox")), Path::new(file))
        }
        _ => Err(Error::Invalid(format!(
            "usage: {0} serve DIR NAME [POD_CIDR...] | {0} purge DIR NAME | {0} image build NAME VERSION FILE",
            Path::new(&program).display()
        ))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kontiki-cri: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Starts a server and hands it to `work`.
fn with_server<F>(directory: &Path, name: &str, cidrs: &[&str], work: impl FnOnce(Server) -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_writer(std::io::stderr).init();
    let program = std::env::current_exe().map_err(Error::file("finding", "this program"))?;
    let command = vec![program.to_string_lossy().into_owned(), "shim".into()];
    let cidrs = cidrs
        .iter()
        .map(|text| text.parse().map_err(|_| Error::Invalid(format!("{text:?} is no CIDR"))))
        .collect::<Result<Vec<_>>>()?;
    let options = Options::in_dir(directory, name, command).with_pod_cidrs(cidrs);
    let runtime = tokio::runtime::Runtime::new().map_err(Error::system("starting the async runtime"))?;
    runtime.block_on(async { work(Server::start(options).await?).await })
}

async fn serve(server: Server) -> Result<()> {
    tracing::info!("serving");
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let waiting = tokio::spawn(async move {
        // Without a signal handler the default action ends the process, which pods survive as well.
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.cancel();
        }
    });
    let served = server.serve(shutdown).await;
    waiting.abort();
    served
}
