//! What runtime and shim say to each other over the shim's control socket.
//!
//! One connection carries one request: a message, then messages back. A message is its length (4 bytes, big
//! endian) and JSON. After the reply to [`Request::Exec`] and [`Request::Attach`] both sides send frames, and after
//! that to [`Request::PortForward`] raw bytes.
//!
//! | frame | bytes |
//! |---|---|
//! | kind | 1: see [`Kind`] |
//! | length | 4, big endian |
//! | payload | `length` |

use std::path::PathBuf;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::limits::{SHIM_MESSAGE_BYTES_MAX, STREAM_FRAME_BYTES_MAX};
use crate::sys::mounts::Overlay;

/// What a shim is started with, as a file that its command line names.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    /// Id of the sandbox.
    pub sandbox: String,
    /// Program and arguments that become a shim; used again for the shared process namespace's first process.
    pub command: Vec<String>,
    /// Control socket to serve.
    pub socket: PathBuf,
    /// Where the container library keeps its state.
    pub library_root: PathBuf,
    /// Network namespace to live in, so that port-forward connects from inside the pod.
    pub network: Option<PathBuf>,
    /// Whether the containers share one process namespace, whose first process the shim starts.
    pub shared_pid: bool,
    /// Cgroup the shim itself moves to, out of the one of whoever started it.
    pub cgroup: String,
    /// Where it writes what an operator may need.
    pub log: PathBuf,
}

/// A wish of the runtime.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Answered with [`Reply::Description`].
    Describe,
    /// Answered with a description, then with a [`Reply::Changed`] for every change, until the connection ends.
    Watch,
    /// Makes a container, up to the point where its program would be run.
    Create(Box<Create>),
    /// Runs its program.
    Start {
        /// The container.
        id: String,
    },
    /// Sends a signal to the first process.
    Kill {
        /// The container.
        id: String,
        /// Number of the signal.
        signal: i32,
    },
    /// Removes what is left of a container; kills it first.
    Delete {
        /// The container.
        id: String,
    },
    /// Opens the log file anew, after it was renamed.
    ReopenLog {
        /// The container.
        id: String,
    },
    /// Runs a further process; frames follow.
    Exec(Box<Exec>),
    /// Connects to the first process; frames follow.
    Attach {
        /// The container.
        id: String,
        /// Whether what the client sends is its input.
        stdin: bool,
    },
    /// Connects to a port inside the pod; bytes follow.
    PortForward {
        /// TCP port.
        port: u16,
    },
    /// Ends the shim. Containers must be gone.
    Shutdown,
}

/// How a container is made. Its specification is `config.json` in the bundle.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Create {
    /// The container.
    pub id: String,
    /// Its directory; `state.json` is written here.
    pub bundle: PathBuf,
    /// Its root file system.
    pub overlay: Overlay,
    /// Its directory for the working directory to exist in the root file system.
    pub working_directory: String,
    /// Log file; none means output is dropped.
    pub log: Option<PathBuf>,
    /// Has a terminal.
    pub tty: bool,
    /// Has an input.
    pub stdin: bool,
    /// The input ends with the first client that attached to it.
    pub stdin_once: bool,
    /// Wish for the out-of-memory killer, -1000..=1000.
    pub oom_score_adj: i32,
    /// The container's cgroup.
    pub cgroup: String,
}

/// How a process is run in a container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Exec {
    /// The container.
    pub id: String,
    /// OCI process document.
    pub process: serde_json::Value,
    /// Has a terminal.
    pub tty: bool,
    /// What the client sends is its input.
    pub stdin: bool,
    /// The process is killed when the connection ends.
    pub kill_on_disconnect: bool,
}

/// What a shim answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// It is done.
    Done,
    /// Answer to [`Request::Describe`] and [`Request::Watch`].
    Description(Description),
    /// A container changed.
    Changed(State),
    /// It could not be done.
    Failed(String),
}

/// A shim and its containers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Description {
    /// Process id of the shim.
    pub pid: u32,
    /// First process of the shared process namespace.
    pub pause_pid: Option<i32>,
    /// Its containers.
    pub containers: Vec<State>,
}

/// How far a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Everything is there, its program does not run yet.
    Created,
    /// Its program runs.
    Running,
    /// Its program ended.
    Exited,
}

