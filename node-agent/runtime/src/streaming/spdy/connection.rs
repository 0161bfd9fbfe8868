//! Streams over one connection.
//!
//! One task reads frames and hands them to their streams; writers take turns on the connection. Each stream's inbox
//! is bounded: when it is full, reading stops, and with it the peer. Credit is returned as a stream is read, for peers
//! that count it. We do not count the credit given to us: Go's client, which is nearly every client, never gives
//! any, and would be waited for for ever; the transport limits us instead.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;

use super::frame::{CANCEL, Frame, REFUSED_STREAM};
use super::headers::{Decoder, Encoder, Pairs};
use crate::limits::{SPDY_STREAMS_MAX, STREAM_FRAME_BYTES_MAX};

/// Data frames that wait for a stream's reader.
const INBOX_FRAMES: usize = 32;
/// New streams that wait to be accepted.
const ACCEPT_QUEUE: usize = 64;

type Io = Pin<Box<dyn ReadWrite>>;

/// A connection's two directions.
pub trait ReadWrite: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> ReadWrite for T {}

/// The writing side, shared by all streams.
struct Shared {
    writer: tokio::sync::Mutex<Writer>,
    inboxes: Mutex<HashMap<u32, mpsc::Sender<Bytes>>>,
}

struct Writer {
    io: WriteHalf<Io>,
    encoder: Encoder,
    failed: bool,
}

impl Shared {
    /// Sends a frame. After a failure everything is dropped: the reading side notices the end and ends the session.
    async fn send(&self, frame: &Frame) {
        let mut buffer = BytesMut::new();
        frame.encode(&mut buffer);
        let mut writer = self.writer.lock().await;
        if !writer.failed {
            writer.failed = writer.io.write_all(&buffer).await.is_err() || writer.io.flush().await.is_err();
        }
    }

    async fn reply(&self, stream: u32) {
        let mut writer = self.writer.lock().await;
        // The encoder's state and the order on the wire must agree, so both happen under the lock.
        let headers = writer.encoder.encode(&[]);
        let mut buffer = BytesMut::new();
        Frame::SynReply { stream, fin: false, headers }.encode(&mut buffer);
        if !writer.failed {
            writer.failed = writer.io.write_all(&buffer).await.is_err() || writer.io.flush().await.is_err();
        }
    }

    async fn close(&self) {
        let mut writer = self.writer.lock().await;
        // The client may be gone.
        let _ = writer.io.shutdown().await;
    }
}

/// Streams that the client opens.
pub struct Incoming {
    streams: mpsc::Receiver<Stream>,
    shared: Arc<Shared>,
    last: u32,
}

impl Incoming {
    /// The next one; `None` when the connection ended. Cancel-safe.
    pub async fn accept(&mut self) -> Option<Stream> {
        let stream = self.streams.recv().await?;
        self.last = stream.id;
        Some(stream)
    }

    /// Says that no more streams are served.
    pub async fn go_away(&self) {
        self.shared.send(&Frame::GoAway { last_stream: self.last, status: 0 }).await;
    }
}

/// One stream.
pub struct Stream {
    id: u32,
    headers: Pairs,
    inbox: mpsc::Receiver<Bytes>,
    shared: Arc<Shared>,
    finished: bool,
}

/// The receiving half of a [`Stream`].
pub struct Receiving<'a> {
    id: u32,
    inbox: &'a mut mpsc::Receiver<Bytes>,
    shared: &'a Shared,
}

/// The sending half of a [`Stream`].
#[derive(Clone, Copy)]
pub struct Sending<'a> {
    id: u32,
    shared: &'a Shared,
}

impl Receiving<'_> {
    /// The next bytes; `None` when the client will send no more.
    pub async fn read(&mut self) -> Option<Bytes> {
        let bytes = self.inbox.recv().await?;
        if let Ok(delta @ 1..) = u32::try_from(bytes.len()) {
            self.shared.send(&Frame::WindowUpdate { stream: self.id, delta }).await;
            self.shared.send(&Frame::WindowUpdate { stream: 0, delta }).await;
        }
        Some(bytes)
    }
}

impl Sending<'_> {
    /// Sends bytes. If the client is gone they are dropped.
    pub async fn write(&self, mut bytes: Bytes) {
        while !bytes.is_empty() {
            let payload = bytes.split_to(bytes.len().min(STREAM_FRAME_BYTES_MAX));
            self.shared.send(&Frame::Data { stream: self.id, fin: false, payload }).await;
        }
    }
}

