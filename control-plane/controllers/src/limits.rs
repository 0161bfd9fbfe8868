//! Every bound of this package, with unit, value and reason.

use std::time::Duration;

/// Pods created or deleted in one pass of one owner, as upstream's burst.
pub const BURST_PODS: usize = 500;
/// First size of a batch of creations; it doubles after each success, so that a quota or a broken webhook
/// costs one refused request and not hundreds.
pub const SLOW_START_FIRST: usize = 1;
/// Writes sent in one call: keeps a message of ordinary objects below a few MiB.
pub const BATCH_WRITES: usize = 100;
/// How long a cache may lag behind our own writes before we act on it anyway, as upstream's expectations.
pub const EXPECTATION_TIMEOUT: Duration = Duration::from_secs(300);
/// How soon to look again while the cache lags behind our own writes. Usually a change comes earlier.
pub const EXPECTATION_RECHECK: Duration = Duration::from_secs(5);
/// Addresses in one EndpointSlice, as upstream's default.
pub const SLICE_ENDPOINTS: usize = 100;
/// Addresses in an Endpoints object before it is cut, as upstream.
pub const ENDPOINTS_ADDRESSES: usize = 1_000;
/// Characters of a ReplicaSet's revision history annotation, as upstream.
pub const REVISION_HISTORY_CHARS: usize = 2_000;
/// Time between looks at the remaining content of an ending namespace.
pub const NAMESPACE_RECHECK: Duration = Duration::from_secs(1);
/// Time between looks for orphaned and superfluous pods, as upstream.
pub const POD_GC_PERIOD: Duration = Duration::from_secs(20);
/// How long a node must be gone before its pods are deleted, as upstream's quarantine.
pub const NODE_GONE_QUARANTINE: Duration = Duration::from_secs(40);
/// Time until an owner that was not found is looked for again, lest a cache that lags behind be believed.
pub const OWNER_RECHECK: Duration = Duration::from_secs(30);
/// Parts a cluster CIDR may be divided into: bounds the allocation bitmap.
pub const NODE_CIDRS_MAX: u128 = 1 << 16;