/// A container as its shim sees it; also the content of `state.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The container.
    pub id: String,
    /// How far it is.
    pub phase: Phase,
    /// First process, on the host.
    pub pid: i32,
    /// When its program was run, nanoseconds since 1970; 0 is not yet.
    pub started_ns: i64,
    /// When its program ended, likewise.
    pub finished_ns: i64,
    /// Exit code, or 128 plus the signal.
    pub exit_code: i32,
    /// The kernel ended one of its processes for lack of memory.
    pub oom_killed: bool,
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Input; from the client.
    Stdin = 0,
    /// Output; from the shim.
    Stdout = 1,
    /// Error output; from the shim.
    Stderr = 2,
    /// Terminal size: columns and rows, 2 bytes each, big endian; from the client.
    Resize = 3,
    /// Exit code, 4 bytes, big endian; from the shim, the last frame.
    Exit = 4,
    /// The input ends; from the client.
    StdinEnd = 5,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        let all = [Self::Stdin, Self::Stdout, Self::Stderr, Self::Resize, Self::Exit, Self::StdinEnd];
        all.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// One frame.
pub type Frame = (Kind, Bytes);

/// Sends a message.
pub async fn send<T: Serialize>(to: &mut (impl AsyncWrite + Unpin), message: &T) -> std::io::Result<()> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= SHIM_MESSAGE_BYTES_MAX);
    let length = length.ok_or_else(|| too_large("message", body.len()))?;
    let mut buffer = BytesMut::with_capacity(4 + body.len());
    buffer.put_u32(length);
    buffer.put_slice(&body);
    to.write_all(&buffer).await
}

/// Receives a message. Not cancel-safe.
pub async fn receive<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> std::io::Result<T> {
    let length = from.read_u32().await? as usize;
    if length > SHIM_MESSAGE_BYTES_MAX {
        return Err(too_large("message", length));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    Ok(serde_json::from_slice(&body)?)
}

/// Sends a frame.
pub async fn send_frame(
    to: &mut (impl AsyncWrite + Unpin),
    kind: Kind,
    payload: &[u8],
) -> std::io::Result<()> {
    let length = u32::try_from(payload.len()).map_err(|_| too_large("frame", payload.len()))?;
    let mut buffer = BytesMut::with_capacity(5 + payload.len());
    buffer.put_u8(kind as u8);
    buffer.put_u32(length);
    buffer.put_slice(payload);
    to.write_all(&buffer).await
}

/// Receives a frame; `None` when the other side is done. Not cancel-safe.
pub async fn receive_frame(from: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Option<Frame>> {
    let mut header = [0; 5];
    match from.read_exact(&mut header).await {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    };
    let kind = Kind::from_byte(header[0]).ok_or(std::io::ErrorKind::InvalidData)?;
    let length = (&header[1..]).get_u32() as usize;
    if length > STREAM_FRAME_BYTES_MAX {
        return Err(too_large("frame", length));
    }
    let mut payload = vec![0; length];
    from.read_exact(&mut payload).await?;
    Ok(Some((kind, payload.into())))
}

fn too_large(what: &str, length: usize) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, format!("{what} of {length} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_and_messages_survive_the_wire() {
        let (mut left, mut right) = tokio::io::duplex(1 << 16);
        send(&mut left, &Request::PortForward { port: 80 }).await.unwrap();
        send_frame(&mut left, Kind::Resize, &[0, 80, 0, 24]).await.unwrap();
        drop(left);
        assert!(matches!(receive(&mut right).await.unwrap(), Request::PortForward { port: 80 }));
        assert_eq!(
            receive_frame(&mut right).await.unwrap(),
            Some((Kind::Resize, Bytes::from_static(&[0, 80, 0, 24])))
        );
        assert_eq!(receive_frame(&mut right).await.unwrap(), None);
    }

    #[tokio::test]
    async fn oversized_lengths_are_refused_before_they_are_allocated() {
        let mut bytes: &[u8] = &[0xff, 0xff, 0xff, 0xff];
        assert!(receive::<Request>(&mut bytes).await.is_err());
        let mut bytes: &[u8] = &[1, 0xff, 0xff, 0xff, 0xff];
        assert!(receive_frame(&mut bytes).await.is_err());
    }
}
