//! Every bound of this crate, with its unit and why it has that value (invariant S8).

use std::time::Duration;

/// Operations in one transaction, nested ones included. etcd's default is 128; bulk deletes of the API
/// server want more, and one command must stay a small part of a Raft batch.
pub const TXN_OPS_MAX: usize = 4096;

/// Transactions inside transactions. Deep nesting has no use and recursion needs a bound.
pub const TXN_DEPTH_MAX: usize = 16;

/// Bytes of one key. etcd bounds only the request; a key is held in memory per watch and per change.
pub const KEY_BYTES_MAX: usize = 64 * 1024;

/// Bytes of keys and values in one transaction: the largest object Kubernetes accepts (3 MiB) with room.
pub const TXN_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Longest time to live of a lease, in seconds; etcd's own bound (285 years).
pub const LEASE_TTL_S_MAX: i64 = 9_000_000_000;

/// Messages a watch of the memory store holds for a consumer before it is cut off as slow.
pub const MEMORY_WATCH_MESSAGES_MAX: usize = 4096;

/// Bytes of one response a remote store may send: a whole range may be one message.
pub const REMOTE_RESPONSE_BYTES_MAX: usize = 512 << 20;

/// Time between two questions of a remote watch how far it is, if its consumer wants to know.
pub const REMOTE_PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

/// Time between two attempts to resume a remote watch.
pub const REMOTE_RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Logins of a remote store for one request, or for one watch without a success: a token may end while a request is under way,
/// but when a fresh one is refused again and again, another will not help.
pub const REMOTE_LOGINS_MAX: usize = 3;
