//! Pipes and terminals in the event loop.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::termios::Winsize;
use tokio::io::unix::AsyncFd;

use crate::error::{Error, Result};

/// One end of a pipe, or the master side of a terminal.
#[derive(Debug)]
pub struct Stream {
    inner: AsyncFd<OwnedFd>,
}

impl Stream {
    /// Takes a descriptor into the loop.
    pub fn new(descriptor: OwnedFd) -> Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&descriptor).map_err(Error::system("reading flags"))?;
        rustix::fs::fcntl_setfl(&descriptor, flags | OFlags::NONBLOCK)
            .map_err(Error::system("setting flags"))?;
        Ok(Self { inner: watch(descriptor).map_err(Error::system("watching a descriptor"))? })
    }

    /// Reads some bytes; 0 is the end. The end of a terminal is an error in the kernel's eyes, not in ours.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self
            .inner
            .async_io(tokio::io::Interest::READABLE, |descriptor| {
                Ok(rustix::io::read(descriptor, &mut *buffer)?)
            })
            .await;
        match read {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => Ok(0),
            result => result,
        }
    }

    /// Writes all bytes.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = self
                .inner
                .async_io(tokio::io::Interest::WRITABLE, |descriptor| {
                    Ok(rustix::io::write(descriptor, bytes)?)
                })
                .await?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Changes the size of a terminal; on a pipe this does nothing.
    pub fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
        // Not a terminal: nothing to resize.
        let _ = rustix::termios::tcsetwinsize(self.inner.get_ref(), size);
    }
}

#[expect(unsafe_code, reason = "the descriptor is owned by the watcher and by nobody else")]
fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor stays open, and the same, until the watcher that owns it is dropped.
    unsafe { AsyncFd::register(descriptor) }.map_err(io::Error::from)
}

/// A pipe whose ends do not leak into other children.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(Error::system("making a pipe"))
}

/// Takes the terminal that the container library sent to the console socket while it made the process.
pub fn receive_terminal(listener: &std::os::unix::net::UnixListener) -> Result<OwnedFd> {
    let (connection, _) = listener.accept().map_err(Error::system("receiving the terminal"))?;
    connection.set_nonblocking(false).map_err(Error::system("receiving the terminal"))?;
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 256];
    rustix::net::recvmsg(
        connection.as_fd(),
        &mut [rustix::io::IoSliceMut::new(&mut name)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )
    .map_err(Error::system("receiving the terminal"))?;
    let terminal = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    terminal.ok_or_else(|| Error::Shim("the container library sent no terminal".into()))
}
