//! Standard input, read only by commands that want it, and without keeping the program from ending.

use std::io::{self, Read};

use bytes::Bytes;
use futures::StreamExt;
use tokio::io::AsyncBufRead;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::StreamReader;

/// Bytes of one piece; a pipe of Linux holds as many.
const PIECE_BYTES: usize = 64 << 10;

/// Standard input. Nothing is taken from it before somebody reads here: what started us may need it.
pub fn standard() -> impl AsyncBufRead + Send + Unpin {
    let pieces = futures::stream::once(async { ReceiverStream::new(begin()) }).flatten();
    StreamReader::new(Box::pin(pieces))
}

/// Reads in a thread of its own. It ends with the input or with the program: a read of a terminal cannot be interrupted, so
/// nobody waits for it.
fn begin() -> mpsc::Receiver<io::Result<Bytes>> {
    let (pieces, queue) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut input = io::stdin();
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = match input.read(&mut piece) {
                Ok(0) => return,
                Ok(length) => Ok(Bytes::copy_from_slice(&piece[..length])),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let failed = read.is_err();
            if pieces.blocking_send(read).is_err() || failed {
                return;
            }
        }
    });
    queue
}
