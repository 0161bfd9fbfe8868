//! The service other members call: checks who calls, then hands the frames inwards.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use proto::raft::peer_server::Peer;
use proto::raft::{ForwardRequest, ForwardResponse, Frame, SnapshotChunk};
use tonic::{Request, Response, Status, Streaming};

use super::incarnations::Mistaken;
use super::{Identity, Incarnations};
use crate::error::Error;
use crate::fuse::Fuse;
use crate::limits;
use crate::member::MemberId;

/// Answers on their way to a peer.
pub(crate) type Answers = Pin<Box<dyn Stream<Item = Result<Frame, Status>> + Send>>;

/// Answers to what a member forwarded.
pub(crate) type Replies = BoxStream<'static, Bytes>;

/// The same as messages.
pub(crate) type ReplyMessages = BoxStream<'static, Result<ForwardResponse, Status>>;

/// Frames of a stream.
pub(crate) type Frames = BoxStream<'static, Result<Bytes, Status>>;

/// What frames mean, which this module must not know.
#[tonic::async_trait]
pub(crate) trait Inbound: Send + Sync + 'static {
    /// Answers a stream of appends, in order.
    fn append(&self, from: MemberId, frames: Frames) -> Frames;
    /// Answers a candidate.
    async fn vote(&self, frame: Bytes) -> Result<Bytes, Status>;
    /// Answers whether a candidate would get the vote.
    async fn pre_vote(&self, frame: Bytes) -> Result<Bytes, Status>;
    /// Takes over the leadership.
    async fn transfer_leader(&self, frame: Bytes) -> Result<Bytes, Status>;
    /// Receives a snapshot.
    async fn snapshot(&self, chunks: Streaming<SnapshotChunk>) -> Result<Bytes, Status>;
    /// Does what another member was asked to do, and answers in order.
    fn forward(&self, requests: Vec<Bytes>) -> Result<Replies, Status>;
}

/// Answers the other members.
#[derive(Clone)]
pub struct Service {
    identity: Identity,
    incarnations: Incarnations,
    fuse: Fuse,
    inbound: Arc<dyn Inbound>,
}

impl Service {
    pub(crate) fn new(
        identity: Identity,
        incarnations: Incarnations,
        fuse: Fuse,
        inbound: Arc<dyn Inbound>,
    ) -> Self {
        Self { identity, incarnations, fuse, inbound }
    }

    fn admit<T>(&self, request: &Request<T>) -> Result<MemberId, Status> {
        let admitted = self.identity.admit(request.metadata());
        let admitted = admitted.and_then(|from| {
            let met = super::identity::recognize(request.metadata(), from, &self.incarnations);
            met.map(|()| from).map_err(|mistaken| self.refuse(mistaken))
        });
        admitted.inspect_err(|status| {
            tracing::warn!(reason = status.message(), "refused a call of a peer");
        })
    }

    /// A member that is not who it was takes no part. If that is us, we end.
    fn refuse(&self, mistaken: Mistaken) -> Status {
        match mistaken {
            Mistaken::Peer(_) => {}
            Mistaken::Ourselves(_) => {
                self.fuse.blow(&Error::damaged("joining the group", mistaken.to_string()));
            }
        }
        Status::permission_denied(mistaken.to_string())
    }

    /// Adds who we are to an answer.
    fn introduced<T>(&self, mut answer: Response<T>) -> Response<T> {
        super::identity::introduce(answer.metadata_mut(), &self.incarnations, |_| false);
        answer
    }
}

fn frame(payload: Bytes) -> Response<Frame> {
    Response::new(Frame { payload })
}

#[tonic::async_trait]
impl Peer for Service {
    type AppendStream = Answers;
    type ForwardStream = ReplyMessages;

    async fn append(
        &self,
        request: Request<Streaming<Frame>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let from = self.admit(&request)?;
        let frames = request.into_inner().map(|frame| frame.map(|frame| frame.payload)).boxed();
        let answers = self.inbound.append(from, frames);
        let answers: Answers = answers.map(|answer| answer.map(|payload| Frame { payload })).boxed();
        Ok(self.introduced(Response::new(answers)))
    }

    async fn vote(&self, request: Request<Frame>) -> Result<Response<Frame>, Status> {
        self.admit(&request)?;
        let answer = self.inbound.vote(request.into_inner().payload).await;
        answer.map(|answer| self.introduced(frame(answer)))
    }

    async fn pre_vote(&self, request: Request<Frame>) -> Result<Response<Frame>, Status> {
        self.admit(&request)?;
        let answer = self.inbound.pre_vote(request.into_inner().payload).await;
        answer.map(|answer| self.introduced(frame(answer)))
    }

    async fn transfer_leader(&self, request: Request<Frame>) -> Result<Response<Frame>, Status> {
        self.admit(&request)?;
        self.inbound.transfer_leader(request.into_inner().payload).await.map(frame)
    }

    async fn snapshot(&self, request: Request<Streaming<SnapshotChunk>>) -> Result<Response<Frame>, Status> {
        self.admit(&request)?;
        let received = self.inbound.snapshot(request.into_inner());
        let received = tokio::time::timeout(limits::SNAPSHOT_TRANSFER_MAX, received).await;
        received.unwrap_or_else(|_| Err(Status::deadline_exceeded("the snapshot took too long"))).map(frame)
    }

    async fn forward(
        &self,
        request: Request<ForwardRequest>,
    ) -> Result<Response<Self::ForwardStream>, Status> {
        self.admit(&request)?;
        let ForwardRequest { cluster_id, payloads } = request.into_inner();
        if cluster_id != self.identity.cluster {
            return Err(Status::permission_denied("a request of another cluster"));
        }
        let (count, limit) = (payloads.len(), limits::FORWARD_REQUESTS_MAX);
        if count > limit {
            return Err(Status::invalid_argument(format!("{count} requests in one message exceed {limit}")));
        }
        Ok(Response::new(gathered(self.inbound.forward(payloads)?)))
    }
}

/// Puts answers that are ready into as few messages as their size allows.
fn gathered(replies: Replies) -> ReplyMessages {
    let mut replies = replies.peekable();
    let messages = futures::stream::poll_fn(move |context| {
        let Some(first) = ready!(replies.poll_next_unpin(context)) else { return Poll::Ready(None) };
        let mut bytes = first.len();
        let mut payloads = vec![first];
        while let Poll::Ready(Some(next)) = Pin::new(&mut replies).poll_peek(context)
            && bytes + next.len() <= limits::FORWARD_BYTES_MAX
        {
            bytes += next.len();
            let Poll::Ready(Some(next)) = replies.poll_next_unpin(context) else { break };
            payloads.push(next);
        }
        Poll::Ready(Some(Ok(ForwardResponse { payloads })))
    });
    messages.boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_share_messages_in_order_and_within_bounds() {
        let large = Bytes::from(vec![1; limits::FORWARD_BYTES_MAX]);
        let small = |text: &'static str| Bytes::from_static(text.as_bytes());
        let replies = futures::stream::iter([small("a"), small("b"), large.clone(), small("c")]);
        let late = futures::stream::once(async move {
            tokio::task::yield_now().await;
            small("d")
        });
        let messages = gathered(replies.chain(late).boxed());
        let messages: Vec<_> = messages.map(|message| message.unwrap().payloads).collect().await;
        assert_eq!(messages, [vec![small("a"), small("b")], vec![large], vec![small("c")], vec![small("d")]]);
    }
}
