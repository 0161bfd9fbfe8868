//! Frames on the wire.
//!
//! | bits | control frame | data frame |
//! |---|---|---|
//! | 1 | 1 | 0 |
//! | 15 and 16 | version (3), type | stream id (31 bits) |
//! | 8 | flags | flags |
//! | 24 | length of what follows | length of what follows |
//!
//! Numbers are big endian. Header blocks are opaque here: they are compressed over the whole connection.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::limits::SPDY_FRAME_BYTES_MAX;

const VERSION: u16 = 3;
const FLAG_FIN: u8 = 1;
const CONTROL_BIT: u32 = 1 << 31;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const SETTINGS: u16 = 4;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;

/// Status of a reset: the stream was refused.
pub const REFUSED_STREAM: u32 = 3;
/// Status of a reset: the stream is not wanted any more.
pub const CANCEL: u32 = 5;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A stream begins.
    SynStream {
        /// The new stream.
        stream: u32,
        /// Its opener will not send on it.
        fin: bool,
        /// Compressed headers.
        headers: Bytes,
    },
    /// A stream is accepted.
    SynReply {
        /// Which stream.
        stream: u32,
        /// The accepting side will not send on it.
        fin: bool,
        /// Compressed headers.
        headers: Bytes,
    },
    /// A stream ends at once.
    RstStream {
        /// Which stream.
        stream: u32,
        /// Why.
        status: u32,
    },
    /// Settings; nothing in them concerns us.
    Settings,
    /// To be sent back, if the other side chose the id.
    Ping {
        /// Odd if the client chose it.
        id: u32,
    },
    /// No streams after this one are served.
    GoAway {
        /// The last stream that is.
        last_stream: u32,
        /// Why; 0 is no error.
        status: u32,
    },
    /// Further headers of a stream.
    Headers {
        /// Which stream.
        stream: u32,
        /// Compressed headers.
        headers: Bytes,
    },
    /// Permission to send more.
    WindowUpdate {
        /// Which stream; 0 is the whole connection.
        stream: u32,
        /// How many more bytes.
        delta: u32,
    },
    /// Bytes of a stream.
    Data {
        /// Which stream.
        stream: u32,
        /// The last of its sender.
        fin: bool,
        /// The bytes.
        payload: Bytes,
    },
    /// A type this version of the protocol does not define: to be ignored.
    Unknown,
}

impl Frame {
    /// Appends the frame to a buffer.
    pub fn encode(&self, to: &mut BytesMut) {
        match self {
            Self::SynStream { stream, fin, headers } => {
                control(to, SYN_STREAM, *fin, 10 + headers.len());
                to.put_u32(*stream);
                // No associated stream, the highest priority.
                to.put_u32(0);
                to.put_u16(0);
                to.put_slice(headers);
            }
            Self::SynReply { stream, fin, headers } => {
                control(to, SYN_REPLY, *fin, 4 + headers.len());
                to.put_u32(*stream);
                to.put_slice(headers);
            }
            Self::Headers { stream, headers } => {
                control(to, HEADERS, false, 4 + headers.len());
                to.put_u32(*stream);
                to.put_slice(headers);
            }
            Self::RstStream { stream: first, status: second } => pair(to, RST_STREAM, *first, *second),
            Self::GoAway { last_stream: first, status: second } => pair(to, GOAWAY, *first, *second),
            Self::WindowUpdate { stream: first, delta: second } => pair(to, WINDOW_UPDATE, *first, *second),
            Self::Ping { id } => {
                control(to, PING, false, 4);
                to.put_u32(*id);
            }
            Self::Settings => {
                control(to, SETTINGS, false, 4);
                to.put_u32(0);
            }
            Self::Data { stream, fin, payload } => {
                to.put_u32(*stream);
                length(to, *fin, payload.len());
                to.put_slice(payload);
            }
            Self::Unknown => {}
        }
    }

    /// Reads a frame; `None` at the end of the connection. Not cancel-safe.
    pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Option<Self>> {
        let mut head = [0; 8];
        match from.read_exact(&mut head).await {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            result => result?,
        };
        let mut head = &head[..];
        let (first, second) = (head.get_u32(), head.get_u32());
        let size = (second & 0x00ff_ffff) as usize;
        if size > SPDY_FRAME_BYTES_MAX {
            return Err(invalid(format!("SPDY frame of {size} bytes")));
        }
        let mut payload = vec![0; size];
        from.read_exact(&mut payload).await?;
        let fin = (second >> 24) as u8 & FLAG_FIN != 0;
        if first & CONTROL_BIT == 0 {
            return Ok(Some(Self::Data { stream: first, fin, payload: payload.into() }));
        }
        let version = (first >> 16) as u16 & 0x7fff;
        if version != VERSION {
            return Err(invalid(format!("SPDY version {version}")));
        }
        Self::decode_control(first as u16, fin, payload.into()).map(Some)
    }

