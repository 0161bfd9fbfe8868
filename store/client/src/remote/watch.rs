//! A watch over the network that outlives its connection.

use std::collections::VecDeque;
use std::time::Duration;

use futures::stream;
use proto::etcd::etcdserverpb as pb;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{RemoteKv, convert};
use crate::limits::{REMOTE_PROGRESS_INTERVAL, REMOTE_RESPONSE_BYTES_MAX, REMOTE_RETRY_INTERVAL};
use crate::{Error, Revision, Watch, WatchMessage, WatchStream};

/// The stream of a watch.
pub(super) fn stream(kv: RemoteKv, watch: Watch) -> WatchStream {
    let next = watch.start.0;
    let state =
        Remote { kv, watch, next, connection: None, ready: VecDeque::new(), created: false, ended: false };
    Box::pin(stream::unfold(state, |mut state| async move {
        if state.ended {
            return None;
        }
        let message = state.message().await;
        state.ended = message.is_err();
        Some((message, state))
    }))
}

struct Remote {
    kv: RemoteKv,
    watch: Watch,
    /// The first revision not delivered; 0 until it is known.
    next: i64,
    connection: Option<Connection>,
    ready: VecDeque<WatchMessage>,
    /// The consumer was told that the watch stands; it need not know how often.
    created: bool,
    ended: bool,
}

struct Connection {
    requests: mpsc::Sender<pb::WatchRequest>,
    responses: Streaming<pb::WatchResponse>,
    progress: Interval,
}

impl Remote {
    async fn message(&mut self) -> Result<WatchMessage, Error> {
        let mut lost_at: Option<Instant> = None;
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Ok(message);
            }
            let outcome = match self.connection.take() {
                Some(connection) => self.receive(connection).await,
                None => self.connect().await,
            };
            let Err(lost) = outcome else {
                lost_at = None;
                continue;
            };
            let lost = lost?;
            let patience = Duration::from_millis(self.kv.shared.options.resume_timeout_ms);
            let since = *lost_at.get_or_insert_with(Instant::now);
            if since.elapsed() >= patience {
                return Err(convert::error(&lost));
            }
            tracing::debug!(%lost, next = self.next, "a watch lost its connection and resumes");
            tokio::time::sleep(REMOTE_RETRY_INTERVAL).await;
        }
    }

    /// Opens a stream and asks for the watch. `Err(Ok)` is a connection lost, `Err(Err)` the end of the watch.
    async fn connect(&mut self) -> Result<(), Result<Status, Error>> {
        let (requests, outgoing) = mpsc::channel(4);
        let (key, range_end) = convert::keys(&self.watch.keys);
        let create = pb::WatchCreateRequest {
            key,
            range_end,
            start_revision: self.next,
            prev_kv: self.watch.prev_kv,
            ..Default::default()
        };
        let create = pb::watch_request::RequestUnion::CreateRequest(create);
        let first = pb::WatchRequest { request_union: Some(create) };
        requests.try_send(first).expect("the channel is new and empty");
        let mut client = pb::watch_client::WatchClient::new(self.kv.channel())
            .max_decoding_message_size(REMOTE_RESPONSE_BYTES_MAX);
        let mut request = tonic::Request::new(ReceiverStream::new(outgoing));
        // A member cut off from its leader would be silent; this way it says so and we go elsewhere.
        request.metadata_mut().insert("hasleader", tonic::metadata::MetadataValue::from_static("true"));
        let timeout = Duration::from_millis(self.kv.shared.options.request_timeout_ms);
        let opened = tokio::time::timeout(timeout, client.watch(request)).await;
        let responses = match opened {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return Err(Ok(status)),
            Err(_elapsed) => return Err(Ok(Status::unavailable("no answer to a watch"))),
        };
        let mut progress = interval(REMOTE_PROGRESS_INTERVAL);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.connection = Some(Connection { requests, responses, progress });
        Ok(())
    }

    /// Takes one response and keeps the connection if it is still good.
    async fn receive(&mut self, mut connection: Connection) -> Result<(), Result<Status, Error>> {
        let response = loop {
            tokio::select! {
                response = connection.responses.message() => break response,
                _ = connection.progress.tick(), if self.watch.progress && self.created => {
                    let ask = pb::watch_request::RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
                    // When the request before is still waiting, its answer will do.
                    let _full = connection.requests.try_send(pb::WatchRequest { request_union: Some(ask) });
                }
            }
        };
        match response {
            Ok(Some(response)) => {
                self.take(response)?;
                self.connection = Some(connection);
                Ok(())
            }
            Ok(None) => Err(Ok(Status::unavailable("the watch stream ended"))),
            Err(status) => Err(Ok(status)),
        }
    }

    fn take(&mut self, response: pb::WatchResponse) -> Result<(), Result<Status, Error>> {
        let revision = convert::revision(&response.header);
        if response.canceled {
            return Err(if response.compact_revision > 0 {
                Err(Error::Compacted { oldest: Revision(response.compact_revision) })
            } else {
                Err(Error::Invalid(format!("the watch was refused: {}", response.cancel_reason)))
            });
        }
        if response.created {
            if self.next <= 0 {
                self.next = revision.0 + 1;
            }
            if !std::mem::replace(&mut self.created, true) {
                self.ready.push_back(WatchMessage::Created { revision });
            }
            return Ok(());
        }
        if response.events.is_empty() {
            if self.watch.progress && revision.0 >= self.next {
                self.next = revision.0 + 1;
                self.ready.push_back(WatchMessage::Progress { revision });
            }
            return Ok(());
        }
        // A server may put several revisions into a response; a consumer gets one at a time.
        let changes = response.events.into_iter().map(convert::change);
        for change in changes {
            let revision = change.kv.mod_revision;
            match self.ready.back_mut() {
                Some(WatchMessage::Changes { revision: last, changes }) if *last == revision => {
                    changes.push(change);
                }
                _ => self.ready.push_back(WatchMessage::Changes { revision, changes: vec![change] }),
            }
            self.next = self.next.max(revision.0 + 1);
        }
        Ok(())
    }
}
