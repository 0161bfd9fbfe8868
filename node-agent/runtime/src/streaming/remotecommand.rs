//! Exec and attach: Kubernetes' channels on one side, the shim's frames on the other.
//!
//! | channel | over WebSocket, first byte of a message | over SPDY, header `streamtype` |
//! |---|---|---|
//! | input | 0 | `stdin` |
//! | output | 1 | `stdout` |
//! | error output | 2 | `stderr` |
//! | outcome: a `Status` object, once, at the end | 3 | `error` |
//! | terminal size: `{"Width":80,"Height":24}` | 4 | `resize` |
//! | end of a channel (v5 only): the channel's number follows | 255 | end of the stream |

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::{Session, spdy};
use crate::error::{Error, Result};
use crate::limits::{STREAM_CREATION_TIMEOUT, STREAM_FRAME_BYTES_MAX};
use crate::server::Runtime;
use crate::shim::protocol::{Frame, Kind, Request, receive_frame, send_frame};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const OUTCOME: u8 = 3;
const RESIZE: u8 = 4;
const END_OF_CHANNEL: u8 = 255;

/// Which channels a session has.
#[derive(Clone, Copy, Debug)]
struct Channels {
    tty: bool,
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

impl Channels {
    fn of(session: &Session) -> Self {
        match *session {
            Session::Exec { tty, stdin, stdout, stderr, .. }
            | Session::Attach { tty, stdin, stdout, stderr, .. } => {
                // A terminal has one output.
                Self { tty, stdin, stdout, stderr: stderr && !tty }
            }
            Session::PortForward { .. } => Self { tty: false, stdin: false, stdout: false, stderr: false },
        }
    }

    fn wants(self, kind: Kind) -> bool {
        match kind {
            Kind::Stdout => self.stdout,
            Kind::Stderr => self.stderr,
            Kind::Stdin | Kind::StdinEnd | Kind::Resize | Kind::Exit => false,
        }
    }

    /// Kinds of SPDY streams that the client opens.
    fn spdy_streams(self) -> Vec<&'static str> {
        let all = [
            (true, "error"),
            (self.stdin, "stdin"),
            (self.stdout, "stdout"),
            (self.stderr, "stderr"),
            (self.tty, "resize"),
        ];
        all.into_iter().filter(|(wanted, _)| *wanted).map(|(_, kind)| kind).collect()
    }
}

/// Opens the shim's side of a session.
async fn open(runtime: &Runtime, session: &Session) -> Result<UnixStream> {
    match session {
        Session::Exec { container, command, tty, stdin, .. } => {
            let (sandbox, wish) = runtime.exec_wish(container, command, *tty, *stdin, false)?;
            sandbox.shim.open(&Request::Exec(Box::new(wish))).await
        }
        Session::Attach { container, stdin, .. } => {
            let shim = runtime.shim_of_container(container)?;
            shim.open(&Request::Attach { id: container.clone(), stdin: *stdin }).await
        }
        Session::PortForward { .. } => Err(Error::Invalid("port-forward has no channels".into())),
    }
}

/// What the outcome channel says about an exit code: success, or how the command failed.
fn outcome(exit_code: i32) -> Bytes {
    let status = if exit_code == 0 {
        json!({"metadata": {}, "status": "Success"})
    } else {
        json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with non-zero exit code: exit status {exit_code}"),
            "details": {"causes": [{"reason": "ExitCode", "message": exit_code.to_string()}]},
        })
    };
    status.to_string().into()
}

/// What the outcome channel says when there is no exit code.
fn failure(message: &str) -> Bytes {
    let status = json!({
        "metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500, "message": message,
        "details": {"causes": [{"message": message}]},
    });
    status.to_string().into()
}

fn outcome_of(frame: Option<&[u8]>) -> Bytes {
    match frame.and_then(|code| code.try_into().ok()).map(i32::from_be_bytes) {
        Some(code) => outcome(code),
        None => failure("the process vanished"),
    }
}

#[derive(Deserialize)]
struct Size {
    #[serde(rename = "Width", default)]
    width: u16,
    #[serde(rename = "Height", default)]
    height: u16,
}

/// A size message as a shim's frame; `None` if it does not read.
fn resize(message: &[u8]) -> Option<Frame> {
    let size: Size = serde_json::from_slice(message).ok()?;
    let [w1, w0] = size.width.to_be_bytes();
    let [h1, h0] = size.height.to_be_bytes();
    Some((Kind::Resize, Bytes::copy_from_slice(&[w1, w0, h1, h0])))
}

