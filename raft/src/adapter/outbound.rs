//! Our connections as openraft's network. One stream carries all appends to a peer, pipelined: the next message
//! leaves while earlier ones are still being synced over there.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use openraft::alias::{SnapshotOf, VoteOf};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{
    Backoff, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote, RPCOption,
    RaftNetworkFactory,
};
use openraft::raft::{
    AppendEntriesRequest, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RPCTypes};
use parking_lot::Mutex;
use proto::raft::Frame;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Status, Streaming};

use super::flight::Flight;
use super::machine::Image;
use super::{Types, convert};
use crate::codec;
use crate::limits;
use crate::member::{Member, MemberId};
use crate::meters::Histogram;
use crate::network::{CallError, Lane, Peers};
use crate::record;
use crate::snapshot::{self, Discard};

type BoxFuture<'s, T> = futures::future::BoxFuture<'s, T>;
type RpcError = RPCError<Types>;

/// Makes connections.
#[derive(Clone)]
pub(crate) struct Factory {
    peers: Peers,
    #[cfg(feature = "known-bugs")]
    hearsay: super::hearsay::Hearsay,
}

impl Factory {
    pub(crate) fn new(peers: Peers) -> Self {
        Self {
            peers,
            #[cfg(feature = "known-bugs")]
            hearsay: Default::default(),
        }
    }

    fn link(&self, target: u64, member: &Member, lane: Lane) -> Link {
        let target = MemberId(target);
        self.peers.learn(target, &member.peer_url);
        Link {
            peers: self.peers.clone(),
            target,
            lane,
            #[cfg(feature = "known-bugs")]
            hearsay: self.hearsay.clone(),
        }
    }
}

impl RaftNetworkFactory<Types> for Factory {
    type Network = Link;

    async fn new_client(&mut self, target: u64, node: &Member) -> Link {
        self.link(target, node, Lane::Log)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Member) -> Link {
        self.link(target, node, Lane::Pulse)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &Member) -> Link {
        self.link(target, node, Lane::Bulk)
    }
}

/// A connection to one member for one purpose.
pub(crate) struct Link {
    peers: Peers,
    target: MemberId,
    lane: Lane,
    #[cfg(feature = "known-bugs")]
    hearsay: super::hearsay::Hearsay,
}

fn rpc_error(error: CallError) -> RpcError {
    match error {
        // Both make openraft back off before it tries again.
        CallError::NotSent(_) | CallError::Foreign(_) => Unreachable::from_string(error).into(),
        CallError::Lost(_) => NetworkError::from_string(error).into(),
    }
}

fn malformed(error: codec::DecodeError) -> RpcError {
    NetworkError::from_string(error).into()
}

fn payload<T: codec::Encode>(record: &T) -> Frame {
    Frame { payload: Bytes::from(codec::encode(record)) }
}

/// What a unary call of openraft is.
#[derive(Clone, Copy)]
enum Call {
    Vote,
    PreVote,
    TransferLeader,
}

impl Link {
    fn timeout(&self, action: RPCTypes, timeout: Duration) -> RpcError {
        Timeout { action, id: self.peers.identity().member.0, target: self.target.0, timeout }.into()
    }

    async fn call(&self, call: Call, message: Frame, within: Duration) -> Result<Bytes, RpcError> {
        // Votes go ahead of entries.
        let mut client = self.peers.client(self.target, Lane::Pulse).map_err(rpc_error)?;
        let request = self.peers.sign(self.target, message);
        let answer = async {
            match call {
                Call::Vote => client.vote(request).await,
                Call::PreVote => client.pre_vote(request).await,
                Call::TransferLeader => client.transfer_leader(request).await,
            }
        };
        let action = match call {
            Call::Vote | Call::PreVote => RPCTypes::Vote,
            Call::TransferLeader => RPCTypes::TransferLeader,
        };
        match tokio::time::timeout(within, answer).await {
            Ok(Ok(answer)) => {
                self.peers.recognize(self.target, answer.metadata()).map_err(rpc_error)?;
                Ok(answer.into_inner().payload)
            }
            Ok(Err(status)) => Err(rpc_error(status.into())),
            Err(_) => Err(self.timeout(action, within)),
        }
    }

