//! Contenders for one lock, with leases of a few seconds. Whoever holds it writes what only a holder may write; some holders
//! go silent without giving it back, and go on writing when their lease has ended.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use check::lock::{Held, Lease};
use parking_lot::Mutex;
use proto::etcd::etcdserverpb as pb;
use proto::etcd::etcdserverpb::kv_client::KvClient;
use proto::etcd::etcdserverpb::lease_client::LeaseClient;
use proto::etcd::v3lockpb::lock_client::LockClient;
use proto::etcd::v3lockpb::{LockRequest, UnlockRequest};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::Channel;

use crate::limits::{
    AFTER_FAILURE, CALL, GUARDED_WRITES, LOCK_PATIENCE, LOCK_TTL, SILENT_EVERY, THINK, ZOMBIE,
};
use crate::workload::Record;

/// The lock; its queue is made of the keys below it.
pub const LOCK: &str = "lock";
/// What only a holder may write: its token.
pub const GUARDED: &str = "lock-guarded";

/// Whether holders have their writes refused once their key is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guards {
    /// As they should.
    Checked,
    /// They trust that they still hold it. The checkers must notice.
    Trusted,
}

/// What all contenders write down.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    inner: Arc<Mutex<Inner>>,
}

/// What one lock was seen to do.
#[derive(Clone, Debug, Default)]
pub struct Inner {
    /// Who was sure to hold it.
    pub holders: Vec<Held>,
    /// The leases.
    pub leases: Vec<Lease>,
    /// Renewals that were answered.
    pub renewed: u64,
    /// Holders that went silent.
    pub silent: u64,
    /// Writes that were refused because their key was gone.
    pub fenced: u64,
}

impl Notes {
    /// Everything so far.
    pub fn all(&self) -> Inner {
        self.inner.lock().clone()
    }

    /// How many times the lock was taken.
    pub fn taken(&self) -> usize {
        self.inner.lock().holders.len()
    }
}

/// One contender.
pub struct Contender {
    number: u64,
    /// For calls with an answer at once.
    quick: Vec<Channel>,
    /// For calls that wait.
    patient: Vec<Channel>,
    at: usize,
    begin: Instant,
    chance: StdRng,
    guards: Guards,
    notes: Notes,
    record: Record,
}

/// What the renewals of a lease have shown.
#[derive(Clone)]
struct Renewals {
    lease: i64,
    seen: Arc<Mutex<Lease>>,
}

impl Contender {
    /// A contender that asks one member until it fails, then the next. Times are counted from `begin`.
    pub fn new(
        number: u64,
        (quick, patient): (Vec<Channel>, Vec<Channel>),
        (begin, seed, guards): (Instant, u64, Guards),
        (notes, record): (Notes, Record),
    ) -> Self {
        let chance = StdRng::seed_from_u64(seed ^ (number << 32));
        Self { number, at: number as usize, quick, patient, begin, chance, guards, notes, record }
    }

