//! Many watches on one stream.
//!
//! Each watch is a task that forwards its events into one bounded queue; when the client reads slowly the queue
//! fills, the tasks wait, and the watch cache cuts whoever falls behind its own bound. Dropping the stream ends
//! all of its watches.

use std::collections::HashMap;

use api::Status;
use futures::{Stream, StreamExt};
use proto::objects as wire;
use registry::{Event, EventKind, WatchOptions, WatchStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Streaming;

use super::{Call, convert};
use crate::{limits, request::Attributes, rest::Review};

type Answers = mpsc::Sender<Result<wire::WatchResponse, tonic::Status>>;

/// Serves the requests of one client.
pub fn multiplex(
    call: Call,
    requests: Streaming<wire::WatchRequest>,
) -> impl Stream<Item = Result<wire::WatchResponse, tonic::Status>> + Send {
    let (answers, stream) = mpsc::channel(limits::GRPC_WATCH_QUEUE);
    let ended = call.gateway.closing.child_token();
    let guard = ended.clone().drop_guard();
    let tasks = call.gateway.tasks.clone();
    tasks.spawn(async move {
        tokio::select! {
            () = ended.cancelled() => {}
            () = serve(call, requests, answers, ended.clone()) => {}
        }
    });
    Held { stream: ReceiverStream::new(stream), _guard: guard }
}

/// The answers, which end all watches when dropped.
struct Held {
    stream: ReceiverStream<Result<wire::WatchResponse, tonic::Status>>,
    _guard: DropGuard,
}

impl Stream for Held {
    type Item = Result<wire::WatchResponse, tonic::Status>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.stream.poll_next_unpin(context)
    }
}

async fn serve(
    call: Call,
    mut requests: Streaming<wire::WatchRequest>,
    answers: Answers,
    ended: CancellationToken,
) {
    let mut open: HashMap<u64, CancellationToken> = HashMap::new();
    let (finished, mut done) = mpsc::channel::<u64>(limits::GRPC_WATCHES_MAX);
    loop {
        let request = tokio::select! {
            Some(id) = done.recv() => {
                open.remove(&id);
                continue;
            }
            request = requests.next() => request,
        };
        let Some(Ok(wire::WatchRequest { watch_id: id, action })) = request else { break };
        match action {
            Some(wire::watch_request::Action::Start(start)) => {
                if open.contains_key(&id) || open.len() >= limits::GRPC_WATCHES_MAX {
                    let status =
                        Status::bad_request(format!("watch {id} is already open, or there are too many"));
                    send_end(&answers, id, Some(&status)).await;
                    continue;
                }
                let stop = ended.child_token();
                open.insert(id, stop.clone());
                let (call, answers, finished) = (call.clone(), answers.clone(), finished.clone());
                let tasks = call.gateway.tasks.clone();
                tasks.spawn(async move {
                    one(call, id, start, answers, stop).await;
                    let _ = finished.send(id).await;
                });
            }
            Some(wire::watch_request::Action::Stop(_)) => {
                if let Some(stop) = open.get(&id) {
                    stop.cancel();
                }
            }
            None => {}
        }
    }
    // The client sends no more requests; its watches go on until it drops the stream.
    while !open.is_empty() {
        match done.recv().await {
            Some(id) => open.remove(&id),
            None => break,
        };
    }
}

/// Ends a watch in the client's eyes. The client may be gone; then nobody is to be told.
async fn send_end(answers: &Answers, id: u64, status: Option<&Status>) {
    let status = status.map(|s| convert::json(s).into()).unwrap_or_default();
    let end = wire::WatchResponse { watch_id: id, events: Vec::new(), ended: true, status };
    let _ = answers.send(Ok(end)).await;
}

async fn one(call: Call, id: u64, start: wire::WatchStart, answers: Answers, stop: CancellationToken) {
    let (events, review) = match open(&call, start).await {
        Ok(opened) => opened,
        Err(status) => return send_end(&answers, id, Some(&status)).await,
    };
    call.gateway.metrics.watches.inc();
    let end = tokio::select! {
        () = stop.cancelled() => None,
        () = review.refused() => Some(Status::failure(api::Reason::Forbidden, "the right to watch was taken away")),
        failure = forward(id, events, &answers) => failure,
    };
    call.gateway.metrics.watches.dec();
    send_end(&answers, id, end.as_ref()).await;
}

async fn open(call: &Call, start: wire::WatchStart) -> Result<(WatchStream, Review), Status> {
    let scope = convert::scope(start.resource, start.namespace)?;
    let what = Attributes::of_many("watch", &scope, &start.field_selector, &start.label_selector);
    let options = WatchOptions {
        label_selector: start.label_selector,
        field_selector: start.field_selector,
        resource_version: start.resource_version,
        bookmarks: start.bookmarks,
        send_initial_events: start.send_initial_events,
    };
    let events = call.perform(&what, call.gateway.registry.watch(&scope, &options)).await?;
    Ok((events, Review::new(call.gateway.authorizer.clone(), call.who.clone(), what)))
}

/// Forwards events, several in one message when they are ready together, until the watch ends by itself.
async fn forward(id: u64, events: WatchStream, answers: &Answers) -> Option<Status> {
    let mut batches = events.ready_chunks(limits::WATCH_BATCH_EVENTS);
    while let Some(batch) = batches.next().await {
        let mut events = Vec::with_capacity(batch.len());
        let mut size = 0;
        let mut failure = None;
        for event in batch {
            match event {
                Ok(event) => {
                    let event = encode(&event);
                    if size > 0 && size + event.object.len() > limits::GRPC_CHUNK_BYTES {
                        send(answers, id, std::mem::take(&mut events)).await?;
                        size = 0;
                    }
                    size += event.object.len();
                    events.push(event);
                }
                Err(status) => failure = Some(status),
            }
        }
        if !events.is_empty() {
            send(answers, id, events).await?;
        }
        if failure.is_some() {
            return failure;
        }
    }
    None
}

/// `None` when the client is gone.
async fn send(answers: &Answers, id: u64, events: Vec<wire::WatchEvent>) -> Option<()> {
    let message = wire::WatchResponse { watch_id: id, events, ended: false, status: bytes::Bytes::new() };
    answers.send(Ok(message)).await.ok()
}

fn encode(event: &Event) -> wire::WatchEvent {
    use wire::watch_event::Type;
    let kind = match event.kind {
        EventKind::Added => Type::Added,
        EventKind::Modified => Type::Modified,
        EventKind::Deleted => Type::Deleted,
        EventKind::Bookmark | EventKind::InitialEventsEnd => Type::Bookmark,
    };
    wire::WatchEvent {
        r#type: kind.into(),
        object: event.object.as_ref().map(|o| o.json.clone()).unwrap_or_default(),
        resource_version: if event.object.is_none() { event.revision.to_string() } else { String::new() },
        initial_events_end: event.kind == EventKind::InitialEventsEnd,
    }
}
