//! One connection of the runtime: one request, and what follows from it.

use std::rc::Rc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::broadcast::error::RecvError;

use super::Shim;
use super::exec::attach;
use super::protocol::{Reply, Request, receive, send};
use crate::error::{Error, Result, chain};

impl Shim {
    /// Serves a connection to its end. Errors end it; the runtime sees that.
    pub(super) async fn serve(self: Rc<Self>, mut stream: UnixStream) {
        let request = match receive::<Request>(&mut stream).await {
            Ok(request) => request,
            Err(error) => return tracing::debug!(%error, "a connection without a request"),
        };
        if let Err(error) = self.answer(request, stream).await {
            tracing::debug!(%error, "the runtime left before the answer");
        }
    }

    async fn answer(self: Rc<Self>, request: Request, mut stream: UnixStream) -> std::io::Result<()> {
        let done = match request {
            Request::Describe => return send(&mut stream, &Reply::Description(self.describe())).await,
            Request::Watch => return self.watch(stream).await,
            Request::PortForward { port } => return forward(stream, port).await,
            Request::Exec(wish) => match self.exec(*wish) {
                Ok(running) => {
                    send(&mut stream, &Reply::Done).await?;
                    let (reader, writer) = stream.into_split();
                    running.stream(reader, writer).await;
                    return Ok(());
                }
                Err(error) => Err(error),
            },
            Request::Attach { id, stdin } => match self.container(&id) {
                Ok(container) => {
                    send(&mut stream, &Reply::Done).await?;
                    let (reader, writer) = stream.into_split();
                    attach(container, stdin, reader, writer).await;
                    return Ok(());
                }
                Err(error) => Err(error),
            },
            Request::Create(wish) => self.create(*wish),
            Request::Start { id } => self.start(&id),
            Request::Kill { id, signal } => self.kill(&id, signal),
            Request::Delete { id } => self.delete(&id).await,
            Request::ReopenLog { id } => self.container(&id).and_then(|container| container.reopen_log()),
            Request::Shutdown => self.end(),
        };
        send(&mut stream, &done.map_or_else(|error| Reply::Failed(error.chain()), |()| Reply::Done)).await
    }

    async fn watch(&self, mut stream: UnixStream) -> std::io::Result<()> {
        let mut changes = self.changes.subscribe();
        send(&mut stream, &Reply::Description(self.describe())).await?;
        loop {
            tokio::select! {
                change = changes.recv() => match change {
                    Ok(state) => send(&mut stream, &Reply::Changed(state)).await?,
                    // Too slow: the runtime connects again and gets everything.
                    Err(RecvError::Lagged(_) | RecvError::Closed) => return Ok(()),
                },
                // Nothing is expected from the other side but its end.
                _ = stream.readable() => {
                    match stream.try_read(&mut [0; 1]) {
                        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                        _ => return Ok(()),
                    }
                }
            }
        }
    }

    fn end(&self) -> Result<()> {
        if self.containers.borrow().is_empty() {
            self.shutdown.notify_one();
            return Ok(());
        }
        Err(Error::State("the sandbox still has containers".into()))
    }
}

/// The shim lives in the pod's network namespace, so loopback is the pod's loopback.
async fn forward(mut stream: UnixStream, port: u16) -> std::io::Result<()> {
    let v4 = TcpStream::connect(("127.0.0.1", port)).await;
    let connected = match v4 {
        Ok(connection) => Ok(connection),
        Err(error) => TcpStream::connect(("::1", port)).await.map_err(|_| error),
    };
    match connected {
        Ok(mut connection) => {
            send(&mut stream, &Reply::Done).await?;
            // A reset by either side is the end of the forwarding, not a failure of ours.
            let _ = copy_bidirectional(&mut stream, &mut connection).await;
            Ok(())
        }
        Err(error) => {
            let text = format!("failed to connect to localhost:{port} inside the pod: {}", chain(&error));
            send(&mut stream, &Reply::Failed(text)).await
        }
    }
}
