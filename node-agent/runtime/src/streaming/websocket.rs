//! A byte stream inside the binary messages of a WebSocket, as kubectl tunnels SPDY.

use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::limits::STREAM_FRAME_BYTES_MAX;

/// The byte stream, and the work that moves bytes between it and the WebSocket.
pub fn tunnel<S>(socket: WebSocketStream<S>) -> (DuplexStream, impl Future<Output = ()>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (near, far) = tokio::io::duplex(STREAM_FRAME_BYTES_MAX);
    (near, pump(socket, far))
}

async fn pump<S: AsyncRead + AsyncWrite + Unpin>(socket: WebSocketStream<S>, far: DuplexStream) {
    let (mut to_client, mut from_client) = socket.split();
    let (mut reader, mut writer) = tokio::io::split(far);
    let outward = async {
        let mut buffer = vec![0; STREAM_FRAME_BYTES_MAX];
        while let Ok(count) = reader.read(&mut buffer).await {
            let message = Message::Binary(buffer[..count].to_vec().into());
            if count == 0 || to_client.send(message).await.is_err() {
                break;
            }
        }
        // The client may be gone.
        let _ = to_client.send(Message::Close(None)).await;
    };
    let inward = async {
        while let Some(Ok(message)) = from_client.next().await {
            match message {
                Message::Binary(bytes) => {
                    if writer.write_all(&bytes).await.is_err() {
                        break;
                    }
                }
                Message::Close(_) => break,
                Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
        // Tells the session that the client is gone.
        let _ = writer.shutdown().await;
    };
    tokio::join!(outward, inward);
}