    /// Takes turns until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut turns = self.number;
        while !stop.is_cancelled() {
            turns += 1;
            let silent = turns.is_multiple_of(SILENT_EVERY);
            if self.turn(silent, &stop).await.is_err() {
                self.at += 1;
                sleep(AFTER_FAILURE).await;
            }
            sleep(THINK).await;
        }
    }

    async fn turn(&mut self, silent: bool, stop: &CancellationToken) -> Result<(), Status> {
        let renewals = self.grant().await?;
        let over = CancellationToken::new();
        let renewing = tokio::spawn(over.clone().run_until_cancelled_owned(renew(
            renewals.clone(),
            self.quick.clone(),
            self.at,
            (self.begin, self.notes.clone()),
        )));
        let turn = self.hold(&renewals, silent, (&over, stop)).await;
        over.cancel();
        // The lease ends now or when it is not renewed; what happens to it from here on is our doing.
        let revoke = pb::LeaseRevokeRequest { id: renewals.lease };
        let _later = LeaseClient::new(self.quick()).lease_revoke(revoke).await;
        let ended = renewing.await;
        self.notes.inner.lock().leases.push(*renewals.seen.lock());
        ended.map_err(|error| Status::internal(error.to_string()))?;
        turn
    }

    /// Waits for the lock, holds it for some writes, and gives it back, unless it goes silent.
    async fn hold(
        &mut self,
        renewals: &Renewals,
        silent: bool,
        (over, stop): (&CancellationToken, &CancellationToken),
    ) -> Result<(), Status> {
        let key = match stop.run_until_cancelled(self.take(renewals.lease)).await {
            Some(key) => key?,
            None => return Ok(()),
        };
        let from = self.now();
        let Some(token) = self.token(&key, renewals).await? else { return Ok(()) };
        for _ in 0..self.chance.random_range(1..=GUARDED_WRITES) {
            if !self.write(&key, token, renewals).await.unwrap_or(true) {
                break;
            }
            sleep(THINK).await;
        }
        if silent {
            over.cancel();
        }
        // It stays ours until we give it back, or until the lease may end; which may be before we heard that it is ours.
        let promised = renewals.seen.lock().promised;
        let until = if silent { promised } else { promised.min(self.now()) };
        if until > from {
            self.notes.inner.lock().holders.push(Held { token, from, until });
        }
        if silent {
            return self.haunt(&key, token, renewals).await;
        }
        LockClient::new(self.quick()).unlock(UnlockRequest { key }).await.map(drop)
    }

    /// Goes on writing, without renewing, until well after the lease has ended.
    async fn haunt(&mut self, key: &Bytes, token: i64, renewals: &Renewals) -> Result<(), Status> {
        self.notes.inner.lock().silent += 1;
        let until = renewals.seen.lock().promised + u64::try_from(ZOMBIE.as_nanos()).unwrap_or(u64::MAX);
        while self.now() < until {
            // Whatever becomes of a single write, the next is tried.
            let _unknown = self.write(key, token, renewals).await;
            sleep(AFTER_FAILURE * 3).await;
        }
        Ok(())
    }

    async fn grant(&self) -> Result<Renewals, Status> {
        let sent = self.now();
        let request = pb::LeaseGrantRequest { ttl: LOCK_TTL, id: 0 };
        let granted = LeaseClient::new(self.quick()).lease_grant(request).await?.into_inner();
        let lease = Lease { promised: sent + seconds(granted.ttl), lost: None };
        Ok(Renewals { lease: granted.id, seen: Arc::new(Mutex::new(lease)) })
    }

    /// Stands in the queue until the lock is ours; at another member if the one it stands at fails.
    async fn take(&mut self, lease: i64) -> Result<Bytes, Status> {
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            let member = self.patient[self.at % self.patient.len()].clone();
            let request = LockRequest { name: LOCK.into(), lease };
            let refusal = match timeout(LOCK_PATIENCE, LockClient::new(member).lock(request)).await {
                Ok(Ok(held)) => return Ok(held.into_inner().key),
                Ok(Err(refusal)) => refusal,
                Err(_elapsed) => Status::deadline_exceeded("the lock does not come"),
            };
            if Instant::now() > deadline {
                return Err(refusal);
            }
            self.at += 1;
            sleep(AFTER_FAILURE).await;
        }
    }

    /// The revision that created our key; `None` if it is gone.
    async fn token(&self, key: &Bytes, renewals: &Renewals) -> Result<Option<i64>, Status> {
        let request = pb::RangeRequest { key: key.clone(), ..Default::default() };
        let found = KvClient::new(self.quick()).range(request).await?.into_inner().kvs;
        if found.is_empty() {
            renewals.lost(self.now());
        }
        Ok(found.first().map(|kv| kv.create_revision))
    }

    /// Writes what only a holder may write; whether it was written.
    async fn write(&self, key: &Bytes, token: i64, renewals: &Renewals) -> Result<bool, Status> {
        let compare = match self.guards {
            Guards::Checked => vec![lives(key, token)],
            Guards::Trusted => vec![],
        };
        let put =
            pb::PutRequest { key: GUARDED.into(), value: token.to_string().into(), ..Default::default() };
        let success = vec![pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put)) }];
        let txn = pb::TxnRequest { compare, success, failure: vec![] };
        let answer = timeout(CALL, KvClient::new(self.quick()).txn(txn)).await;
        let answer = answer.map_err(|_elapsed| Status::deadline_exceeded("no answer"))??.into_inner();
        if answer.succeeded {
            self.record.note_change();
        } else {
            renewals.lost(self.now());
            self.notes.inner.lock().fenced += 1;
        }
        Ok(answer.succeeded)
    }

    fn quick(&self) -> Channel {
        self.quick[self.at % self.quick.len()].clone()
    }

    fn now(&self) -> u64 {
        nanoseconds(self.begin.elapsed())
    }
}

impl Renewals {
    fn lost(&self, at: u64) {
        self.seen.lock().lost.get_or_insert(at);
    }
}

/// Renews a lease until it is gone or nobody wants it any more.
async fn renew(renewals: Renewals, members: Vec<Channel>, mut at: usize, (begin, notes): (Instant, Notes)) {
    loop {
        sleep(Duration::from_nanos(seconds(LOCK_TTL)) / 4).await;
        let sent = nanoseconds(begin.elapsed());
        let member = members[at % members.len()].clone();
        match timeout(CALL, renew_once(member, renewals.lease)).await {
            Ok(Ok(ttl)) if ttl > 0 => {
                let lease = &mut *renewals.seen.lock();
                lease.promised = lease.promised.max(sent + seconds(ttl));
                notes.inner.lock().renewed += 1;
            }
            Ok(Ok(_gone)) => return renewals.lost(nanoseconds(begin.elapsed())),
            Ok(Err(_)) | Err(_) => at += 1,
        }
    }
}

async fn renew_once(member: Channel, lease: i64) -> Result<i64, Status> {
    let request = tokio_stream::iter([pb::LeaseKeepAliveRequest { id: lease }]);
    let mut answers = LeaseClient::new(member).lease_keep_alive(request).await?.into_inner();
    let answer = answers.message().await?;
    answer.map(|answer| answer.ttl).ok_or_else(|| Status::unavailable("the stream ended without an answer"))
}

/// True while the key lives that was created at that revision.
fn lives(key: &Bytes, token: i64) -> pb::Compare {
    pb::Compare {
        key: key.clone(),
        result: pb::compare::CompareResult::Equal.into(),
        target: pb::compare::CompareTarget::Create.into(),
        target_union: Some(pb::compare::TargetUnion::CreateRevision(token)),
        ..Default::default()
    }
}

fn seconds(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0) * 1_000_000_000
}

fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).expect("a test takes less than centuries")
}
