//! A stream whose writer gathers what many tasks have to say before it bothers the kernel.
//!
//! A change that a thousand callers wait for, or a hundred watchers, makes as many tasks ready, and each hands a small frame to its connection. The
//! connection is woken by the first, and a task that another one wakes runs next: it would write after every frame or two, and a write costs
//! more than all the rest of a frame. So what is written stays in memory, and a flush first lets everything run that is ready: frames that
//! come meanwhile go out with the same write. On an idle member that is nobody: the
//! connection is polled once more. No clock is involved.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits::{GATHERED_BYTES_FIRST, GATHERED_BYTES_MAX};

/// Gathers what is written.
pub struct Gathered<S> {
    stream: S,
    waiting: BytesMut,
    /// Others have had their turn since the flush began.
    yielded: bool,
}

impl<S> Gathered<S> {
    /// Gathers what is written to a stream.
    pub fn new(stream: S) -> Self {
        Self { stream, waiting: BytesMut::new(), yielded: false }
    }
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    fn write_waiting(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.waiting))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.waiting.advance(written);
        }
        // Most connections are quiet most of the time: an empty buffer owns nothing.
        self.waiting = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.waiting.len() + bytes.len() > GATHERED_BYTES_MAX {
            ready!(self.write_waiting(context))?;
            if bytes.len() > GATHERED_BYTES_MAX {
                return Pin::new(&mut self.stream).poll_write(context, bytes);
            }
        }
        if self.waiting.capacity() == 0 {
            self.waiting.reserve(GATHERED_BYTES_FIRST.max(bytes.len()));
        }
        self.waiting.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.waiting.is_empty() && !self.yielded {
            self.yielded = true;
            // Behind all that is ready, for this task is running.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(self.write_waiting(context))?;
        self.yielded = false;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.write_waiting(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// What each write was given.
    #[derive(Default)]
    struct Writes(Vec<Vec<u8>>);

    impl AsyncWrite for Writes {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.0.push(bytes.to_vec());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_is_ready_goes_out_with_one_write() {
        let mut gathered = Gathered::new(Writes::default());
        gathered.write_all(b"one ").await.unwrap();
        let first = poll_fn(|context| Poll::Ready(Pin::new(&mut gathered).poll_flush(context))).await;
        assert!(first.is_pending(), "others go first");
        gathered.write_all(b"two three").await.unwrap();
        gathered.flush().await.unwrap();
        gathered.write_all(b"four").await.unwrap();
        gathered.flush().await.unwrap();
        assert_eq!(gathered.stream.0, [&b"one two three"[..], b"four"]);
        assert_eq!(gathered.waiting.capacity(), 0, "an empty buffer owns nothing");
    }

    #[tokio::test]
    async fn every_byte_arrives_in_order_however_slow_the_reader() {
        let (near, mut far) = tokio::io::duplex(7);
        let bytes: Vec<u8> = (0..3 * GATHERED_BYTES_MAX).map(|at| (at % 251) as u8).collect();
        let expected = bytes.clone();
        let writing = async move {
            let mut gathered = Gathered::new(near);
            let mut rest = &bytes[..];
            // Pieces of all sizes, some larger than what is gathered; some flushed, the last not.
            for (number, size) in
                [1, 900, GATHERED_BYTES_MAX - 1, 3, GATHERED_BYTES_MAX + 5].iter().enumerate()
            {
                let (piece, after) = rest.split_at(*size);
                gathered.write_all(piece).await.unwrap();
                if number % 2 == 0 {
                    gathered.flush().await.unwrap();
                }
                rest = after;
            }
            gathered.write_all(rest).await.unwrap();
            gathered.shutdown().await.unwrap();
        };
        let reading = async {
            let mut arrived = Vec::new();
            far.read_to_end(&mut arrived).await.unwrap();
            arrived
        };
        let ((), arrived) = tokio::join!(writing, reading);
        assert!(arrived == expected);
    }
}