impl Stream {
    /// Its number: odd, rising.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// A header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Tells the client that the stream is served.
    pub async fn accept(&self) {
        self.shared.reply(self.id).await;
    }

    /// Refuses the stream.
    pub async fn reset(&self) {
        self.shared.inboxes.lock().remove(&self.id);
        self.shared.send(&Frame::RstStream { stream: self.id, status: REFUSED_STREAM }).await;
    }

    /// Both directions, to be used at the same time.
    pub fn split(&mut self) -> (Receiving<'_>, Sending<'_>) {
        let Self { id, inbox, shared, .. } = self;
        (Receiving { id: *id, inbox, shared }, Sending { id: *id, shared })
    }

    /// The next bytes; `None` when the client will send no more.
    pub async fn read(&mut self) -> Option<Bytes> {
        self.split().0.read().await
    }

    /// Sends bytes. If the client is gone they are dropped.
    pub async fn write(&self, bytes: Bytes) {
        Sending { id: self.id, shared: &self.shared }.write(bytes).await;
    }

    /// Says that nothing more will be sent, and takes nothing more in.
    pub async fn finish(&mut self) {
        if !self.finished {
            self.finished = true;
            self.shared.send(&Frame::Data { stream: self.id, fin: true, payload: Bytes::new() }).await;
            // From here on what the client sends is dropped instead of filling the inbox.
            self.inbox.close();
        }
    }
}

/// What must run for the streams to live; give it to [`drive`].
pub struct Driver {
    reader: ReadHalf<Io>,
    decoder: Decoder,
    accepted: mpsc::Sender<Stream>,
    shared: Arc<Shared>,
}

/// Makes a connection's server side.
pub fn connect(io: impl AsyncRead + AsyncWrite + Send + 'static) -> (Incoming, Driver) {
    let io: Io = Box::pin(io);
    let (reader, writer) = tokio::io::split(io);
    let writer = Writer { io: writer, encoder: Encoder::default(), failed: false };
    let shared = Arc::new(Shared { writer: tokio::sync::Mutex::new(writer), inboxes: Mutex::default() });
    let (accepted, streams) = mpsc::channel(ACCEPT_QUEUE);
    let driver = Driver { reader, decoder: Decoder::default(), accepted, shared: shared.clone() };
    (Incoming { streams, shared, last: 0 }, driver)
}

/// Runs a session: reads frames until `work` is done, or the client is gone. Then the connection is closed.
pub async fn drive(driver: Driver, work: impl Future<Output = ()>) {
    let shared = driver.shared.clone();
    tokio::select! {
        () = work => {}
        () = driver.run() => {}
    }
    shared.close().await;
}

