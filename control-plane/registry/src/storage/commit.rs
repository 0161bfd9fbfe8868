//! The last step of a write: one transaction that compares what was read with what is there.
//!
//! [`Live`] runs it; [`Dry`] only looks whether it would succeed. Verbs are given one or the other and cannot
//! tell them apart.

use api::Status;
use async_trait::async_trait;
use bytes::Bytes;
use store_client::{Compare, KeyRange, KeyValue, LeaseId, Op, OpResult, Order, Range, Revision, Target, Txn};

use super::{codec, store::Storage};
use crate::admission::Admitted;

/// What else must hold and happen in the same transaction: addresses taken and given back, fences.
#[derive(Clone, Debug, Default)]
pub(crate) struct Side {
    pub(crate) compare: Vec<Compare>,
    pub(crate) ops: Vec<Op>,
}

impl Side {
    /// Adds the parts of another.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.compare.extend(other.compare);
        self.ops.extend(other.ops);
        self
    }
}

/// What became of a write.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It happened, at this revision. `stored` is what was written; empty for a deletion.
    Done {
        /// The revision of the write.
        revision: i64,
        /// The stored form.
        stored: Bytes,
    },
    /// The key was changed by somebody else; this is what is there.
    Conflict(Option<KeyValue>),
    /// The object is unchanged, but something beside it was not as expected.
    SideConflict,
}

/// Performs writes.
#[async_trait]
pub(crate) trait Commit: Send + Sync {
    /// Writes `object` if the key is unchanged since `expected` (0: does not exist).
    async fn put(
        &self,
        key: Bytes,
        expected: i64,
        object: &Admitted,
        lease: i64,
        side: Side,
    ) -> Result<Outcome, Status>;

    /// Deletes the key if it is unchanged since `expected`.
    async fn delete(&self, key: Bytes, expected: i64, side: Side) -> Result<Outcome, Status>;
}

/// Writes for real.
pub(crate) struct Live<'a>(pub(crate) &'a Storage);

/// Answers as if.
pub(crate) struct Dry<'a>(pub(crate) &'a Storage);

#[async_trait]
impl Commit for Live<'_> {
    async fn put(
        &self,
        key: Bytes,
        expected: i64,
        object: &Admitted,
        lease: i64,
        side: Side,
    ) -> Result<Outcome, Status> {
        let stored = codec::encode(object.object())?;
        let put = Op::Put {
            key: key.clone(),
            value: stored.clone(),
            lease: LeaseId(lease),
            prev_kv: false,
            ignore_value: false,
            ignore_lease: false,
        };
        self.run(key, expected, put, side, stored).await
    }

    async fn delete(&self, key: Bytes, expected: i64, side: Side) -> Result<Outcome, Status> {
        let delete = Op::delete(key.clone());
        self.run(key, expected, delete, side, Bytes::new()).await
    }
}

impl Live<'_> {
    async fn run(
        &self,
        key: Bytes,
        expected: i64,
        op: Op,
        side: Side,
        stored: Bytes,
    ) -> Result<Outcome, Status> {
        let mut compare = vec![Compare::mod_revision(key.clone(), Revision(expected))];
        compare.extend(side.compare);
        let mut success = vec![op];
        success.extend(side.ops);
        let txn = Txn { compare, success, failure: vec![Op::get(key)] };
        let answer = self.0.request(self.0.kv.txn(txn)).await?;
        if answer.succeeded {
            return Ok(Outcome::Done { revision: answer.revision.0, stored });
        }
        let found = answer.results.into_iter().next();
        let Some(OpResult::Range(found)) = found else {
            return Err(Status::internal("the store did not answer the read of a transaction"));
        };
        Ok(conflict(found.kvs.into_iter().next(), expected))
    }
}

fn conflict(found: Option<KeyValue>, expected: i64) -> Outcome {
    let revision = found.as_ref().map_or(0, |kv| kv.mod_revision.0);
    if revision == expected { Outcome::SideConflict } else { Outcome::Conflict(found) }
}

#[async_trait]
impl Commit for Dry<'_> {
    async fn put(
        &self,
        key: Bytes,
        expected: i64,
        object: &Admitted,
        _: i64,
        side: Side,
    ) -> Result<Outcome, Status> {
        let stored = codec::encode(object.object())?;
        self.look(key, expected, side, stored).await
    }

    async fn delete(&self, key: Bytes, expected: i64, side: Side) -> Result<Outcome, Status> {
        self.look(key, expected, side, Bytes::new()).await
    }
}

impl Dry<'_> {
    async fn look(&self, key: Bytes, expected: i64, side: Side, stored: Bytes) -> Result<Outcome, Status> {
        let found = self.0.request(self.0.kv.range(Range::new(KeyRange::Key(key)))).await?;
        let found = found.kvs.into_iter().next();
        if found.as_ref().map_or(0, |kv| kv.mod_revision.0) != expected {
            return Ok(Outcome::Conflict(found));
        }
        for compare in side.compare {
            let (Target::ModRevision(wanted), Order::Equal) = (&compare.target, compare.order) else {
                continue;
            };
            let found = self.0.request(self.0.kv.range(Range::new(compare.keys))).await?;
            if found.kvs.first().map_or(0, |kv| kv.mod_revision.0) != wanted.0 {
                return Ok(Outcome::SideConflict);
            }
        }
        // What was there keeps its resource version; what was not has none yet.
        Ok(Outcome::Done { revision: expected, stored })
    }
}
