//! Clients, each on one member, that write down what they asked and what they were told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use check::kv::{Action, Answer, Call, Cell};
use check::linear::Timed;
use parking_lot::Mutex;
use proto::etcd::etcdserverpb as pb;
use proto::etcd::etcdserverpb::kv_client::KvClient;
use proto::etcd::mvccpb;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::limits::{AFTER_FAILURE, CALL, KEYS, THINK};

/// What all keys of the workload begin with.
pub const PREFIX: &str = "w/";

/// The key of a number.
pub fn key(number: usize) -> Bytes {
    format!("{PREFIX}{number}").into()
}

/// The number of a key, if it is one of the workload's.
pub fn key_number(key: &[u8]) -> Option<usize> {
    std::str::from_utf8(key).ok()?.strip_prefix(PREFIX)?.parse().ok()
}

/// The value in a key's content.
pub fn value_number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Whether a call was refused because space is short, in etcd's words.
pub fn is_out_of_space(status: &tonic::Status) -> bool {
    status.code() == tonic::Code::ResourceExhausted
        && status.message() == "etcdserver: mvcc: database space exceeded"
}

/// What all clients write down, and how many calls were answered.
#[derive(Clone, Default)]
pub struct Record {
    calls: Arc<Mutex<Vec<Timed<Call>>>>,
    refused: Arc<Mutex<Vec<Action>>>,
    answered: Arc<AtomicUsize>,
    changed: Arc<AtomicUsize>,
}

impl Record {
    /// How many calls were answered so far.
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// How many changes were acknowledged so far.
    pub fn changed(&self) -> usize {
        self.changed.load(Ordering::Relaxed)
    }

    /// Counts an answer to a client that writes it down elsewhere.
    pub fn note_answer(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a change of a client that writes down elsewhere what it did.
    pub fn note_change(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.changed.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds a call.
    pub fn note(&self, call: Timed<Call>) {
        let changed = matches!(call.call.answer, Some(Answer::Changed { .. }));
        self.answered.fetch_add(usize::from(call.call.answer.is_some()), Ordering::Relaxed);
        self.changed.fetch_add(usize::from(changed), Ordering::Relaxed);
        self.calls.lock().push(call);
    }

    /// Adds a call that was refused for want of space: it never happens.
    fn note_refused(&self, action: Action) {
        self.refused.lock().push(action);
    }

    /// What was refused for want of space.
    pub fn refused(&self) -> Vec<Action> {
        self.refused.lock().clone()
    }

    /// Everything else.
    pub fn history(&self) -> Vec<Timed<Call>> {
        self.calls.lock().clone()
    }
}

/// One client.
pub struct Client {
    number: u64,
    members: Vec<KvClient<Channel>>,
    /// Which of them is asked.
    at: usize,
    /// Whether another is asked after a failure.
    roams: bool,
    begin: Instant,
    chance: StdRng,
    written: u64,
    /// Where each key was last seen to have been changed: what swaps expect.
    seen: [i64; KEYS],
    reads: Reads,
}

/// How clients read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// By agreement, as they should.
    Linearizable,
    /// Whatever their member holds. Under a fault that cuts it off, the checkers must notice.
    Serializable,
}

impl Client {
    /// A client of the members that channels lead to. It begins with one of them by its number; every third goes on to the
    /// next when one fails. Times are counted from `begin`.
    pub fn new(number: u64, members: &[Channel], begin: Instant, seed: u64, reads: Reads) -> Self {
        let chance = StdRng::seed_from_u64(seed ^ (number << 32));
        let members: Vec<_> = members.iter().cloned().map(KvClient::new).collect();
        let at = number as usize % members.len();
        let roams = number.is_multiple_of(3);
        Self { number, members, at, roams, begin, chance, written: 0, seen: [0; KEYS], reads }
    }