    async fn ballot(
        &self,
        call: Call,
        request: VoteRequest<Types>,
        within: Duration,
    ) -> Result<VoteResponse<Types>, RpcError> {
        let answer = self.call(call, payload(&convert::ballot_record(&request)), within).await?;
        codec::decode_owned(&answer).map(convert::ballot_answer).map_err(malformed)
    }

    async fn open_stream<S>(&self, input: S) -> Result<Answers, RpcError>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
    {
        let mut client = self.peers.client(self.target, self.lane).map_err(rpc_error)?;
        let flight = Flight::default();
        let input = flight.of(input);
        let over = CancellationToken::new();
        // The transport holds on to what we send until it ends, and openraft opens no new stream before it lets go.
        let input = input.take_until(over.clone().cancelled_owned());
        let over = over.drop_guard();
        let trips =
            (self.lane == Lane::Pulse).then(|| Trips::new(self.peers.meters().round_trip(self.target)));
        let begun = trips.clone();
        #[cfg(feature = "known-bugs")]
        let hearsay = self.hearsay.stream(self.target.0);
        #[cfg(feature = "known-bugs")]
        let sending = hearsay.clone();
        let frames = input.map(move |request| {
            begun.iter().for_each(Trips::begin);
            let record = convert::append_record(&request);
            #[cfg(feature = "known-bugs")]
            sending.sent(&record);
            payload(&record)
        });
        let call = client.append(self.peers.sign(self.target, frames));
        let within = limits::CONNECT_TIMEOUT * 2;
        let stream = match tokio::time::timeout(within, call).await {
            Ok(Ok(response)) => {
                self.peers.recognize(self.target, response.metadata()).map_err(rpc_error)?;
                response.into_inner()
            }
            Ok(Err(status)) => return Err(rpc_error(status.into())),
            Err(_) => return Err(self.timeout(RPCTypes::AppendEntries, within)),
        };
        Ok(Answers {
            stream,
            flight,
            trips,
            #[cfg(feature = "known-bugs")]
            hearsay,
            _over: over,
        })
    }

    async fn send_snapshot(&self, vote: VoteOf<Types>, image: Image) -> Result<Bytes, StreamingError<Types>> {
        let unavailable = |detail: String| StreamingError::from(Unreachable::from_string(detail));
        let Image::Here(machine) = image else {
            return Err(unavailable("only the state of this member can be sent".into()));
        };
        let made = machine.checkpoint().await;
        let (path, position) = made.map_err(|error| unavailable(error.to_string()))?;
        let image = Discard { images: machine.images().clone(), path };
        let header = codec::encode(&record::SnapshotHeader { vote: convert::vote_record(&vote), position });
        // The stream ends early when a file cannot be read, and the receiver notices.
        let work = machine.work();
        let chunks = snapshot::chunks(image.path.clone(), header, work).scan((), |(), chunk| {
            let chunk = chunk.inspect_err(|error| tracing::warn!(%error, "cannot read an image"));
            std::future::ready(chunk.ok())
        });
        let client = self.peers.client(self.target, self.lane);
        let mut client = client.map_err(|error| StreamingError::from(rpc_error(error)))?;
        let request = self.peers.sign(self.target, Box::pin(chunks));
        let answer = client
            .snapshot(request)
            .await
            .map_err(|status| StreamingError::from(rpc_error(status.into())))?;
        drop(image);
        Ok(answer.into_inner().payload)
    }
}

/// Times signs of life, which go one at a time.
#[derive(Clone)]
struct Trips {
    seen: Arc<Histogram>,
    begun: Arc<Mutex<Option<Instant>>>,
}

impl Trips {
    fn new(seen: Arc<Histogram>) -> Self {
        Self { seen, begun: Arc::default() }
    }

    fn begin(&self) {
        *self.begun.lock() = Some(Instant::now());
    }

    fn end(&self) {
        if let Some(begun) = self.begun.lock().take() {
            self.seen.observe(begun.elapsed());
        }
    }
}

/// Answers to appends, in order.
struct Answers {
    stream: Streaming<Frame>,
    flight: Flight,
    trips: Option<Trips>,
    #[cfg(feature = "known-bugs")]
    hearsay: super::hearsay::Stream,
    /// Ends what we send when nobody awaits the answers any more.
    _over: DropGuard,
}