impl Driver {
    /// Returns when the connection ended or the client broke the protocol.
    async fn run(mut self) {
        loop {
            match Frame::read(&mut self.reader).await {
                Ok(Some(frame)) => {
                    if self.take(frame).await.is_none() {
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!(%error, "a SPDY client broke the protocol");
                    break;
                }
            }
        }
        // Ends every stream's reader.
        self.shared.inboxes.lock().clear();
    }

    /// `None` ends the connection.
    async fn take(&mut self, frame: Frame) -> Option<()> {
        match frame {
            Frame::SynStream { stream, fin, headers } => self.open(stream, fin, &headers).await?,
            Frame::Data { stream, fin, payload } => self.deliver(stream, fin, payload).await,
            Frame::RstStream { stream, .. } => {
                self.shared.inboxes.lock().remove(&stream);
            }
            // Even numbers are answers to pings of ours, and we send none.
            Frame::Ping { id } if id % 2 == 1 => self.shared.send(&Frame::Ping { id }).await,
            Frame::Headers { headers, .. } | Frame::SynReply { headers, .. } => {
                // Not used, but the compression state must follow.
                self.decoder.decode(&headers).ok()?;
            }
            Frame::GoAway { .. }
            | Frame::Settings
            | Frame::WindowUpdate { .. }
            | Frame::Ping { .. }
            | Frame::Unknown => {}
        }
        Some(())
    }

    async fn open(&mut self, id: u32, fin: bool, headers: &[u8]) -> Option<()> {
        let headers = self.decoder.decode(headers).ok()?;
        let (sender, inbox) = mpsc::channel(INBOX_FRAMES);
        let too_many = {
            let mut inboxes = self.shared.inboxes.lock();
            let too_many =
                inboxes.len() >= SPDY_STREAMS_MAX || inboxes.contains_key(&id) || id.is_multiple_of(2);
            if !too_many && !fin {
                inboxes.insert(id, sender);
            }
            too_many
        };
        if too_many {
            self.shared.send(&Frame::RstStream { stream: id, status: REFUSED_STREAM }).await;
            return Some(());
        }
        let stream = Stream { id, headers, inbox, shared: self.shared.clone(), finished: false };
        self.accepted.send(stream).await.ok()
    }

    async fn deliver(&mut self, id: u32, fin: bool, payload: Bytes) {
        let inbox = if fin {
            self.shared.inboxes.lock().remove(&id)
        } else {
            self.shared.inboxes.lock().get(&id).cloned()
        };
        let Some(inbox) = inbox else {
            if !fin {
                self.shared.send(&Frame::RstStream { stream: id, status: CANCEL }).await;
            }
            return;
        };
        if !payload.is_empty() && inbox.send(payload).await.is_err() {
            // The reader is gone: nobody will miss the rest.
            self.shared.inboxes.lock().remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that speaks frames.
    struct Peer {
        io: tokio::io::DuplexStream,
        encoder: Encoder,
    }

    impl Peer {
        async fn send(&mut self, frame: Frame) {
            let mut buffer = BytesMut::new();
            frame.encode(&mut buffer);
            self.io.write_all(&buffer).await.unwrap();
        }

        async fn open(&mut self, stream: u32, fin: bool, kind: &str) {
            let headers = self.encoder.encode(&[("streamtype".into(), kind.into())]);
            self.send(Frame::SynStream { stream, fin, headers }).await;
        }

        /// The next frame that is not about credit.
        async fn next(&mut self) -> Option<Frame> {
            loop {
                match Frame::read(&mut self.io).await.unwrap() {
                    Some(Frame::WindowUpdate { .. }) => {}
                    frame => return frame,
                }
            }
        }
    }

    #[tokio::test]
    async fn a_stream_echoes_until_both_sides_are_done() {
        let (near, far) = tokio::io::duplex(1 << 16);
        let mut peer = Peer { io: near, encoder: Encoder::default() };
        let (mut incoming, driver) = connect(far);
        let server = tokio::spawn(drive(driver, async move {
            let mut stream = incoming.accept().await.unwrap();
            assert_eq!(stream.header("streamtype"), Some("data"));
            stream.accept().await;
            while let Some(bytes) = stream.read().await {
                stream.write(bytes).await;
            }
            stream.finish().await;
            incoming.go_away().await;
        }));
        peer.open(1, false, "data").await;
        assert!(matches!(peer.next().await, Some(Frame::SynReply { stream: 1, .. })));
        peer.send(Frame::Ping { id: 7 }).await;
        assert_eq!(peer.next().await, Some(Frame::Ping { id: 7 }));
        let payload = Bytes::from_static(b"hello");
        peer.send(Frame::Data { stream: 1, fin: true, payload: payload.clone() }).await;
        assert_eq!(peer.next().await, Some(Frame::Data { stream: 1, fin: false, payload }));
        assert_eq!(peer.next().await, Some(Frame::Data { stream: 1, fin: true, payload: Bytes::new() }));
        assert_eq!(peer.next().await, Some(Frame::GoAway { last_stream: 1, status: 0 }));
        assert_eq!(peer.next().await, None);
        server.await.unwrap();
    }

    #[tokio::test]
    async fn data_for_no_stream_and_even_streams_are_refused() {
        let (near, far) = tokio::io::duplex(1 << 16);
        let mut peer = Peer { io: near, encoder: Encoder::default() };
        let (_incoming, driver) = connect(far);
        let server = tokio::spawn(drive(driver, std::future::pending()));
        peer.send(Frame::Data { stream: 9, fin: false, payload: Bytes::from_static(b"x") }).await;
        assert_eq!(peer.next().await, Some(Frame::RstStream { stream: 9, status: CANCEL }));
        peer.open(2, false, "data").await;
        assert_eq!(peer.next().await, Some(Frame::RstStream { stream: 2, status: REFUSED_STREAM }));
        drop(peer);
        server.await.unwrap();
    }
}
