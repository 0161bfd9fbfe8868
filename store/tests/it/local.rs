//! One state machine without Raft: commands are applied as they are made. What the golden scripts and the comparison
//! with the model run on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream;
use raft::{Batch, Committed, LogIndex, StateMachine, Term};
use store::engine::{Engine, Pace, memory::MemoryEngine, rocks::RocksEngine};
use store::machine::{Machine, command::Command, response::Response};
use store::mvcc::draft::Failure;
use store::watch::Subscription;
use store_client::{
    Error, Kv, Lease, LeaseId, Range, RangeResult, Revision, Txn, TxnResult, Watch, WatchStream, validate,
};
use tokio::time::Instant;

/// A member that agrees with itself at once.
pub struct Local {
    engine: Arc<dyn Engine>,
    pub machine: Arc<Machine>,
    index: AtomicU64,
    next_lease: AtomicU64,
    _expiry: Option<tokio_util::task::AbortOnDropHandle<()>>,
}

pub const TERM: u64 = 1;

impl Local {
    pub fn new(engine: Arc<dyn Engine>) -> Self {
        let machine = Arc::new(Machine::open(engine.clone()).unwrap());
        let index = machine
            .position()
            .unwrap()
            .map_or(0, |position| u64::from_le_bytes(position.as_ref().try_into().unwrap()));
        Self { engine, machine, index: index.into(), next_lease: 1000.into(), _expiry: None }
    }

    /// A new state machine on what the engine holds.
    pub fn reopen(self) -> Self {
        Self::new(self.engine)
    }

    /// Applies commands as one batch.
    pub fn apply(&self, commands: &[Command]) -> Vec<Response> {
        let commands: Vec<_> = commands
            .iter()
            .map(|command| Committed {
                index: LogIndex(self.index.fetch_add(1, Ordering::SeqCst) + 1),
                term: Term(TERM),
                command: command.encode().unwrap(),
            })
            .collect();
        let position = self.index.load(Ordering::SeqCst).to_le_bytes();
        let batch = Batch { commands, position: Bytes::copy_from_slice(&position) };
        let responses = match self.machine.apply_at_once(&batch) {
            Some(applied) => applied.unwrap(),
            None => self.machine.apply(batch).unwrap(),
        };
        responses.iter().map(|response| Response::decode(response).unwrap()).collect()
    }

    pub fn run(&self, command: Command) -> Result<Response, Error> {
        match self.apply(&[command]).remove(0) {
            Response::Refused(refusal) => Err(refusal),
            response => Ok(response),
        }
    }

    fn done(&self, command: Command) -> Result<Revision, Error> {
        match self.run(command)? {
            Response::Done(revision) => Ok(revision),
            other => panic!("{other:?}"),
        }
    }

    pub fn subscribe(&self, watch: Watch) -> Result<Subscription, Error> {
        Subscription::new(self.machine.clone(), &watch)
    }
}

fn refused(failure: Failure) -> Error {
    match failure {
        Failure::Refused(refusal) => refusal,
        Failure::Broken(error) => panic!("{error}"),
    }
}

#[async_trait]
impl Kv for Local {
    async fn range(&self, range: Range) -> Result<RangeResult, Error> {
        validate::range(&range)?;
        self.machine.range(&range, Pace::Patient).map_err(refused)
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResult, Error> {
        validate::txn(&txn)?;
        match self.run(Command::Txn(txn))? {
            Response::Txn(result) => Ok(result),
            other => panic!("{other:?}"),
        }
    }

    async fn watch(&self, watch: Watch) -> Result<WatchStream, Error> {
        let subscription = self.subscribe(watch)?;
        Ok(Box::pin(stream::unfold(subscription, |mut subscription| async move {
            subscription.message().await.map(|message| (message, subscription))
        })))
    }

    async fn read_revision(&self) -> Result<Revision, Error> {
        Ok(Revision(self.machine.facts().revision))
    }

    async fn lease_grant(&self, id: LeaseId, ttl_s: i64) -> Result<Lease, Error> {
        let id = match id {
            LeaseId(0) => LeaseId(self.next_lease.fetch_add(1, Ordering::SeqCst) as i64),
            id => id,
        };
        self.done(Command::LeaseGrant { id, ttl_s })?;
        Ok(Lease { id, granted_ttl_s: ttl_s, ttl_s, keys: Vec::new() })
    }

    async fn lease_revoke(&self, id: LeaseId) -> Result<Revision, Error> {
        self.done(Command::LeaseRevoke(id))
    }

    async fn lease_keep_alive(&self, id: LeaseId) -> Result<Lease, Error> {
        match self.run(Command::LeaseRenew(vec![id]))? {
            Response::Renewed(granted) => {
                let ttl_s = granted[0].ok_or(Error::LeaseNotFound)?;
                Ok(Lease { id, granted_ttl_s: ttl_s, ttl_s, keys: Vec::new() })
            }
            other => panic!("{other:?}"),
        }
    }

    async fn lease_time_to_live(&self, id: LeaseId, keys: bool) -> Result<Lease, Error> {
        Ok(match self.machine.lease(id, keys).unwrap() {
            None => Lease { id, granted_ttl_s: 0, ttl_s: -1, keys: Vec::new() },
            Some((record, keys)) => Lease {
                id,
                granted_ttl_s: record.granted_ttl_s,
                ttl_s: self.machine.deadlines().left_s(id, Instant::now()).unwrap(),
                keys,
            },
        })
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.done(Command::Compact(revision))?;
        while self.machine.scrub_step().unwrap() {}
        Ok(())
    }
}

/// With a task that ends leases, as the duties of a member do.
fn with_expiry(mut local: Local) -> Local {
    let machine = local.machine.clone();
    let indexes = AtomicU64::new(1 << 32);
    local._expiry = Some(tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            let leases = machine.deadlines().due(Instant::now(), 10);
            if leases.is_empty() {
                continue;
            }
            let index = indexes.fetch_add(1, Ordering::SeqCst);
            let command = Command::LeaseExpire { term: TERM, leases }.encode().unwrap();
            let committed = Committed { index: LogIndex(index), term: Term(TERM), command };
            let position = Bytes::copy_from_slice(&index.to_le_bytes());
            machine.apply(Batch { commands: vec![committed], position }).unwrap();
        }
    })));
    local
}

#[tokio::test]
async fn a_machine_in_memory_passes_the_suite() {
    store_client::testing::suite(|| async { with_expiry(Local::new(Arc::new(MemoryEngine::new()))) }).await;
}

#[tokio::test]
async fn a_machine_on_rocksdb_passes_the_suite() {
    let scratch = tempfile::tempdir().unwrap();
    let count = AtomicU64::new(0);
    store_client::testing::suite(|| async {
        let directory = scratch.path().join(count.fetch_add(1, Ordering::SeqCst).to_string());
        with_expiry(Local::new(Arc::new(RocksEngine::open(&directory).unwrap())))
    })
    .await;
}
