//! The streamed verbs: list chunks gathered into one page, and watches.

use api::{
    Status,
    objects::{List, WatchEvent, WatchStream},
};
use futures::StreamExt;
use proto::objects as wire;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{convert, status};

/// The one watch of a stream.
const WATCH_ID: u64 = 1;
/// Requests in flight on one watch: its start and its stop.
const REQUESTS_MAX: usize = 2;

/// The open request side of a watch. Dropping it ends the watch.
pub(super) type Requests = mpsc::Sender<wire::WatchRequest>;

/// Gathers the chunks of one page; the first carries the resource version, the last the continue token.
pub(super) async fn gather(mut chunks: Streaming<wire::ListChunk>) -> Result<List, tonic::Status> {
    let mut list = List::default();
    while let Some(chunk) = chunks.message().await? {
        if !chunk.resource_version.is_empty() {
            list.resource_version = chunk.resource_version;
        }
        if !chunk.r#continue.is_empty() {
            list.continue_token = chunk.r#continue;
        }
        list.items.extend(chunk.items);
    }
    Ok(list)
}

/// A request stream that starts one watch and stays open.
pub(super) fn requests(start: wire::WatchStart) -> (Requests, ReceiverStream<wire::WatchRequest>) {
    let (sender, receiver) = mpsc::channel(REQUESTS_MAX);
    let action = Some(wire::watch_request::Action::Start(start));
    sender
        .try_send(wire::WatchRequest { watch_id: WATCH_ID, action })
        .expect("a new channel has room for the first request");
    (sender, ReceiverStream::new(receiver))
}

/// The events of one watch, until it ends or fails.
pub(super) fn events(requests: Requests, incoming: Streaming<wire::WatchResponse>) -> WatchStream {
    let batches = futures::stream::unfold(Some((requests, incoming)), |state| async move {
        let (requests, mut incoming) = state?;
        match incoming.message().await {
            Ok(Some(response)) if response.ended => Some((vec![Err(end_status(&response))], None)),
            Ok(Some(response)) => {
                let events: Vec<Result<WatchEvent, Status>> =
                    response.events.into_iter().map(convert::event).collect();
                let healthy = events.iter().all(Result::is_ok);
                Some((events, healthy.then_some((requests, incoming))))
            }
            Ok(None) => None,
            Err(failure) => Some((vec![Err(status::from_grpc(&failure))], None)),
        }
    });
    batches.flat_map(futures::stream::iter).boxed()
}

fn end_status(response: &wire::WatchResponse) -> Status {
    if response.status.is_empty() {
        return Status::unavailable("the API server ended the watch");
    }
    status::decode(&response.status)
}
