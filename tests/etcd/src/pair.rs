//! Our store and etcd side by side: the same calls to both, in the same order, one at a time.

use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use proto::etcd::etcdserverpb::{
    DeleteRangeRequest, PutRequest, StatusRequest, WatchCreateRequest, WatchRequest, WatchResponse,
    maintenance_client::MaintenanceClient, watch_client::WatchClient, watch_create_request::FilterType,
    watch_request::RequestUnion,
};
use proto::etcd::mvccpb::Event;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::answers::{Answer, Asker};
use crate::calls::{Call, Source};
use crate::server::Running;
use crate::ties::untied;

/// Watches that are open at the same time.
const WATCHES: usize = 4;
/// Calls between the opening of watches and the comparison of what they saw.
const CALLS_PER_ROUND: u64 = 60;
/// Longest wait for an event that must come.
const EVENT_MAX: Duration = Duration::from_secs(10);

/// Both servers.
pub struct Pair {
    ours: Side,
    etcd: Side,
    /// Whether etcd checks what a transaction writes before what it reads, and not in the order of its operations.
    checks_writes_first: bool,
}

struct Side {
    asker: Asker,
    channel: Channel,
    _running: Running,
}

impl Side {
    async fn new(running: Running) -> anyhow::Result<Self> {
        let channel = running.connect().await?;
        Ok(Self { asker: Asker::new(channel.clone()), channel, _running: running })
    }
}

/// How much was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Calls.
    pub calls: u64,
    /// Of these, how many both refused.
    pub refused: u64,
    /// Events of watches.
    pub events: u64,
}

/// One watch on both servers.
struct Watching {
    asked: WatchCreateRequest,
    ours: Watch,
    etcd: Watch,
}

struct Watch {
    answers: Streaming<WatchResponse>,
    /// How the server ended it.
    ended: Option<Ended>,
    _requests: mpsc::Sender<WatchRequest>,
}

#[derive(Debug, PartialEq, Eq)]
struct Ended {
    compact_revision: i64,
    reason: String,
}

impl Pair {
    /// Starts both; nothing when etcd is not installed.
    pub async fn start() -> anyhow::Result<Option<Self>> {
        let Some(etcd) = Running::etcd().await? else { return Ok(None) };
        let (ours, etcd) = (Side::new(Running::ours().await?).await?, Side::new(etcd).await?);
        let status = MaintenanceClient::new(etcd.channel.clone()).status(StatusRequest::default()).await?;
        let version = status.into_inner().version;
        let checks_writes_first = ["3.4.", "3.5."].iter().any(|old| version.starts_with(old));
        Ok(Some(Self { ours, etcd, checks_writes_first }))
    }

    /// Compares the answers to so many calls; an error is a difference.
    pub async fn compare(&mut self, seed: u64, calls: u64) -> anyhow::Result<Compared> {
        let mut source = Source::new(seed);
        let mut compared = Compared::default();
        while compared.calls < calls {
            self.round(&mut source, &mut compared)
                .await
                .with_context(|| format!("seed {seed}, after {} calls", compared.calls))?;
        }
        Ok(compared)
    }

    async fn round(&mut self, source: &mut Source, compared: &mut Compared) -> anyhow::Result<()> {
        // Before watches are opened: whether one overtakes a compaction that comes later is a race.
        let compaction = source.compaction();
        match self.both(Call::Compact(compaction)).await? {
            Answer::Refused(..) => compared.refused += 1,
            _ => source.compacted = compaction.revision,
        }
        let mut watches = Vec::with_capacity(WATCHES);
        for number in 0..CALLS_PER_ROUND {
            if number.is_multiple_of(CALLS_PER_ROUND / WATCHES as u64) {
                let asked = source.watch();
                let ours = open(&self.ours.channel, asked.clone()).await?;
                let etcd = open(&self.etcd.channel, asked.clone()).await?;
                watches.push(Watching { asked, ours, etcd });
            }
            let answer = self.both(source.call()).await?;
            compared.calls += 1;
            compared.refused += u64::from(matches!(answer, Answer::Refused(..)));
            source.revision = answer.revision().unwrap_or(source.revision);
        }
        for watching in watches {
            let (key, asked) = (watching.asked.key.clone(), watching.asked.clone());
            let last = self.mark(key, &asked).await?;
            compared.events += watching.compare(last).await.with_context(|| format!("{asked:?}"))?;
        }
        Ok(())
    }