    fn decode_control(kind: u16, fin: bool, mut payload: Bytes) -> std::io::Result<Self> {
        let needed = match kind {
            SYN_STREAM => 10,
            SYN_REPLY | HEADERS | PING => 4,
            RST_STREAM | GOAWAY | WINDOW_UPDATE => 8,
            _ => 0,
        };
        if payload.len() < needed {
            return Err(invalid(format!("SPDY frame of type {kind} with {} bytes", payload.len())));
        }
        let mut id = || payload.get_u32() & !CONTROL_BIT;
        Ok(match kind {
            SYN_STREAM => {
                let stream = id();
                payload.advance(6);
                Self::SynStream { stream, fin, headers: payload }
            }
            SYN_REPLY => Self::SynReply { stream: id(), fin, headers: payload },
            HEADERS => Self::Headers { stream: id(), headers: payload },
            RST_STREAM => Self::RstStream { stream: id(), status: payload.get_u32() },
            GOAWAY => Self::GoAway { last_stream: id(), status: payload.get_u32() },
            WINDOW_UPDATE => Self::WindowUpdate { stream: id(), delta: payload.get_u32() & !CONTROL_BIT },
            PING => Self::Ping { id: payload.get_u32() },
            SETTINGS => Self::Settings,
            _ => Self::Unknown,
        })
    }
}

fn invalid(text: String) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, text)
}

fn control(to: &mut BytesMut, kind: u16, fin: bool, size: usize) {
    to.put_u16((CONTROL_BIT >> 16) as u16 | VERSION);
    to.put_u16(kind);
    length(to, fin, size);
}

fn length(to: &mut BytesMut, fin: bool, size: usize) {
    debug_assert!(size < 1 << 24, "frames are cut to size before they are encoded");
    to.put_u8(if fin { FLAG_FIN } else { 0 });
    to.put_uint(size as u64, 3);
}

fn pair(to: &mut BytesMut, kind: u16, first: u32, second: u32) {
    control(to, kind, false, 8);
    to.put_u32(first);
    to.put_u32(second);
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(frame: Frame, golden: &[u8]) {
        let mut encoded = BytesMut::new();
        frame.encode(&mut encoded);
        assert_eq!(&encoded[..], golden, "{frame:?}");
        assert_eq!(Frame::read(&mut &encoded[..]).await.unwrap(), Some(frame));
    }

    #[tokio::test]
    async fn frames_have_the_layout_of_the_protocol() {
        check(Frame::Ping { id: 1 }, &[0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1]).await;
        check(
            Frame::RstStream { stream: 3, status: CANCEL },
            &[0x80, 3, 0, 3, 0, 0, 0, 8, 0, 0, 0, 3, 0, 0, 0, 5],
        )
        .await;
        check(
            Frame::GoAway { last_stream: 9, status: 0 },
            &[0x80, 3, 0, 7, 0, 0, 0, 8, 0, 0, 0, 9, 0, 0, 0, 0],
        )
        .await;
        check(
            Frame::WindowUpdate { stream: 1, delta: 256 },
            &[0x80, 3, 0, 9, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 1, 0],
        )
        .await;
        let payload = Bytes::from_static(b"hi");
        check(Frame::Data { stream: 5, fin: true, payload }, &[0, 0, 0, 5, 1, 0, 0, 2, b'h', b'i']).await;
        let headers = Bytes::from_static(&[7]);
        check(
            Frame::SynReply { stream: 1, fin: false, headers: headers.clone() },
            &[0x80, 3, 0, 2, 0, 0, 0, 5, 0, 0, 0, 1, 7],
        )
        .await;
        check(
            Frame::SynStream { stream: 1, fin: true, headers },
            &[0x80, 3, 0, 1, 1, 0, 0, 11, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 7],
        )
        .await;
    }

    #[tokio::test]
    async fn damaged_frames_are_errors() {
        for bytes in [
            &[0x80, 2, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1][..],
            &[0x80, 3, 0, 6, 0, 0, 0, 2, 0, 0],
            &[0x80, 3, 0, 6, 0, 0xff, 0xff, 0xff],
        ] {
            assert!(Frame::read(&mut &bytes[..]).await.is_err(), "{bytes:?}");
        }
    }
}
