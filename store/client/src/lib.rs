//! The contract of the revisioned key-value store, as the layers above see it.
//!
//! [`Kv`] is what the registry is written against. In one process it is implemented by `store::Handle`
//! without any encoding; across processes by [`remote`] over the etcd v3 gRPC API; in tests by [`memory`].
//!
//! This crate knows keys, values, revisions and leases. It must not know Raft, engines or Kubernetes.

use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;

mod compare;
mod denial;
mod error;
pub mod limits;
pub mod memory;
pub mod remote;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod validate;

pub use denial::Denial;
pub use error::Error;

/// Counter of mutating transactions; 0 means "now" in requests. The first write has revision 2, as in etcd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub i64);

/// Identifier of a lease; 0 means none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

/// One key at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value; empty in a deletion or when only keys were asked for.
    pub value: Bytes,
    /// Revision at which the key was created after its last deletion.
    pub create_revision: Revision,
    /// Revision of the last change.
    pub mod_revision: Revision,
    /// Number of changes since creation; 0 marks a deletion.
    pub version: i64,
    /// The lease the key is attached to.
    pub lease: LeaseId,
}

/// Which keys: one, a half-open interval, or everything from a key on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyRange {
    /// Exactly this key.
    Key(Bytes),
    /// `start <= key < end`.
    Interval {
        /// First key.
        start: Bytes,
        /// First key after the interval.
        end: Bytes,
    },
    /// Every key from `start` on; an empty `start` means all keys.
    From(Bytes),
}

impl KeyRange {
    /// All keys that begin with `prefix`.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let start: Bytes = prefix.into();
        let mut end = start.to_vec();
        while let Some(last) = end.last_mut() {
            if *last < 0xff {
                *last += 1;
                return Self::Interval { start, end: end.into() };
            }
            end.pop();
        }
        Self::From(start)
    }

    /// Whether `key` lies inside.
    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            Self::Key(only) => only == key,
            Self::Interval { start, end } => start.as_ref() <= key && key < end.as_ref(),
            Self::From(start) => start.as_ref() <= key,
        }
    }
}

/// A read of a range of keys in key order.
#[derive(Clone, Debug)]
pub struct Range {
    /// Which keys.
    pub keys: KeyRange,
    /// At which revision; `Revision(0)` for the newest.
    pub revision: Revision,
    /// At most this many; 0 for no limit.
    pub limit: usize,
    /// Leave values empty.
    pub keys_only: bool,
    /// Return only the count.
    pub count_only: bool,
    /// Answer from this member without asking the quorum: possibly stale.
    pub serializable: bool,
}

impl Range {
    /// A linearizable read of everything in `keys`.
    pub fn new(keys: KeyRange) -> Self {
        Self {
            keys,
            revision: Revision(0),
            limit: 0,
            keys_only: false,
            count_only: false,
            serializable: false,
        }
    }
}

/// Answer to a [`Range`].
#[derive(Clone, Debug, Default)]
pub struct RangeResult {
    /// The store's revision when the read was served.
    pub revision: Revision,
    /// What was found.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit cut the answer.
    pub more: bool,
    /// How many keys are in the range, whatever the limit.
    pub count: i64,
}

/// What a [`Compare`] looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Number of changes since creation; 0 when the key does not exist.
    Version(i64),
    /// Revision of creation; 0 when the key does not exist.
    CreateRevision(Revision),
    /// Revision of the last change; 0 when the key does not exist.
    ModRevision(Revision),
    /// The value. A missing key compares as unequal to everything.
    Value(Bytes),
    /// The lease.
    Lease(LeaseId),
}

/// How a [`Compare`] compares the key's field with its target: `field <order> target`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Equal.
    Equal,
    /// Not equal.
    NotEqual,
    /// The key's field is less.
    Less,
    /// The key's field is greater.
    Greater,
}

/// A condition of a transaction. Over a range it must hold for every key found.
#[derive(Clone, Debug)]
pub struct Compare {
    /// Which keys.
    pub keys: KeyRange,
    /// What is compared, and with what.
    pub target: Target,
    /// How.
    pub order: Order,
}

impl Compare {
    /// The key is unchanged since `revision`; 0 means it does not exist.
    pub fn mod_revision(key: impl Into<Bytes>, revision: Revision) -> Self {
        Self { keys: KeyRange::Key(key.into()), target: Target::ModRevision(revision), order: Order::Equal }
    }
}

/// One step of a transaction.
#[derive(Clone, Debug)]
pub enum Op {
    /// Read, at the state the transaction has built so far.
    Range(Range),
    /// Write one key.
    Put {
        /// The key.
        key: Bytes,
        /// Its new value; ignored with `ignore_value`.
        value: Bytes,
        /// The lease to attach to; 0 for none.
        lease: LeaseId,
        /// Return the value before.
        prev_kv: bool,
        /// Keep the current value; the key must exist.
        ignore_value: bool,
        /// Keep the current lease; the key must exist.
        ignore_lease: bool,
    },
    /// Delete every key of a range.
    Delete {
        /// Which keys.
        keys: KeyRange,
        /// Return the values before.
        prev_kv: bool,
    },
    /// A transaction inside the transaction.
    Txn(Txn),
}

