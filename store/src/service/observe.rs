//! Stands before the services: counts calls, times them, says which were slow and why, and does not wait for ever for the
//! body of a request.
//!
//! It sees sizes and codes. What a request says, above all its values, it does not look at.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use tokio::time::Sleep;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::Instrument;

use crate::limits::REQUEST_BODY_TIMEOUT;
use crate::metrics::calls::Method;
use crate::metrics::stages::{self, Slip};
use crate::server::Handle;
use crate::throttle::Throttle;

/// Wraps services.
#[derive(Clone)]
pub struct Observer {
    watch: Arc<Watching>,
}

struct Watching {
    handle: Handle,
    slow: Duration,
    slow_said: Throttle,
}

impl Observer {
    /// For the services of a member.
    pub fn new(handle: &Handle) -> Self {
        let slow = Duration::from_millis(handle.options().warning_unary_request_duration_ms);
        let watch = Watching { handle: handle.clone(), slow, slow_said: Throttle::default() };
        Self { watch: Arc::new(watch) }
    }
}

impl<S> Layer<S> for Observer {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed { inner, watch: self.watch.clone() }
    }
}

/// A service that is observed.
#[derive(Clone)]
pub struct Observed<S> {
    inner: S,
    watch: Arc<Watching>,
}

impl<S, In, Out> Service<Request<In>> for Observed<S>
where
    S: Service<Request<Counted<In>>, Response = Response<Out>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<Counted<Out>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<In>) -> Self::Future {
        let Some(method) = self.watch.handle.calls().method(request.uri().path()) else {
            // What is no method of the protocol is refused by whoever is behind us, and leaves no trace in metrics.
            let answer = self.inner.call(request.map(|body| Counted::new(body, Side::Unknown)));
            return Box::pin(async move { Ok(answer.await?.map(|body| Counted::new(body, Side::Unknown))) });
        };
        let call = Arc::new(Call {
            method: method.clone(),
            begun: Instant::now(),
            slip: Arc::default(),
            received_bytes: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            watch: self.watch.clone(),
        });
        method.started.one();
        let span = tracing::debug_span!("call", service = method.service, method = method.name);
        let end = End { call: call.clone(), code: None };
        let answer =
            self.inner.call(request.map(|body| Counted::new(body, Side::Request(call.clone(), None))));
        let answer = async move {
            let mut end = end;
            let answer = stages::carrying(call.slip.clone(), answer).await?;
            // A refusal has no body: its code is among the headers.
            end.read(answer.headers());
            Ok(answer.map(|body| Counted::new(body, Side::Answer(end))))
        };
        // Most of the time nobody looks, and a span that says nothing is asked with each turn all the same.
        if span.is_disabled() { Box::pin(answer) } else { Box::pin(answer.instrument(span)) }
    }
}

/// One call.
struct Call {
    method: Arc<Method>,
    begun: Instant,
    slip: Arc<Slip>,
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    watch: Arc<Watching>,
}

impl Call {
    fn ended(&self, code: Code) {
        self.method.ended(code);
        let took = self.begun.elapsed();
        if self.method.is_unary() && took >= self.watch.slow {
            self.say(took, code);
        }
    }

    fn say(&self, took: Duration, code: Code) {
        let Some(left_out) = self.watch.slow_said.pass() else { return };
        let handle = &self.watch.handle;
        let spent = self.slip.spent();
        let of = |timed: &raft::meters::Timed| {
            let (begin, end) = spent.proposed.unwrap_or((self.begun, self.begun));
            timed.recent.within(begin, end)
        };
        let (sync, apply) = (of(handle.raft().meters().syncs()), of(&handle.machine().metrics().applies));
        // What is neither is spent in queues, on the way to other members and with them.
        let elsewhere = spent.propose.saturating_sub(sync + apply);
        tracing::warn!(
            service = self.method.service,
            method = self.method.name,
            ?code,
            took_ms = took.as_millis(),
            request_bytes = self.received_bytes.load(Ordering::Relaxed),
            answer_bytes = self.sent_bytes.load(Ordering::Relaxed),
            revision = handle.revision().0,
            confirm_ms = spent.confirm.as_millis(),
            propose_ms = spent.propose.as_millis(),
            queue_and_quorum_ms = elsewhere.as_millis(),
            sync_ms = sync.as_millis(),
            apply_ms = apply.as_millis(),
            read_ms = spent.read.as_millis(),
            left_out,
            "a request took long"
        );
    }
}