/// Serves exec or attach over a WebSocket.
pub async fn serve_websocket<S>(
    runtime: &Runtime,
    session: Session,
    socket: WebSocketStream<S>,
    can_half_close: bool,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let channels = Channels::of(&session);
    let (mut to_client, mut from_client) = socket.split();
    // An empty message on the first channel we write tells the client that the connection stands.
    let first = if channels.stdout {
        STDOUT
    } else if channels.stderr {
        STDERR
    } else {
        OUTCOME
    };
    if to_client.send(message(first, &[])).await.is_err() {
        return;
    }
    let (reader, writer) = match open(runtime, &session).await {
        Ok(stream) => stream.into_split(),
        Err(error) => {
            // The client may be gone.
            let _ = to_client.send(message(OUTCOME, &failure(&error.chain()))).await;
            let _ = to_client.send(closing()).await;
            return;
        }
    };
    let outward = websocket_output(reader, &mut to_client, channels);
    let inward = websocket_input(&mut from_client, writer, can_half_close);
    tokio::select! {
        () = outward => {}
        () = inward => {}
    }
    // The client may be gone; else this tells it that nothing follows.
    let _ = to_client.send(closing()).await;
}

fn message(channel: u8, payload: &[u8]) -> Message {
    let mut bytes = Vec::with_capacity(payload.len() + 1);
    bytes.push(channel);
    bytes.extend_from_slice(payload);
    Message::Binary(bytes.into())
}

fn closing() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
}

