//! Watches that write down what they were told, and go on at another member when theirs breaks.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, ensure};
use check::log::Change;
use check::watch::{Kinds, Message, Watcher};
use parking_lot::Mutex;
use proto::etcd::etcdserverpb as pb;
use proto::etcd::etcdserverpb::watch_client::WatchClient;
use proto::etcd::mvccpb;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use crate::limits::{AFTER_FAILURE, KEYS, POLL, WATCHES};
use crate::workload::{PREFIX, key, key_number, value_number};

/// What one watch is to see.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The first revision.
    pub from: i64,
    /// One key, or all.
    pub key: Option<usize>,
    /// Writes, deletions or both.
    pub kinds: Kinds,
    /// Previous values too.
    pub previous: bool,
}

/// What a watch was told so far.
#[derive(Clone, Default)]
pub struct Told {
    messages: Arc<Mutex<Vec<Message>>>,
}

impl Told {
    /// The newest revision it has settled.
    pub fn reached(&self) -> i64 {
        let messages = self.messages.lock();
        let settled = messages.iter().rev().filter_map(|message| match message {
            Message::Changes(changes) => changes.last().map(|change| change.revision),
            Message::Progress { revision } => Some(*revision),
            Message::Begins { .. } | Message::Compacted { .. } => None,
        });
        settled.max().unwrap_or(0)
    }

    /// Where the watch goes on: after what it has settled, and not before what is left of the past.
    fn next(&self) -> i64 {
        let left = |message: &Message| match message {
            Message::Compacted { oldest } => *oldest,
            Message::Begins { .. } | Message::Changes(_) | Message::Progress { .. } => 0,
        };
        let oldest = self.messages.lock().iter().map(left).max().unwrap_or(0);
        oldest.max(self.reached() + 1)
    }

    /// For the checker.
    pub fn watcher(&self, plan: Plan) -> Watcher {
        let keys = plan.key.map(|key| vec![key]);
        Watcher { keys, kinds: plan.kinds, messages: self.messages.lock().clone() }
    }

    fn push(&self, message: Message) {
        self.messages.lock().push(message);
    }
}

/// How a member is reached by watches. A paused or cut off member keeps the connection open: signs of life tell.
pub fn endpoint(url: String) -> Endpoint {
    let endpoint = Endpoint::from_shared(url).expect("it is a URL");
    endpoint
        .connect_timeout(AFTER_FAILURE * 5)
        .http2_keep_alive_interval(AFTER_FAILURE * 5)
        .keep_alive_timeout(AFTER_FAILURE * 10)
}

/// A channel to a member, for watches.
pub fn channel(member: SocketAddr) -> Channel {
    endpoint(format!("http://{member}")).connect_lazy()
}

/// Watches on the members in turn until told to stop.
pub async fn run(plan: Plan, members: Vec<Channel>, first: usize, told: Told, stop: CancellationToken) {
    for at in first.. {
        let from = plan.from.max(told.next());
        tokio::select! {
            () = stop.cancelled() => return,
            _broken = watch(plan, from, members[at % members.len()].clone(), &told) => {}
        }
        tokio::time::sleep(AFTER_FAILURE).await;
    }
}

/// Ends with an error when the stream breaks.
async fn watch(plan: Plan, from: i64, member: Channel, told: &Told) -> Result<(), tonic::Status> {
    let mut client = WatchClient::new(member);
    let (requests, queue) = tokio::sync::mpsc::channel(4);
    let union = pb::watch_request::RequestUnion::CreateRequest(create(plan, from));
    let _open = requests.send(pb::WatchRequest { request_union: Some(union) }).await;
    let mut ticks = tokio::time::interval(AFTER_FAILURE * 2);
    let mut answers = client.watch(ReceiverStream::new(queue)).await?.into_inner();
    loop {
        let answer = tokio::select! {
            answer = answers.message() => answer?.ok_or_else(|| tonic::Status::unavailable("the stream ended"))?,
            _ = ticks.tick() => {
                let union = pb::watch_request::RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
                let _full = requests.try_send(pb::WatchRequest { request_union: Some(union) });
                continue;
            }
        };
        note(&answer, from, told)?;
    }
}

fn create(plan: Plan, from: i64) -> pb::WatchCreateRequest {
    use pb::watch_create_request::FilterType;
    let (start, end) = match plan.key {
        Some(number) => (key(number), Default::default()),
        None => (PREFIX.into(), "w0".into()),
    };
    let filters = match plan.kinds {
        Kinds::Both => vec![],
        Kinds::Writes => vec![FilterType::Nodelete.into()],
        Kinds::Deletions => vec![FilterType::Noput.into()],
    };
    pb::WatchCreateRequest {
        key: start,
        range_end: end,
        start_revision: from,
        prev_kv: plan.previous,
        filters,
        ..Default::default()
    }
}