/// Notes how a call ends: told, or dropped because the client went away.
struct End {
    call: Arc<Call>,
    code: Option<Code>,
}

impl End {
    fn read(&mut self, headers: &HeaderMap) {
        if let Some(code) = headers.get("grpc-status") {
            self.code = Some(Code::from_bytes(code.as_bytes()));
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.call.ended(self.code.unwrap_or(Code::Cancelled));
    }
}

/// Whose body it is.
enum Side {
    Request(Arc<Call>, Option<Pin<Box<Sleep>>>),
    Answer(End),
    Unknown,
}

/// A body whose messages are counted.
pub struct Counted<B> {
    inner: B,
    side: Side,
    messages: Messages,
}

impl<B> Counted<B> {
    fn new(inner: B, side: Side) -> Self {
        Self { inner, side, messages: Messages::default() }
    }

    fn count(&mut self, data: &Bytes) {
        let (count, bytes) = (self.messages.feed(data), data.len() as u64);
        match &self.side {
            Side::Request(call, _) => {
                call.method.received.more(count);
                call.received_bytes.fetch_add(bytes, Ordering::Relaxed);
                call.watch.handle.calls().received_bytes.more(bytes);
            }
            Side::Answer(End { call, .. }) => {
                call.method.sent.more(count);
                call.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
                call.watch.handle.calls().sent_bytes.more(bytes);
            }
            Side::Unknown => {}
        }
    }

    /// Fails when the only message of a request does not come.
    fn patience(&mut self, context: &mut Context<'_>) -> Result<(), Status> {
        match &mut self.side {
            Side::Request(call, patience) if call.method.is_unary() => {
                let ends = patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(REQUEST_BODY_TIMEOUT)));
                match ends.as_mut().poll(context) {
                    Poll::Ready(()) => Err(Status::deadline_exceeded("the request takes too long to arrive")),
                    Poll::Pending => Ok(()),
                }
            }
            Side::Request(..) | Side::Answer(_) | Side::Unknown => Ok(()),
        }
    }
}

impl<B> Body for Counted<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match Pin::new(&mut self.inner).poll_frame(context) {
            Poll::Pending => match self.patience(context) {
                Ok(()) => Poll::Pending,
                Err(late) => Poll::Ready(Some(Err(late))),
            },
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    self.count(data);
                } else if let (Some(trailers), Side::Answer(end)) = (frame.trailers_ref(), &mut self.side) {
                    end.read(trailers);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(Status::from_error(error.into())))),
            Poll::Ready(None) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.size_hint()
    }
}

/// Finds where messages begin: each has a head of five bytes, a flag and a length.
#[derive(Default)]
struct Messages {
    /// Bytes of the head that have come.
    head: usize,
    length: u32,
    /// Bytes of the message that are still to come.
    left: usize,
}

const HEAD_BYTES: usize = 5;

impl Messages {
    /// How many messages begin here.
    fn feed(&mut self, data: &Bytes) -> u64 {
        let (mut rest, mut count) = (&data[..], 0);
        while !rest.is_empty() {
            if self.left > 0 {
                let some = self.left.min(rest.len());
                rest.advance(some);
                self.left -= some;
                continue;
            }
            let byte = rest.get_u8();
            if self.head > 0 {
                self.length = self.length << 8 | u32::from(byte);
            }
            self.head += 1;
            if self.head == HEAD_BYTES {
                count += 1;
                *self = Self { left: self.length as usize, ..Self::default() };
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_in_whatever_pieces_they_come() {
        let mut stream = Vec::new();
        for length in [0_u32, 1, 300, 70_000] {
            stream.push(0);
            stream.extend_from_slice(&length.to_be_bytes());
            stream.resize(stream.len() + length as usize, 7);
        }
        for size in [1, 2, 3, 5, 7, 1000, stream.len()] {
            let mut messages = Messages::default();
            let count: u64 =
                stream.chunks(size).map(|piece| messages.feed(&Bytes::copy_from_slice(piece))).sum();
            assert_eq!(count, 4, "in pieces of {size}");
        }
    }
}
