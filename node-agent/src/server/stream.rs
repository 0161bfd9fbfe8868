//! Passing an upgraded connection on to the runtime's streaming server: the request's headers there, the
//! answer's headers back, then bytes both ways. Which protocol is spoken (WebSocket, SPDY/3.1) is not looked at.

use http::{HeaderName, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::{io::copy_bidirectional_with_sizes, net::TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::debug;

use super::{
    find::Fault,
    route::{Body, full},
};
use crate::limits;

/// Connects a caller to a streaming URL of the runtime.
pub async fn proxy(
    mut request: Request<Incoming>,
    url: &str,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) -> Result<Response<Body>, Fault> {
    let gateway =
        |e: &dyn std::fmt::Display| Fault::new(StatusCode::BAD_GATEWAY, format!("stream {url}: {e}"));
    let uri: Uri = url.parse().map_err(|e| gateway(&e))?;
    let host = uri.host().ok_or_else(|| gateway(&"no host in the address"))?;
    let port = uri.port_u16().unwrap_or(80);
    let connect = TcpStream::connect((host.trim_matches(['[', ']']), port));
    let stream = tokio::time::timeout(limits::STREAM_CONNECT_TIMEOUT, connect).await;
    let stream = stream.map_err(|e| gateway(&e))?.map_err(|e| gateway(&e))?;
    stream.set_nodelay(true).map_err(|e| gateway(&e))?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|e| gateway(&e))?;
    let token = shutdown.clone();
    tasks.spawn(async move {
        if let Some(Err(e)) = token.run_until_cancelled(connection.with_upgrades()).await {
            debug!(error = %e, "a stream to the runtime broke");
        }
    });
    let onward = onward(&request, &uri).map_err(|e| gateway(&e))?;
    let mut answer = sender.send_request(onward).await.map_err(|e| gateway(&e))?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let (parts, body) = answer.into_parts();
        return Ok(Response::from_parts(parts, body.map_err(std::io::Error::other).boxed_unsync()));
    }
    let (near, far) = (hyper::upgrade::on(&mut request), hyper::upgrade::on(&mut answer));
    let token = shutdown.clone();
    tasks.spawn(async move {
        token.run_until_cancelled(splice(near, far)).await;
    });
    let (parts, _) = answer.into_parts();
    Ok(Response::from_parts(parts, full("")))
}

async fn splice(near: hyper::upgrade::OnUpgrade, far: hyper::upgrade::OnUpgrade) {
    let (near, far) = match tokio::try_join!(near, far) {
        Ok(both) => both,
        Err(e) => {
            debug!(error = %e, "an upgrade was not completed");
            return;
        }
    };
    let (mut near, mut far) = (TokioIo::new(near), TokioIo::new(far));
    let size = limits::STREAM_BUFFER_BYTES;
    // A stream that breaks off ends like one that ends: both sides see the connection close.
    if let Err(e) = copy_bidirectional_with_sizes(&mut near, &mut far, size, size).await {
        debug!(error = %e, "a stream broke off");
    }
}

/// The same request to the runtime: all headers but the host's.
fn onward(request: &Request<Incoming>, uri: &Uri) -> Result<Request<Empty<bytes::Bytes>>, http::Error> {
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let mut builder = Request::builder().method(request.method()).uri(path);
    let dropped: [HeaderName; 3] = [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
    for (name, value) in request.headers().iter().filter(|(name, _)| !dropped.contains(name)) {
        builder = builder.header(name, value);
    }
    builder.header(header::HOST, uri.authority().map_or("runtime", |a| a.as_str())).body(Empty::new())
}
