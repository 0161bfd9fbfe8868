//! Clients that move money between accounts in transactions of two keys, and read all accounts at once.

use std::sync::Arc;

use bytes::Bytes;
use check::bank::{Account, Action, Answer, Bank, Call};
use check::linear::Timed;
use parking_lot::Mutex;
use proto::etcd::etcdserverpb as pb;
use proto::etcd::etcdserverpb::kv_client::KvClient;
use proto::etcd::mvccpb;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::Channel;

use crate::limits::{ACCOUNTS, AFTER_FAILURE, CALL, THINK};
use crate::workload::Record;

/// What the keys of accounts begin with.
pub const PREFIX: &str = "account/";
/// The end of their range.
pub const PREFIX_END: &str = "account0";

/// The key of an account.
pub fn key(account: usize) -> Bytes {
    format!("{PREFIX}{account}").into()
}

/// An account and its number, from its key.
pub fn account(kv: &mvccpb::KeyValue) -> Option<(usize, Account)> {
    let number = std::str::from_utf8(&kv.key).ok()?.strip_prefix(PREFIX)?.parse().ok()?;
    let (balance, writer) = std::str::from_utf8(&kv.value).ok()?.split_once('/')?;
    let (balance, writer) = (balance.parse().ok()?, writer.parse().ok()?);
    Some((number, Account { balance, writer, revision: kv.mod_revision }))
}

/// Writes an account.
pub fn put(account: usize, balance: i64, writer: u64) -> pb::RequestOp {
    let value = format!("{balance}/{writer}").into();
    let put = pb::PutRequest { key: key(account), value, ..Default::default() };
    pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put)) }
}

fn get(account: usize) -> pb::RequestOp {
    let get = pb::RangeRequest { key: key(account), ..Default::default() };
    pb::RequestOp { request: Some(pb::request_op::Request::RequestRange(get)) }
}

/// What all tellers write down.
#[derive(Clone, Debug, Default)]
pub struct Books {
    inner: Arc<Mutex<Inner>>,
}

/// What was written down.
#[derive(Clone, Debug, Default)]
pub struct Inner {
    /// Calls by agreement.
    pub history: Vec<Timed<Call>>,
    /// Reads without agreement: the revision and what was there.
    pub past: Vec<(i64, Vec<Account>)>,
    /// Reads without agreement that saw an older state than one before by the same teller at the same member.
    pub back: Vec<(i64, i64)>,
}

impl Books {
    /// Everything so far.
    pub fn all(&self) -> Inner {
        self.inner.lock().clone()
    }
}

/// One teller.
pub struct Teller {
    number: u64,
    members: Vec<KvClient<Channel>>,
    at: usize,
    begin: Instant,
    chance: StdRng,
    transfers: u64,
    /// The accounts as last seen.
    known: Vec<Account>,
    /// The newest state read without agreement at this member, since the last failure.
    newest: i64,
    books: Books,
    record: Record,
}

impl Teller {
    /// A teller that begins at a member by its number; every third goes on to the next when one fails. Times are counted
    /// from `begin`.
    pub fn new(
        number: u64,
        members: &[Channel],
        (begin, seed, opened): (Instant, u64, &Bank),
        (books, record): (Books, Record),
    ) -> Self {
        Self {
            number,
            members: members.iter().cloned().map(KvClient::new).collect(),
            at: number as usize % members.len(),
            begin,
            chance: StdRng::seed_from_u64(seed ^ (number << 32)),
            transfers: 0,
            known: opened.accounts.clone(),
            newest: 0,
            books,
            record,
        }
    }

