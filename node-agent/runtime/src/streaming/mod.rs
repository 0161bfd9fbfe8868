//! Exec, attach and port-forward: what the URLs of CRI's `Exec`, `Attach` and `PortForward` lead to.
//!
//! # For whoever proxies to it (the agent, or a kubelet)
//!
//! 1. Ask CRI for a URL. It is `http://127.0.0.1:<port>/<exec|attach|portforward>/<token>`, on loopback of the
//!    runtime's network namespace, good for one use within a minute. Terminal, streams and command are
//!    fixed in the call to CRI; the URL takes no query.
//! 2. Send it the client's upgrade request: same method, and the headers `Connection`, `Upgrade`,
//!    `Sec-WebSocket-*` and `X-Stream-Protocol-Version` as the client sent them. Path, query and everything else are
//!    ignored.
//! 3. Pass the response on. After `101 Switching Protocols` copy bytes in both directions until either side ends.
//!    Anything else is a plain error in text.
//!
//! | session | `Upgrade: websocket`, subprotocol | `Upgrade: SPDY/3.1`, stream protocol |
//! |---|---|---|
//! | exec, attach | `v5.channel.k8s.io`, `v4.channel.k8s.io` | `v4.channel.k8s.io` |
//! | port-forward | `SPDY/3.1+portforward.k8s.io`: SPDY in binary messages | `portforward.k8s.io` |
//!
//! # Inside
//!
//! Both transports end in the frames of [`crate::shim::protocol`], which the pod's shim understands; the pod's
//! processes never talk to anything but their shim.

mod http;
mod portforward;
mod remotecommand;
pub mod spdy;
mod websocket;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::limits::{STREAM_TOKEN_TTL, STREAM_TOKENS_MAX};
use crate::server::Runtime;

/// What a URL stands for.
#[derive(Clone, Debug)]
pub(crate) enum Session {
    /// Run a command.
    Exec { container: String, command: Vec<String>, tty: bool, stdin: bool, stdout: bool, stderr: bool },
    /// Connect to the first process.
    Attach { container: String, tty: bool, stdin: bool, stdout: bool, stderr: bool },
    /// Connect to ports.
    PortForward { sandbox: String },
}

impl Session {
    fn path(&self) -> &'static str {
        match self {
            Self::Exec { .. } => "exec",
            Self::Attach { .. } => "attach",
            Self::PortForward { .. } => "portforward",
        }
    }
}

/// The streaming server's address and the URLs it has given out.
#[derive(Debug)]
pub(crate) struct Streaming {
    address: SocketAddr,
    listener: Mutex<Option<TcpListener>>,
    offered: Mutex<HashMap<String, (Session, Instant)>>,
}

impl Streaming {
    /// Binds the address.
    pub async fn bind(address: SocketAddr) -> Result<Self> {
        let listener =
            TcpListener::bind(address).await.map_err(Error::system("binding the streaming server"))?;
        let address = listener.local_addr().map_err(Error::system("binding the streaming server"))?;
        Ok(Self { address, listener: Mutex::new(Some(listener)), offered: Mutex::default() })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A URL for a session: usable once, within [`STREAM_TOKEN_TTL`].
    pub fn offer(&self, session: Session) -> Result<String> {
        let mut offered = self.offered.lock();
        let now = Instant::now();
        offered.retain(|_, (_, since)| now - *since < STREAM_TOKEN_TTL);
        if offered.len() >= STREAM_TOKENS_MAX {
            return Err(Error::State(
                "too many exec, attach or port-forward requests wait for their client".into(),
            ));
        }
        let token = uuid::Uuid::new_v4().simple().to_string();
        let url = format!("http://{}/{}/{token}", self.address, session.path());
        offered.insert(token, (session, now));
        Ok(url)
    }

    /// The session of a request path, if the URL is good. It is not good a second time.
    fn take(&self, path: &str) -> Option<Session> {
        let (kind, token) = path.trim_start_matches('/').split_once('/')?;
        let (session, since) = self.offered.lock().remove(token)?;
        (session.path() == kind && since.elapsed() < STREAM_TOKEN_TTL).then_some(session)
    }
}

impl Runtime {
    /// Serves URLs until told to stop. Sessions end with it.
    pub(crate) async fn serve_streaming(self: Arc<Self>, shutdown: CancellationToken) {
        let Some(listener) = self.streaming().listener.lock().take() else { return };
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.cancelled() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    self.tasks().spawn(http::connection(self.clone(), stream, shutdown.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a streaming connection");
                    // Out of descriptors: give others time to close theirs.
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }
}
