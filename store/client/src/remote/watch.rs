//! A watch over the network that outlives its connection.

use std::collections::VecDeque;
use std::time::Duration;

use futures::stream;
use proto::etcd::etcdserverpb as pb;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::login::{Introduction, Line};
use super::{RemoteKv, convert};
use crate::limits::{
    REMOTE_LOGINS_MAX, REMOTE_PROGRESS_INTERVAL, REMOTE_RESPONSE_BYTES_MAX, REMOTE_RETRY_INTERVAL,
};
use crate::{Denial, Error, Revision, Watch, WatchMessage, WatchStream};

/// The stream of a watch.
pub(super) fn stream(kv: RemoteKv, watch: Watch) -> WatchStream {
    let next = watch.start.0;
    let state = Remote {
        kv,
        watch,
        next,
        connection: None,
        ready: VecDeque::new(),
        created: false,
        logins: 0,
        ended: false,
    };
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
    /// Logins since the watch last stood.
    logins: usize,
    ended: bool,
}

struct Connection {
    introduction: Introduction,
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
        let mut request = tonic::Request::new(ReceiverStream::new(outgoing));
        // A member cut off from its leader would be silent; this way it says so and we go elsewhere.
        request.metadata_mut().insert("hasleader", tonic::metadata::MetadataValue::from_static("true"));
        let timeout = Duration::from_millis(self.kv.shared.options.request_timeout_ms);
        let channel = self.kv.channel();
        let opened = tokio::time::timeout(timeout, async {
            let introduction = match self.kv.shared.desk.introduction(&channel).await {
                Ok(introduction) => introduction,
                Err(status) => return (None, Err(status)),
            };
            let mut client = pb::watch_client::WatchClient::new(Line::new(channel, introduction.clone()))
                .max_decoding_message_size(REMOTE_RESPONSE_BYTES_MAX);
            (Some(introduction), client.watch(request).await)
        });
        let (introduction, responses) = match opened.await {
            Ok((Some(introduction), Ok(response))) => (introduction, response.into_inner()),
            Ok((introduction, Err(status))) => return Err(self.refused(introduction, status).await),
            Ok((None, Ok(_))) => unreachable!("nobody asks without an introduction"),
            Err(_elapsed) => return Err(Ok(Status::unavailable("no answer to a watch"))),
        };
        let mut progress = interval(REMOTE_PROGRESS_INTERVAL);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.connection = Some(Connection { introduction, requests, responses, progress });
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
            Ok(Some(response)) if response.canceled => {
                Err(self.canceled(connection.introduction, &response).await)
            }
            Ok(Some(response)) => {
                self.take(response);
                self.connection = Some(connection);
                Ok(())
            }
            Ok(None) => Err(Ok(Status::unavailable("the watch stream ended"))),
            Err(status) => Err(self.refused(Some(connection.introduction), status).await),
        }
    }

    /// What a refusal means: something to try again, perhaps after another login, or the end.
    async fn refused(&mut self, introduction: Option<Introduction>, status: Status) -> Result<Status, Error> {
        let Some(denial) = Denial::of_status(status.message()) else { return Ok(status) };
        let renewed = match &introduction {
            Some(introduction) => self.kv.shared.desk.renew(introduction, status.message()).await,
            None => false,
        };
        if !renewed || self.logins >= REMOTE_LOGINS_MAX {
            return Err(denial.into());
        }
        self.logins += 1;
        Ok(status)
    }

    /// How a watch ends that a member does not want to serve, or not any more.
    async fn canceled(
        &mut self,
        introduction: Introduction,
        response: &pb::WatchResponse,
    ) -> Result<Status, Error> {
        if response.compact_revision > 0 {
            return Err(Error::Compacted { oldest: Revision(response.compact_revision) });
        }
        let reason = &response.cancel_reason;
        // Denials are told as Go prints them.
        let message = reason.split_once(" desc = ").map_or(reason.as_str(), |(_, message)| message);
        if Denial::of_status(message).is_none() {
            return Err(Error::Invalid(format!("the watch was refused: {reason}")));
        }
        self.refused(Some(introduction), Status::unauthenticated(message)).await
    }

    fn take(&mut self, response: pb::WatchResponse) {
        let revision = convert::revision(&response.header);
        if response.created {
            self.logins = 0;
            if self.next <= 0 {
                self.next = revision.0 + 1;
            }
            if !std::mem::replace(&mut self.created, true) {
                self.ready.push_back(WatchMessage::Created { revision });
            }
            return;
        }
        if response.events.is_empty() {
            if self.watch.progress && revision.0 >= self.next {
                self.next = revision.0 + 1;
                self.ready.push_back(WatchMessage::Progress { revision });
            }
            return;
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
    }
}
