//! Bringing back what was deleted.
//!
//! ```text
//! look for newer keys (refuse unless forced) ──► values of the past, in batches ──► transactions, each only if nobody
//!                                                                                  wrote to its keys meanwhile
//! ```
//!
//! What fits into one transaction is one. Keys come back as new keys, without the lease they had: whoever renewed it
//! may be gone.

use std::ops::ControlFlow;

use bytes::Bytes;
use store_client::{Compare, KeyRange, KeyValue, Kv, Op, Revision, Txn, validate};
use tokio::sync::mpsc;

use super::{Error, Moment};
use crate::Handle;
use crate::auth::check::Access;
use crate::limits::{UNDELETE_BYTES_PER_TXN, UNDELETE_EXAMPLES, UNDELETE_KEYS_PER_TXN};
use crate::machine::Machine;
use crate::mvcc::draft::Failure;

/// What to bring back.
#[derive(Clone, Debug)]
pub struct Undelete {
    /// Which keys.
    pub keys: KeyRange,
    /// The moment whose keys come back; `None` for each key as it was before its deletion.
    pub at: Option<Moment>,
    /// Replace what was written since.
    pub force: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Undeleted {
    /// The store's revision afterwards.
    pub revision: Revision,
    /// Keys brought back.
    pub keys: u64,
    /// In how many transactions.
    pub transactions: u64,
}

/// A key to be written as it was.
#[derive(Clone, Debug)]
struct Lost {
    key: Bytes,
    value: Bytes,
    /// Revision of what stands there now; 0 for nothing.
    now: i64,
}

impl Handle {
    /// Brings back what was deleted, or the keys as they were at a moment.
    pub async fn undelete(&self, ask: Undelete) -> Result<Undeleted, Error> {
        validate::keys(&ask.keys)?;
        let at = match ask.at {
            Some(moment) => Some(self.resolve(moment).await?),
            None => None,
        };
        self.confirm().await?;
        self.check_keys(&ask.keys, Access::ReadWrite).await?;
        let newer = self.refuse_newer(&ask, at).await;
        // The refusal names keys: it is for those only who may still read them.
        self.check_keys(&ask.keys, Access::ReadWrite).await?;
        newer?;
        let (sender, mut batches) = mpsc::channel(1);
        let (machine, keys) = (self.machine().clone(), ask.keys.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let mut batch = Batch::default();
            let mut send = |batch: Batch| match sender.blocking_send(batch) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_given_up) => ControlFlow::Break(()),
            };
            visit(&machine, &keys, at, &mut |lost| {
                let full = batch.push(lost);
                full.map_or(ControlFlow::Continue(()), &mut send)
            })?;
            if !batch.lost.is_empty() {
                // The last one: if it is not taken, the reader of the queue has failed and says why.
                let _taken_or_not = send(batch);
            }
            Ok(())
        });
        let mut done = Undeleted::default();
        while let Some(batch) = batches.recv().await {
            self.write_back(batch, ask.force, &mut done).await?;
        }
        self.joined(reading).await?;
        Ok(done)
    }

    async fn refuse_newer(&self, ask: &Undelete, at: Option<Revision>) -> Result<(), Error> {
        let (machine, keys) = (self.machine().clone(), ask.keys.clone());
        let looking = move || {
            let (mut lost, mut newer, mut examples) = (0_u64, 0_u64, Vec::new());
            visit(&machine, &keys, at, &mut |found| {
                lost += 1;
                if found.now > 0 {
                    newer += 1;
                    if examples.len() < UNDELETE_EXAMPLES {
                        examples.push(String::from_utf8_lossy(&found.key).into_owned());
                    }
                }
                ControlFlow::Continue(())
            })?;
            Ok((lost, newer, examples, machine.facts().compacted))
        };
        let (lost, count, examples, oldest) = self.blocking(looking).await?;
        match (lost, count) {
            (0, _) => Err(Error::NothingDeleted { oldest }),
            (_, 1..) if !ask.force => Err(Error::Newer { count, examples }),
            (_, _) => Ok(()),
        }
    }

    async fn write_back(&self, batch: Batch, force: bool, done: &mut Undeleted) -> Result<(), Error> {
        let changed = Error::Changed { restored: done.keys };
        if !force && batch.lost.iter().any(|lost| lost.now > 0) {
            return Err(changed);
        }
        let compare =
            batch.lost.iter().map(|lost| Compare::mod_revision(lost.key.clone(), Revision(lost.now)));
        let success = batch.lost.iter().map(|lost| Op::put(lost.key.clone(), lost.value.clone()));
        let txn = Txn { compare: compare.collect(), success: success.collect(), failure: Vec::new() };
        let result = self.txn(txn).await?;
        if !result.succeeded {
            return Err(changed);
        }
        done.revision = result.revision;
        done.keys += batch.lost.len() as u64;
        done.transactions += 1;
        Ok(())
    }
}

/// Keys for one transaction.
#[derive(Default)]
struct Batch {
    lost: Vec<Lost>,
    bytes: usize,
}

impl Batch {
    /// Takes a key; gives back the batch before it when that is full.
    fn push(&mut self, lost: Lost) -> Option<Self> {
        let bytes = lost.key.len() * 2 + lost.value.len();
        let full = self.lost.len() >= UNDELETE_KEYS_PER_TXN
            || (self.bytes + bytes > UNDELETE_BYTES_PER_TXN && !self.lost.is_empty());
        let before = full.then(|| std::mem::take(self));
        self.bytes += bytes;
        self.lost.push(lost);
        before
    }
}

/// Calls `take` with every key that is to be written.
fn visit(
    machine: &Machine,
    keys: &KeyRange,
    at: Option<Revision>,
    take: &mut dyn FnMut(Lost) -> ControlFlow<()>,
) -> Result<(), Failure> {
    let lost = |then: KeyValue, now: i64| Lost { key: then.key, value: then.value, now };
    match at {
        None => machine.deleted(keys, &mut |then| take(lost(then, 0))),
        Some(at) => {
            let newest = Revision(machine.facts().revision);
            machine.diff(keys, at, newest, &mut |difference| match (difference.before, difference.after) {
                (Some(then), None) => take(lost(then, 0)),
                // Only the lease differs: the value is there.
                (Some(then), Some(now)) if then.value == now.value => ControlFlow::Continue(()),
                (Some(then), Some(now)) => take(lost(then, now.mod_revision.0)),
                (None, _) => ControlFlow::Continue(()),
            })
        }
    }
}
