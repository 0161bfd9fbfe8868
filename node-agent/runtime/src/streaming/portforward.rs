//! Port-forward: pairs of SPDY streams, one for bytes and one for an error, tied by the header `requestID`.

use std::collections::HashMap;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::spdy::{self, Stream};
use crate::error::{Error, Result};
use crate::limits::{SPDY_STREAMS_MAX, STREAM_FRAME_BYTES_MAX};
use crate::server::Runtime;
use crate::shim::client::Client;
use crate::shim::protocol::Request;

/// Serves one client until it leaves.
pub async fn serve(runtime: &Runtime, sandbox: &str, io: impl AsyncRead + AsyncWrite + Send + 'static) {
    let Ok(shim) = runtime.shim_of_sandbox(sandbox) else { return };
    let (mut incoming, driver) = spdy::connect(io);
    let work = async {
        let mut halves: HashMap<String, Stream> = HashMap::new();
        let mut running = FuturesUnordered::new();
        loop {
            tokio::select! {
                stream = incoming.accept() => {
                    let Some(stream) = stream else { break };
                    if let Some((data, error)) = pair(&mut halves, stream).await {
                        running.push(forward(&shim, sandbox, data, error));
                    }
                }
                Some(()) = running.next() => {}
            }
        }
        while running.next().await.is_some() {}
    };
    spdy::drive(driver, work).await;
}

/// Takes a stream in; gives the pair back when this one completes it.
async fn pair(halves: &mut HashMap<String, Stream>, stream: Stream) -> Option<(Stream, Stream)> {
    let kind = stream.header("streamtype").unwrap_or_default().to_string();
    let is_data = kind == "data";
    if (!is_data && kind != "error") || halves.len() >= SPDY_STREAMS_MAX {
        stream.reset().await;
        return None;
    }
    stream.accept().await;
    let id = stream.header("requestid").map_or_else(|| legacy_id(&stream, is_data), str::to_string);
    let Some(other) = halves.remove(&id) else {
        halves.insert(id, stream);
        return None;
    };
    Some(if is_data { (stream, other) } else { (other, stream) })
}

/// Old clients send no id; they open the data stream right after the error stream, two numbers on.
fn legacy_id(stream: &Stream, is_data: bool) -> String {
    let id = if is_data { stream.id().saturating_sub(2) } else { stream.id() };
    format!("legacy-{id}")
}

async fn forward(shim: &Client, sandbox: &str, mut data: Stream, mut error: Stream) {
    let port = data.header("port").unwrap_or_default().to_string();
    if let Err(problem) = copy(shim, &port, &mut data).await {
        let text = format!("error forwarding port {port} to pod sandbox {sandbox}: {}", problem.chain());
        error.write(text.into()).await;
    }
    // What the client still sends has nowhere to go.
    data.finish().await;
    error.finish().await;
}

async fn copy(shim: &Client, port: &str, data: &mut Stream) -> Result<()> {
    let port: u16 = port.parse().map_err(|_| Error::Invalid(format!("{port:?} is no port")))?;
    let stream = shim.open(&Request::PortForward { port }).await?;
    let (mut reader, mut writer) = stream.into_split();
    let (mut from_client, to_client) = data.split();
    let inward = async {
        while let Some(bytes) = from_client.read().await {
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
        // The client sends no more; the pod may still answer.
        let _ = writer.shutdown().await;
        std::future::pending::<()>().await;
    };
    let outward = async {
        let mut buffer = vec![0; STREAM_FRAME_BYTES_MAX];
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            to_client.write(bytes::Bytes::copy_from_slice(&buffer[..count])).await;
        }
    };
    tokio::select! {
        () = outward => {}
        () = inward => {}
    }
    Ok(())
}