fn note(answer: &pb::WatchResponse, from: i64, told: &Told) -> Result<(), tonic::Status> {
    if answer.created {
        told.push(Message::Begins { from });
        return Ok(());
    }
    if answer.canceled {
        if answer.compact_revision > 0 {
            told.push(Message::Compacted { oldest: answer.compact_revision });
        }
        return Err(tonic::Status::cancelled(answer.cancel_reason.clone()));
    }
    if answer.events.is_empty() {
        let revision = answer.header.as_ref().map_or(0, |header| header.revision);
        told.push(Message::Progress { revision });
        return Ok(());
    }
    let changes: Option<Vec<_>> = answer.events.iter().map(change).collect();
    let changes = changes.ok_or_else(|| tonic::Status::internal("a foreign change"))?;
    told.push(Message::Changes(changes));
    Ok(())
}

fn change(event: &mvccpb::Event) -> Option<Change> {
    let kv = event.kv.as_ref()?;
    let deleted = event.r#type == i32::from(mvccpb::event::EventType::Delete);
    let value = if deleted { None } else { Some(value_number(&kv.value)?) };
    let before = event.prev_kv.as_ref().map(|before| value_number(&before.value));
    Some(Change { revision: kv.mod_revision, key: key_number(&kv.key)?, value, before })
}

/// Reads all changes up to a revision by one watch of everything from the first on.
pub async fn whole(member: SocketAddr, upto: i64) -> anyhow::Result<Vec<Change>> {
    let plan = Plan { from: 2, key: None, kinds: Kinds::Both, previous: false };
    let told = Told::default();
    let stop = CancellationToken::new();
    let running = tokio::spawn(run(plan, vec![channel(member)], 0, told.clone(), stop.clone()));
    let deadline = Instant::now() + WATCHES;
    while told.reached() < upto {
        ensure!(Instant::now() < deadline, "a watch of everything stands at {} of {upto}", told.reached());
        tokio::time::sleep(POLL).await;
    }
    stop.cancel();
    running.await?;
    let messages = told.watcher(plan).messages;
    let changes = messages.into_iter().filter_map(|message| match message {
        Message::Changes(changes) => Some(changes),
        Message::Begins { .. } | Message::Progress { .. } | Message::Compacted { .. } => None,
    });
    Ok(changes.flatten().collect())
}

/// The events of each response of a watch, until one of a revision or a later one has come.
pub async fn responses(
    member: SocketAddr,
    create: pb::WatchCreateRequest,
    upto: i64,
) -> anyhow::Result<Vec<Vec<mvccpb::Event>>> {
    let (requests, queue) = tokio::sync::mpsc::channel(1);
    let union = Some(pb::watch_request::RequestUnion::CreateRequest(create));
    requests.send(pb::WatchRequest { request_union: union }).await?;
    let mut answers = WatchClient::new(channel(member)).watch(ReceiverStream::new(queue)).await?.into_inner();
    let mut told: Vec<Vec<mvccpb::Event>> = Vec::new();
    let reached = |told: &[Vec<mvccpb::Event>]| {
        let last = told.last().and_then(|events| events.last()).and_then(|event| event.kv.as_ref());
        last.is_some_and(|kv| kv.mod_revision >= upto)
    };
    let whole = async {
        while !reached(&told) {
            let answer = answers.message().await?.context("the watch ended")?;
            ensure!(!answer.canceled, "the watch was ended: {}", answer.cancel_reason);
            told.extend(Some(answer.events).filter(|events| !events.is_empty()));
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(WATCHES, whole).await.context("the watch does not reach the end")??;
    Ok(told)
}

/// The watches of a run: everything, with and without previous values; single keys; writes and deletions only; some
/// from the first revision, some from a later one, some from one that is yet to come.
pub fn plans() -> Vec<Plan> {
    let all = Plan { from: 2, key: None, kinds: Kinds::Both, previous: false };
    vec![
        all,
        Plan { previous: true, ..all },
        Plan { from: 20, ..all },
        Plan { from: 150, ..all },
        Plan { key: Some(0), ..all },
        Plan { key: Some(KEYS - 1), previous: true, ..all },
        Plan { kinds: Kinds::Writes, ..all },
        Plan { kinds: Kinds::Deletions, previous: true, ..all },
    ]
}
