//! One connection of a listener: it ends when the member stops, when its place is needed, or when it takes too long to ask for
//! something.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::crowd::Place;

/// What ends the header of HTTP/1, and the preface of HTTP/2.
const BLANK_LINE: &[u8; 4] = b"\r\n\r\n";

/// A stream for as long as it may stay.
pub struct Connection<S> {
    stream: S,
    place: Place,
    leave: Pin<Box<WaitForCancellationFutureOwned>>,
    silence: Option<Silence>,
}

/// As long as nothing was asked for.
struct Silence {
    ends: Pin<Box<Sleep>>,
    /// Bytes of the blank line that were the last to come.
    seen: usize,
}

impl<S> Connection<S> {
    /// Must ask for something until the deadline.
    pub fn new(stream: S, place: Place, deadline: Instant) -> Self {
        let leave = Box::pin(place.leave.clone().cancelled_owned());
        let silence = Silence { ends: Box::pin(tokio::time::sleep_until(deadline)), seen: 0 };
        Self { stream, place, leave, silence: Some(silence) }
    }

    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.leave.as_mut().poll(context).is_ready() {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the place is needed"));
        }
        let late =
            self.silence.as_mut().is_some_and(|silence| silence.ends.as_mut().poll(context).is_ready());
        if late {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "nothing was asked for"));
        }
        Ok(())
    }

    fn heard(&mut self, bytes: &[u8]) {
        let Some(silence) = &mut self.silence else { return };
        if silence.hear(bytes) {
            self.silence = None;
            self.place.speak();
        }
    }
}

impl Silence {
    /// Whether the blank line is complete.
    fn hear(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            self.seen = match (*byte == BLANK_LINE[self.seen], *byte) {
                (true, _) => self.seen + 1,
                (false, b'\r') => 1,
                (false, _) => 0,
            };
            if self.seen == BLANK_LINE.len() {
                return true;
            }
        }
        false
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Only reading looks: a connection always reads.
        self.check(context)?;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.heard(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_header_ends_with_a_blank_line_in_however_many_pieces() {
        let hears = |pieces: &[&[u8]]| {
            let mut silence = Silence { ends: Box::pin(tokio::time::sleep_until(Instant::now())), seen: 0 };
            pieces.iter().any(|piece| silence.hear(piece))
        };
        assert!(hears(&[b"GET / HTTP/1.1\r\n\r\n"]));
        assert!(hears(&[b"GET / HTTP/1.1\r\nhost: a\r", b"\n", b"\r", b"\n"]));
        assert!(hears(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]));
        assert!(hears(&[b"\r\r\n\r\n"]));
        assert!(!hears(&[b"GET / HTTP/1.1\r\nhost: a\r\n", b"x: \r", b"y\r\n"]));
        assert!(!hears(&[]));
    }
}