    /// Calls until told to stop.
    pub async fn run(mut self, record: Record, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let action = self.action();
            let invoked = self.now();
            let asked = tokio::time::timeout(CALL, self.ask(&action)).await;
            let pause = if matches!(asked, Ok(Ok(_))) { THINK } else { AFTER_FAILURE };
            match asked {
                Ok(Err(status)) if is_out_of_space(&status) => record.note_refused(action),
                Ok(Ok(answer)) => {
                    let returned = Some(self.now());
                    record.note(Timed { invoked, returned, call: Call { action, answer: Some(answer) } });
                }
                Ok(Err(_)) | Err(_) => {
                    record.note(Timed { invoked, returned: None, call: Call { action, answer: None } });
                    self.at = (self.at + usize::from(self.roams)) % self.members.len();
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_nanos()).expect("a test takes less than centuries")
    }

    fn action(&mut self) -> Action {
        let key = self.chance.random_range(0..KEYS);
        self.written += 1;
        let value = self.number * 1_000_000_000 + self.written;
        match self.chance.random_range(0..20) {
            0..8 => Action::Put { key, value },
            8 => Action::Delete { key },
            9..12 => Action::Swap { key, expected: self.seen[key], value },
            _ => Action::Get { key },
        }
    }

    async fn ask(&mut self, action: &Action) -> Result<Answer, tonic::Status> {
        match *action {
            Action::Put { key: number, value } => {
                let answer = self.members[self.at].put(put(number, value)).await?.into_inner();
                self.changed(number, answer.header)
            }
            Action::Delete { key: number } => {
                let request = pb::DeleteRangeRequest { key: key(number), ..Default::default() };
                let answer = self.members[self.at].delete_range(request).await?.into_inner();
                match answer.deleted {
                    0 => Ok(Answer::Held { revision: revision(answer.header)?, cell: None }),
                    _ => self.changed(number, answer.header),
                }
            }
            Action::Get { key: number } => {
                let serializable = self.reads == Reads::Serializable;
                let answer = self.members[self.at]
                    .range(pb::RangeRequest { serializable, ..get(number) })
                    .await?
                    .into_inner();
                self.held(number, answer.header, answer.kvs.first())
            }
            Action::Swap { key: number, expected, value } => {
                let answer = self.members[self.at].txn(swap(number, expected, value)).await?.into_inner();
                if answer.succeeded {
                    return self.changed(number, answer.header);
                }
                let Some(pb::response_op::Response::ResponseRange(read)) =
                    answer.responses.first().and_then(|response| response.response.as_ref())
                else {
                    return Err(tonic::Status::internal("a transaction without the answer of its read"));
                };
                self.held(number, answer.header, read.kvs.first())
            }
        }
    }

    fn changed(
        &mut self,
        number: usize,
        header: Option<pb::ResponseHeader>,
    ) -> Result<Answer, tonic::Status> {
        let revision = revision(header)?;
        self.seen[number] = revision;
        Ok(Answer::Changed { revision })
    }

    fn held(
        &mut self,
        number: usize,
        header: Option<pb::ResponseHeader>,
        kv: Option<&mvccpb::KeyValue>,
    ) -> Result<Answer, tonic::Status> {
        let cell = kv.map(|kv| {
            let value = value_number(&kv.value).ok_or_else(|| tonic::Status::internal("a foreign value"))?;
            Ok::<_, tonic::Status>(Cell { value, revision: kv.mod_revision })
        });
        let cell = cell.transpose()?;
        self.seen[number] = cell.map_or(0, |cell| cell.revision);
        Ok(Answer::Held { revision: revision(header)?, cell })
    }
}

fn revision(header: Option<pb::ResponseHeader>) -> Result<i64, tonic::Status> {
    header.map(|header| header.revision).ok_or_else(|| tonic::Status::internal("an answer without header"))
}

fn put(number: usize, value: u64) -> pb::PutRequest {
    pb::PutRequest { key: key(number), value: value.to_string().into(), ..Default::default() }
}

fn get(number: usize) -> pb::RangeRequest {
    pb::RangeRequest { key: key(number), ..Default::default() }
}

fn swap(number: usize, expected: i64, value: u64) -> pb::TxnRequest {
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};
    use pb::request_op::Request;
    let op = |request| pb::RequestOp { request: Some(request) };
    pb::TxnRequest {
        compare: vec![pb::Compare {
            key: key(number),
            result: CompareResult::Equal.into(),
            target: CompareTarget::Mod.into(),
            target_union: Some(TargetUnion::ModRevision(expected)),
            ..Default::default()
        }],
        success: vec![op(Request::RequestPut(put(number, value)))],
        failure: vec![op(Request::RequestRange(get(number)))],
    }
}