impl Answers {
    /// The next answer; `None` when the peer has ended the stream.
    async fn next(&mut self, link: &Link) -> Option<Result<StreamAppendResult<Types>, RpcError>> {
        self.flight.seen();
        loop {
            let answer = self.receive(link).await?;
            let is_last = self.flight.answered();
            if is_last || !matches!(answer, Ok(Ok(_))) {
                return Some(answer);
            }
        }
    }

    async fn receive(&mut self, link: &Link) -> Option<Result<StreamAppendResult<Types>, RpcError>> {
        let frame = loop {
            match tokio::time::timeout(limits::APPEND_ANSWER_MAX, self.stream.message()).await {
                Ok(frame) => break frame,
                Err(_) if self.flight.is_empty() => {}
                Err(_) => return Some(Err(link.timeout(RPCTypes::AppendEntries, limits::APPEND_ANSWER_MAX))),
            }
        };
        self.trips.iter().for_each(Trips::end);
        let frame = frame.transpose()?;
        Some(match frame {
            Ok(frame) => {
                let answer = codec::decode_owned(&frame.payload);
                #[cfg(feature = "known-bugs")]
                let answer = answer.map(|answer| self.hearsay.heard(answer));
                answer.map(convert::appended).map_err(malformed)
            }
            Err(status) => Err(stream_error(status)),
        })
    }
}

fn stream_error(status: Status) -> RpcError {
    match CallError::from(status) {
        // The connection broke: wait a little before it is opened anew.
        CallError::Lost(detail) => Unreachable::from_string(detail).into(),
        other => rpc_error(other),
    }
}

impl NetStreamAppend<Types> for Link {
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<Types>, RpcError>>, RpcError>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            // Asking for the first message is where openraft waits after a failure. To connect first would be to
            // try a dead peer as fast as it can refuse.
            let mut input = input;
            let Some(first) = input.next().await else { return Ok(futures::stream::empty().boxed()) };
            let input = futures::stream::iter([first]).chain(input);
            let answers = self.open_stream(input).await?;
            let link = &*self;
            let answers = futures::stream::unfold(Some(answers), move |state| async move {
                let mut answers = state?;
                let answer = answers.next(link).await?;
                // After an error or a refusal nothing follows.
                let rest = matches!(answer, Ok(Ok(_))).then_some(answers);
                Some((answer, rest))
            });
            Ok(answers.boxed())
        })
    }
}

impl NetVote<Types> for Link {
    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RpcError> {
        self.ballot(Call::Vote, rpc, option.soft_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RpcError> {
        self.ballot(Call::PreVote, rpc, option.soft_ttl()).await
    }
}

impl NetTransferLeader<Types> for Link {
    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RpcError> {
        let message = payload(&convert::transfer_record(&req));
        let answer = self.call(Call::TransferLeader, message, option.soft_ttl()).await?;
        codec::decode_owned(&answer).map(convert::transfer_answer).map_err(malformed)
    }
}

impl NetSnapshot<Types> for Link {
    type SnapshotData = Image;

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Types>,
        snapshot: SnapshotOf<Types, Image>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let send =
            tokio::time::timeout(limits::SNAPSHOT_TRANSFER_MAX, self.send_snapshot(vote, snapshot.snapshot));
        let answer = tokio::select! {
            closed = cancel => return Err(closed.into()),
            answer = send => answer,
        };
        let answer = answer.map_err(|_| {
            StreamingError::from(self.timeout(RPCTypes::InstallSnapshot, limits::SNAPSHOT_TRANSFER_MAX))
        })??;
        let answer: record::SnapshotAnswer =
            codec::decode_owned(&answer).map_err(|error| StreamingError::from(malformed(error)))?;
        Ok(SnapshotResponse::new(convert::vote(answer.vote)))
    }
}

impl NetBackoff<Types> for Link {
    fn backoff(&self) -> Option<Backoff> {
        let waits = std::iter::successors(Some(limits::BACKOFF_MIN), |wait| {
            Some((*wait * 2).min(limits::BACKOFF_MAX))
        });
        Some(Backoff::new(waits))
    }
}