async fn websocket_output<K>(mut reader: OwnedReadHalf, to_client: &mut K, channels: Channels)
where
    K: futures::Sink<Message> + Unpin,
{
    loop {
        let frame = receive_frame(&mut reader).await.unwrap_or_default();
        let sent = match frame {
            Some((kind @ (Kind::Stdout | Kind::Stderr), bytes)) if channels.wants(kind) => {
                let channel = if kind == Kind::Stdout { STDOUT } else { STDERR };
                to_client.send(message(channel, &bytes)).await
            }
            Some((Kind::Exit, code)) => {
                // The client may be gone.
                let _ = to_client.send(message(OUTCOME, &outcome_of(Some(&code)))).await;
                return;
            }
            Some(_) => Ok(()),
            None => {
                let _ = to_client.send(message(OUTCOME, &outcome_of(None))).await;
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Returns when the client is gone.
async fn websocket_input<T>(from_client: &mut T, mut writer: OwnedWriteHalf, can_half_close: bool)
where
    T: futures::Stream<Item = std::result::Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin,
{
    while let Some(Ok(message)) = from_client.next().await {
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => text.into(),
            Message::Close(_) => return,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
        };
        let sent = match bytes.split_first() {
            Some((&STDIN, input)) => send_input(&mut writer, input).await,
            Some((&RESIZE, size)) => match resize(size) {
                Some((kind, payload)) => send_frame(&mut writer, kind, &payload).await,
                None => Ok(()),
            },
            Some((&END_OF_CHANNEL, &[STDIN])) if can_half_close => {
                send_frame(&mut writer, Kind::StdinEnd, &[]).await
            }
            Some(_) | None => Ok(()),
        };
        if sent.is_err() {
            // The process reads no more; it may still print.
            while let Some(Ok(_)) = from_client.next().await {}
            return;
        }
    }
}

async fn send_input(writer: &mut OwnedWriteHalf, input: &[u8]) -> std::io::Result<()> {
    for piece in input.chunks(STREAM_FRAME_BYTES_MAX) {
        send_frame(writer, Kind::Stdin, piece).await?;
    }
    Ok(())
}

/// The streams of one exec or attach over SPDY.
#[derive(Default)]
struct SpdyStreams {
    error: Option<spdy::Stream>,
    stdin: Option<spdy::Stream>,
    stdout: Option<spdy::Stream>,
    stderr: Option<spdy::Stream>,
    resize: Option<spdy::Stream>,
}

impl SpdyStreams {
    fn slot(&mut self, kind: &str) -> Option<&mut Option<spdy::Stream>> {
        match kind {
            "error" => Some(&mut self.error),
            "stdin" => Some(&mut self.stdin),
            "stdout" => Some(&mut self.stdout),
            "stderr" => Some(&mut self.stderr),
            "resize" => Some(&mut self.resize),
            _ => None,
        }
    }

    /// Waits until the client has opened all that the session needs.
    async fn collect(connection: &mut spdy::Incoming, wanted: &[&str]) -> Option<Self> {
        let mut streams = Self::default();
        let mut missing = wanted.to_vec();
        while !missing.is_empty() {
            let stream = connection.accept().await?;
            let kind = stream.header("streamtype").unwrap_or_default().to_string();
            match streams.slot(&kind) {
                Some(slot) if missing.contains(&kind.as_str()) => {
                    stream.accept().await;
                    *slot = Some(stream);
                    missing.retain(|other| *other != kind);
                }
                _ => stream.reset().await,
            }
        }
        Some(streams)
    }
}

/// Serves exec or attach over SPDY.
pub async fn serve_spdy(
    runtime: &Runtime,
    session: Session,
    io: impl AsyncRead + AsyncWrite + Send + 'static,
) {
    let (mut incoming, driver) = spdy::connect(io);
    let work = async {
        let channels = Channels::of(&session);
        let wanted = channels.spdy_streams();
        let collected =
            tokio::time::timeout(STREAM_CREATION_TIMEOUT, SpdyStreams::collect(&mut incoming, &wanted)).await;
        let Ok(Some(mut streams)) = collected else { return };
        let outcome = match open(runtime, &session).await {
            Ok(stream) => spdy_copy(stream, &mut streams, channels).await,
            Err(error) => failure(&error.chain()),
        };
        if let Some(error) = &mut streams.error {
            error.write(outcome).await;
        }
        for stream in [streams.stdout, streams.stderr, streams.stdin, streams.resize, streams.error]
            .iter_mut()
            .flatten()
        {
            stream.finish().await;
        }
        incoming.go_away().await;
    };
    spdy::drive(driver, work).await;
}

async fn spdy_copy(stream: UnixStream, streams: &mut SpdyStreams, channels: Channels) -> Bytes {
    let (mut reader, writer) = stream.into_split();
    let writer = tokio::sync::Mutex::new(writer);
    let (stdin, size) = (streams.stdin.as_mut(), streams.resize.as_mut());
    let input = async {
        if let Some(stdin) = stdin {
            while let Some(bytes) = stdin.read().await {
                if send_input(&mut *writer.lock().await, &bytes).await.is_err() {
                    break;
                }
            }
            // The process may have ended by itself.
            let _ = send_frame(&mut *writer.lock().await, Kind::StdinEnd, &[]).await;
        }
        std::future::pending::<Bytes>().await
    };
    let sizes = async {
        if let Some(size) = size {
            while let Some(bytes) = size.read().await {
                if let Some((kind, payload)) = resize(&bytes)
                    && send_frame(&mut *writer.lock().await, kind, &payload).await.is_err()
                {
                    break;
                }
            }
        }
        std::future::pending::<Bytes>().await
    };
    let (stdout, stderr) = (streams.stdout.as_mut(), streams.stderr.as_mut());
    let output = async {
        let (stdout, stderr) = (stdout, stderr);
        loop {
            match receive_frame(&mut reader).await.unwrap_or_default() {
                Some((kind @ (Kind::Stdout | Kind::Stderr), bytes)) if channels.wants(kind) => {
                    let stream = if kind == Kind::Stdout { &stdout } else { &stderr };
                    if let Some(stream) = stream {
                        stream.write(bytes).await;
                    }
                }
                Some((Kind::Exit, code)) => return outcome_of(Some(&code)),
                Some(_) => {}
                None => return outcome_of(None),
            }
        }
    };
    tokio::select! {
        outcome = output => outcome,
        outcome = input => outcome,
        outcome = sizes => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_where_kubectl_looks_for_it() {
        let status: serde_json::Value = serde_json::from_slice(&outcome(3)).unwrap();
        assert_eq!(status["details"]["causes"][0], json!({"reason": "ExitCode", "message": "3"}));
        assert_eq!(status["reason"], "NonZeroExitCode");
        let status: serde_json::Value = serde_json::from_slice(&outcome(0)).unwrap();
        assert_eq!(status["status"], "Success");
    }

    #[test]
    fn sizes_become_frames() {
        let (kind, payload) = resize(br#"{"Width":80,"Height":24}"#).unwrap();
        assert_eq!((kind, &payload[..]), (Kind::Resize, &[0, 80, 0, 24][..]));
        assert!(resize(b"nonsense").is_none());
    }
}
