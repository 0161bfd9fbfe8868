//! Netlink requests on a thread of their own, in whichever network namespace they are about. A thread belongs to
//! one namespace, so the async runtime's threads must never enter another.

use std::fs::File;
use std::future::Future;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rtnetlink::Handle;
use rustix::thread::LinkNameSpaceType;

use super::error::{Error, Result};

/// Runs `work` with a netlink connection inside `namespace` (none is the process's own).
pub async fn run<T, F, W>(namespace: Option<&Path>, work: W) -> Result<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>>,
    W: FnOnce(Handle) -> F + Send + 'static,
{
    let namespace = namespace.map(Path::to_path_buf);
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("netlink".into())
        // Whoever asked may have gone away.
        .spawn(move || drop(sender.send(on_this_thread(namespace, work))))
        .map_err(Error::file("starting a thread for", "netlink"))?;
    receiver.await.map_err(|_| Error::Invalid("the netlink thread panicked".into()))?
}

fn on_this_thread<T, F, W>(namespace: Option<PathBuf>, work: W) -> Result<T>
where
    F: Future<Output = Result<T>>,
    W: FnOnce(Handle) -> F,
{
    if let Some(path) = &namespace {
        let file = File::open(path).map_err(Error::file("opening", path))?;
        rustix::thread::move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|error| Error::file("entering", path)(error.into()))?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::file("starting an event loop for", "netlink"))?;
    runtime.block_on(async {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(Error::file("opening", "netlink"))?;
        let connection = tokio::spawn(connection);
        let outcome = work(handle).await;
        connection.abort();
        outcome
    })
}
