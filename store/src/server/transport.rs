//! HTTP on one connection.
//!
//! tonic's server does the same behind several layers, each of which every call copies or boxes; what is left of them here is the time that a
//! client gives a call, and where the call comes from.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};

use super::Options;
use crate::limits::{
    HTTP2_HEADER_BYTES_MAX, HTTP2_RESETS_PENDING_MAX, HTTP2_RESETS_SENT_MAX, HTTP2_WINDOW_BYTES,
};
use crate::service::Ways;
use crate::service::short_way::{Answered, Answering};

/// Who is at the other end, where that is known: clients may show certificates.
pub type Origin = TlsConnectInfo<TcpConnectInfo>;

/// How connections are served.
#[derive(Clone)]
pub struct Transport {
    builder: Builder<TokioExecutor>,
}

impl Transport {
    /// As the options say.
    pub fn new(options: &Options) -> Self {
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(options.streams_max)
            .initial_stream_window_size(HTTP2_WINDOW_BYTES)
            .initial_connection_window_size(HTTP2_WINDOW_BYTES)
            .max_header_list_size(HTTP2_HEADER_BYTES_MAX)
            .max_pending_accept_reset_streams(HTTP2_RESETS_PENDING_MAX)
            .max_local_error_reset_streams(HTTP2_RESETS_SENT_MAX)
            .keep_alive_interval(options.keepalive_interval())
            .keep_alive_timeout(options.keepalive_timeout())
            // gRPC does without, and it would be looked up for each answer.
            .auto_date_header(false);
        // For health, version, metrics and the gateway. Without a timer a header may take for ever.
        builder.http1().timer(TokioTimer::new());
        Self { builder }
    }

    /// Serves a connection until it ends.
    pub async fn serve<S>(self, stream: S, origin: Option<Origin>, ways: Ways)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let served = self.builder.serve_connection(TokioIo::new(stream), Calls { ways, origin }).await;
        if let Err(error) = served {
            tracing::debug!(error, "a connection broke");
        }
    }
}

/// The calls of a connection.
struct Calls {
    ways: Ways,
    origin: Option<Origin>,
}

impl Service<Request<Incoming>> for Calls {
    type Response = Response<Answered>;
    type Error = Infallible;
    type Future = Limited;

    fn call(&self, mut request: Request<Incoming>) -> Limited {
        if let Some(origin) = &self.origin {
            request.extensions_mut().insert(origin.clone());
        }
        let limit = time_given(request.headers()).map(|limit| Box::pin(tokio::time::sleep(limit)));
        Limited { answer: self.ways.call(request), limit }
    }
}

/// An answer that somebody waits for only so long.
struct Limited {
    answer: Answering,
    limit: Option<Pin<Box<Sleep>>>,
}

impl Future for Limited {
    type Output = Result<Response<Answered>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let ready @ Poll::Ready(_) = Pin::new(&mut self.answer).poll(context) {
            return ready;
        }
        let Some(limit) = &mut self.limit else { return Poll::Pending };
        ready!(limit.as_mut().poll(context));
        let late = Status::deadline_exceeded("the time that the client gave this call is over");
        Poll::Ready(Ok(late.into_http::<Body>().map(Answered::from)))
    }
}

/// How long a client waits, as [gRPC](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md) says it: up to eight digits and
/// a unit. What is said otherwise is as if nothing were.
fn time_given(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let plain = (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.parse().ok().filter(|_| plain)?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_a_client_gives_is_read_in_every_unit() {
        let given = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            time_given(&headers)
        };
        let seconds = Duration::from_secs;
        assert_eq!(given("2H"), Some(seconds(7200)));
        assert_eq!(given("3M"), Some(seconds(180)));
        assert_eq!(given("99999999S"), Some(seconds(99_999_999)));
        assert_eq!(given("82m"), Some(Duration::from_millis(82)));
        assert_eq!(given("5u"), Some(Duration::from_micros(5)));
        assert_eq!(given("0n"), Some(Duration::ZERO));
        for nonsense in ["", "S", "1", "1s", "-1S", "+1S", "123456789S", "1 S", "1.5S"] {
            assert_eq!(given(nonsense), None, "{nonsense}");
        }
        assert_eq!(time_given(&HeaderMap::new()), None);
    }
}