    /// Works until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let answered = if self.chance.random_bool(0.2) { self.look().await } else { self.work().await };
            if !answered {
                self.newest = 0;
                if self.number.is_multiple_of(3) {
                    self.at = (self.at + 1) % self.members.len();
                }
            }
            sleep(if answered { THINK } else { AFTER_FAILURE }).await;
        }
    }

    /// One call by agreement; whether it was answered.
    async fn work(&mut self) -> bool {
        let action = self.action();
        let invoked = self.now();
        let asked = timeout(CALL, self.ask(&action)).await;
        let answer = asked.ok().and_then(Result::ok);
        let returned = answer.as_ref().map(|_| self.now());
        match &answer {
            Some(Answer::Moved { .. }) => self.record.note_change(),
            Some(Answer::Seen { .. }) => self.record.note_answer(),
            None => {}
        }
        let answered = answer.is_some();
        self.books.inner.lock().history.push(Timed { invoked, returned, call: Call { action, answer } });
        answered
    }

    fn action(&mut self) -> Action {
        if self.chance.random_bool(0.4) {
            return Action::Audit;
        }
        let from = self.chance.random_range(0..ACCOUNTS);
        let to = (from + self.chance.random_range(1..ACCOUNTS)) % ACCOUNTS;
        let money = self.chance.random_range(1..=10);
        self.transfers += 1;
        Action::Transfer {
            accounts: [from, to],
            expected: [self.known[from].revision, self.known[to].revision],
            balances: [self.known[from].balance - money, self.known[to].balance + money],
            number: self.number * 1_000_000_000 + self.transfers,
        }
    }

    async fn ask(&mut self, action: &Action) -> Result<Answer, Status> {
        let Action::Transfer { accounts, expected, balances, number } = *action else {
            let txn = pb::TxnRequest { success: (0..ACCOUNTS).map(get).collect(), ..Default::default() };
            return self.seen((0..ACCOUNTS).collect(), txn).await;
        };
        let compare =
            accounts.into_iter().zip(expected).map(|(account, revision)| unchanged(account, revision));
        let success =
            accounts.into_iter().zip(balances).map(|(account, balance)| put(account, balance, number));
        let failure = accounts.map(get).to_vec();
        let txn = pb::TxnRequest { compare: compare.collect(), success: success.collect(), failure };
        let answer = self.seen(accounts.to_vec(), txn).await?;
        if let Answer::Moved { revision } = answer {
            for (account, balance) in accounts.into_iter().zip(balances) {
                self.known[account] = Account { balance, writer: number, revision };
            }
        }
        Ok(answer)
    }

    /// Sends a transaction; what it reads must be these accounts.
    async fn seen(&mut self, accounts: Vec<usize>, txn: pb::TxnRequest) -> Result<Answer, Status> {
        let writes = !txn.failure.is_empty();
        let answer = self.members[self.at].txn(txn).await?.into_inner();
        let revision = revision(answer.header)?;
        if writes && answer.succeeded {
            return Ok(Answer::Moved { revision });
        }
        let mut seen = Vec::new();
        for (at, response) in accounts.into_iter().zip(answer.responses) {
            let Some(pb::response_op::Response::ResponseRange(read)) = response.response else {
                return Err(Status::internal("a read without its answer"));
            };
            let found = read.kvs.first().and_then(account).filter(|(number, _)| *number == at);
            let (_, account) = found.ok_or_else(|| Status::internal("an account is gone"))?;
            self.known[at] = account;
            seen.push(account);
        }
        Ok(Answer::Seen { revision, accounts: seen })
    }

    /// Reads all accounts as this member has them; whether it answered.
    async fn look(&mut self) -> bool {
        let request = pb::RangeRequest {
            key: PREFIX.into(),
            range_end: PREFIX_END.into(),
            serializable: true,
            ..Default::default()
        };
        let Ok(Ok(answer)) = timeout(CALL, self.members[self.at].range(request)).await else { return false };
        let answer = answer.into_inner();
        let Ok(revision) = revision(answer.header) else { return false };
        let seen: Vec<Account> = answer.kvs.iter().filter_map(account).map(|(_, account)| account).collect();
        let mut books = self.books.inner.lock();
        if revision < self.newest {
            books.back.push((self.newest, revision));
        }
        self.newest = self.newest.max(revision);
        books.past.push((revision, seen));
        true
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_nanos()).expect("a test takes less than centuries")
    }
}

fn unchanged(account: usize, revision: i64) -> pb::Compare {
    pb::Compare {
        key: key(account),
        result: pb::compare::CompareResult::Equal.into(),
        target: pb::compare::CompareTarget::Mod.into(),
        target_union: Some(pb::compare::TargetUnion::ModRevision(revision)),
        ..Default::default()
    }
}

fn revision(header: Option<pb::ResponseHeader>) -> Result<i64, Status> {
    header.map(|header| header.revision).ok_or_else(|| Status::internal("an answer without header"))
}