impl Op {
    /// A plain write.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::Put {
            key: key.into(),
            value: value.into(),
            lease: LeaseId(0),
            prev_kv: false,
            ignore_value: false,
            ignore_lease: false,
        }
    }

    /// A plain delete of one key.
    pub fn delete(key: impl Into<Bytes>) -> Self {
        Self::Delete { keys: KeyRange::Key(key.into()), prev_kv: false }
    }

    /// A plain read of one key.
    pub fn get(key: impl Into<Bytes>) -> Self {
        Self::Range(Range::new(KeyRange::Key(key.into())))
    }
}

/// If all of `compare` holds then `success`, else `failure`; atomic, one revision.
#[derive(Clone, Debug, Default)]
pub struct Txn {
    /// The conditions.
    pub compare: Vec<Compare>,
    /// Steps when all conditions hold.
    pub success: Vec<Op>,
    /// Steps when one does not.
    pub failure: Vec<Op>,
}

/// What one step returned.
#[derive(Clone, Debug)]
pub enum OpResult {
    /// Of a read.
    Range(RangeResult),
    /// Of a write.
    Put {
        /// The value before, when asked for.
        prev_kv: Option<KeyValue>,
    },
    /// Of a delete.
    Delete {
        /// How many keys were deleted.
        deleted: i64,
        /// The values before, when asked for.
        prev_kvs: Vec<KeyValue>,
    },
    /// Of a nested transaction.
    Txn(TxnResult),
}

/// Answer to a [`Txn`].
#[derive(Clone, Debug)]
pub struct TxnResult {
    /// The store's revision after the transaction.
    pub revision: Revision,
    /// Which branch ran.
    pub succeeded: bool,
    /// One result for each step of that branch.
    pub results: Vec<OpResult>,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was written.
    Put,
    /// It was deleted.
    Delete,
}

/// One change of one key.
#[derive(Clone, Debug)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The key after the change; for a deletion only `key` and `mod_revision` are set.
    pub kv: KeyValue,
    /// The key before the change, when asked for and not compacted.
    pub prev_kv: Option<KeyValue>,
}

/// What a watch delivers. All changes of one revision arrive in one message.
#[derive(Clone, Debug)]
pub enum WatchMessage {
    /// The watch stands: changes after this revision will be delivered.
    Created {
        /// The store's revision when the watch was registered.
        revision: Revision,
    },
    /// Changes in revision order.
    Changes {
        /// Everything up to this revision has been delivered.
        revision: Revision,
        /// The changes.
        changes: Vec<Change>,
    },
    /// Nothing happened up to this revision.
    Progress {
        /// Everything up to this revision has been delivered.
        revision: Revision,
    },
}

/// A request to watch.
#[derive(Clone, Debug)]
pub struct Watch {
    /// Which keys.
    pub keys: KeyRange,
    /// First revision to deliver; `Revision(0)` for the next change.
    pub start: Revision,
    /// Deliver the value before each change.
    pub prev_kv: bool,
    /// Deliver [`WatchMessage::Progress`] now and then when nothing happens.
    pub progress: bool,
}

/// The stream of a watch. It ends after an error: [`Error::Compacted`] when history is gone, [`Error::Slow`]
/// when the consumer fell behind the bound, [`Error::Unavailable`] when the connection was lost. Dropping it
/// cancels the watch.
pub type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchMessage, Error>> + Send>>;

/// A lease as the store knows it.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Its id.
    pub id: LeaseId,
    /// Time to live it was granted, in seconds.
    pub granted_ttl_s: i64,
    /// Time left, in seconds; -1 when expired or unknown.
    pub ttl_s: i64,
    /// Keys attached, when asked for.
    pub keys: Vec<Bytes>,
}

/// A revisioned key-value store with transactions, watches and leases.
///
/// Every method may be cancelled at any await: a write that was under way has then either happened or not.
#[async_trait]
pub trait Kv: Send + Sync + 'static {
    /// Reads a range. Linearizable unless `serializable` (invariant S4).
    async fn range(&self, range: Range) -> Result<RangeResult, Error>;

    /// Runs a transaction. An `Ok` answer is durable on a quorum (invariant S2).
    async fn txn(&self, txn: Txn) -> Result<TxnResult, Error>;

    /// Watches a range (invariant S3).
    async fn watch(&self, watch: Watch) -> Result<WatchStream, Error>;

    /// A revision that is not older than any write acknowledged before the call (one shared quorum round).
    async fn read_revision(&self) -> Result<Revision, Error>;

    /// Grants a lease; `id` 0 lets the store choose.
    async fn lease_grant(&self, id: LeaseId, ttl_s: i64) -> Result<Lease, Error>;

    /// Revokes a lease and deletes its keys.
    async fn lease_revoke(&self, id: LeaseId) -> Result<Revision, Error>;

    /// Renews a lease; the answer's `ttl_s` is the new time to live.
    async fn lease_keep_alive(&self, id: LeaseId) -> Result<Lease, Error>;

    /// What is left of a lease.
    async fn lease_time_to_live(&self, id: LeaseId, keys: bool) -> Result<Lease, Error>;

    /// Forgets history before `revision`.
    async fn compact(&self, revision: Revision) -> Result<(), Error>;
}