    /// Makes a call to both and returns their common answer.
    async fn both(&mut self, call: Call) -> anyhow::Result<Answer> {
        let (ours, etcd) = tokio::join!(self.ours.asker.ask(call.clone()), self.etcd.asker.ask(call.clone()));
        let both_refused =
            matches!(call, Call::Txn(_)) && refuses_operation(&ours) && refuses_operation(&etcd);
        ensure!(
            ours == etcd
                || untied(&call, ours.clone()) == untied(&call, etcd.clone())
                || self.checks_writes_first && both_refused,
            "the answers differ\ncall: {call:?}\nours: {ours:?}\netcd: {etcd:?}"
        );
        Ok(ours)
    }

    /// Changes the key of a watch, so that it has an end; returns the revision of the last change it delivers.
    async fn mark(&mut self, key: Bytes, asked: &WatchCreateRequest) -> anyhow::Result<i64> {
        let put = Call::Put(PutRequest { key: key.clone(), ..Default::default() });
        let put = self.both(put).await?.revision().context("a put has a revision")?;
        let delete = Call::Delete(DeleteRangeRequest { key, ..Default::default() });
        let delete = self.both(delete).await?.revision().context("a deletion has a revision")?;
        Ok(if asked.filters.contains(&FilterType::Nodelete.into()) { put } else { delete })
    }
}

/// Whether a transaction is refused for one of its operations: there may be several such.
fn refuses_operation(answer: &Answer) -> bool {
    const REASONS: [&str; 4] = [
        "etcdserver: key not found",
        "etcdserver: requested lease not found",
        "etcdserver: mvcc: required revision has been compacted",
        "etcdserver: mvcc: required revision is a future revision",
    ];
    matches!(answer, Answer::Refused(_, reason) if REASONS.contains(&reason.as_str()))
}

async fn open(channel: &Channel, asked: WatchCreateRequest) -> anyhow::Result<Watch> {
    let (requests, receiver) = mpsc::channel(1);
    requests.send(WatchRequest { request_union: Some(RequestUnion::CreateRequest(asked)) }).await?;
    let answers = WatchClient::new(channel.clone()).watch(ReceiverStream::new(receiver)).await?.into_inner();
    let mut watch = Watch { answers, ended: None, _requests: requests };
    let created = watch.next().await?;
    ensure!(created.created && created.events.is_empty(), "not created first: {created:?}");
    Ok(watch)
}

impl Watch {
    async fn next(&mut self) -> anyhow::Result<WatchResponse> {
        let answer = tokio::time::timeout(EVENT_MAX, self.answers.message()).await;
        let answer = answer.context("nothing came")??.context("the stream ended")?;
        if answer.canceled {
            let reason = answer.cancel_reason.clone();
            self.ended = Some(Ended { compact_revision: answer.compact_revision, reason });
        }
        Ok(answer)
    }

    /// The events up to a revision, or up to the end if the server ends the watch before; and how it ended.
    async fn events(mut self, last: i64) -> anyhow::Result<(Vec<Event>, Option<Ended>)> {
        let mut events: Vec<Event> = Vec::new();
        let mut reached = 0;
        while reached < last && self.ended.is_none() {
            let answer = self.next().await.with_context(|| format!("after {} events", events.len()))?;
            events.extend(answer.events);
            reached = events.last().and_then(|event| event.kv.as_ref()).map_or(0, |kv| kv.mod_revision);
        }
        Ok((events, self.ended))
    }
}

impl Watching {
    /// Reads both to their end and returns how many events both delivered.
    async fn compare(self, last: i64) -> anyhow::Result<u64> {
        let (ours, etcd) = tokio::join!(self.ours.events(last), self.etcd.events(last));
        let (mut ours, etcd) = (ours.context("ours")?, etcd.context("etcd")?);
        if let (Some(ours), Some(Ended { reason, .. })) = (&mut ours.1, &etcd.1)
            && reason.is_empty()
        {
            // etcd lets the revision speak for itself.
            ours.reason.clear();
        }
        ensure!(ours == etcd, "the events differ\nours: {ours:?}\netcd: {etcd:?}");
        Ok(ours.0.len() as u64)
    }
}
