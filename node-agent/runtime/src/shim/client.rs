//! The runtime's side of a shim's control socket.

use std::path::{Path, PathBuf};

use tokio::net::UnixStream;

use super::protocol::{Description, Reply, Request, State, receive, send};
use crate::error::{Error, Result};
use crate::limits::SHIM_REQUEST_TIMEOUT;
use crate::sys::sockets;

/// One sandbox's shim, by its socket. Every call is a connection of its own; dropping the future ends it, but what
/// the shim was asked to do may still happen.
#[derive(Clone, Debug)]
pub struct Client {
    sandbox: String,
    socket: PathBuf,
}

impl Client {
    /// A client for the shim of a sandbox.
    pub fn new(sandbox: &str, socket: &Path) -> Self {
        Self { sandbox: sandbox.into(), socket: socket.into() }
    }

    fn gone(&self, reason: impl std::fmt::Display) -> Error {
        Error::ShimGone { sandbox: self.sandbox.clone(), reason: reason.to_string() }
    }

    async fn ask(&self, request: &Request) -> Result<(UnixStream, Reply)> {
        let exchange = async {
            let stream = sockets::connect(&self.socket)?;
            let mut stream = UnixStream::from_std(stream)?;
            send(&mut stream, request).await?;
            let reply = receive::<Reply>(&mut stream).await?;
            Ok::<_, std::io::Error>((stream, reply))
        };
        let answer = tokio::time::timeout(SHIM_REQUEST_TIMEOUT, exchange).await;
        match answer.map_err(|_| self.gone("no answer"))?.map_err(|error| self.gone(error))? {
            (_, Reply::Failed(text)) => Err(Error::Shim(text)),
            answer => Ok(answer),
        }
    }

    /// Has the shim do something.
    pub async fn command(&self, request: &Request) -> Result<()> {
        self.ask(request).await.map(|_| ())
    }

    /// Opens a stream: after [`Request::Exec`], [`Request::Attach`] or [`Request::PortForward`].
    pub async fn open(&self, request: &Request) -> Result<UnixStream> {
        self.ask(request).await.map(|(stream, _)| stream)
    }

    /// What the shim knows.
    pub async fn describe(&self) -> Result<Description> {
        match self.ask(&Request::Describe).await? {
            (_, Reply::Description(description)) => Ok(description),
            (_, other) => Err(self.gone(format!("unexpected answer {other:?}"))),
        }
    }

    /// What the shim knows, and then every change.
    pub async fn watch(&self) -> Result<(Description, Changes)> {
        match self.ask(&Request::Watch).await? {
            (stream, Reply::Description(description)) => Ok((description, Changes { stream })),
            (_, other) => Err(self.gone(format!("unexpected answer {other:?}"))),
        }
    }
}

/// Changes of a shim's containers.
#[derive(Debug)]
pub struct Changes {
    stream: UnixStream,
}

impl Changes {
    /// The next change; `None` when the shim ended or dropped us. Not cancel-safe.
    pub async fn next(&mut self) -> Option<State> {
        match receive::<Reply>(&mut self.stream).await {
            Ok(Reply::Changed(state)) => Some(state),
            Ok(_) | Err(_) => None,
        }
    }
}
