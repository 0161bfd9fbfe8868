//! Every bound of the registry, with unit, value and reason (invariant S8).

use std::time::Duration;

/// Bytes of one object as JSON. etcd's default request limit is 1.5 MiB; a body may be 3 MiB before decoding.
pub const OBJECT_BYTES_MAX: usize = 1_536 * 1024;
/// Bytes of all annotations of one object; upstream's limit.
pub const ANNOTATION_BYTES_MAX: usize = 256 * 1024;
/// Bytes of the data of one ConfigMap or Secret; upstream's limit.
pub const DATA_BYTES_MAX: usize = 1024 * 1024;

/// Past changes kept per resource for watches that resume. A resource of 5,000 nodes heartbeating every 10 s
/// makes 500 changes a second, so this is several seconds of the busiest resource and hours of most.
pub const HISTORY_CHANGES_MAX: usize = 8_192;
/// Bytes of superseded objects the history of one resource may keep alive.
pub const HISTORY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Changes that may wait in the queue of one watcher. A watcher that is further behind is cut off and resumes
/// from its last resource version.
pub const WATCHER_QUEUE_MAX: usize = 4_096;
/// Watchers of one resource. 5,000 nodes with a handful each, twice over; more are told to come back.
pub const WATCHERS_MAX: usize = 100_000;
/// Changes buffered while a cache is being filled. More, and the filling begins again.
pub const FILL_BUFFER_MAX: usize = 65_536;
/// Keys read from the store in one chunk while filling a cache or listing at an old revision.
pub const RANGE_CHUNK: usize = 2_000;
/// Snapshots kept per resource for lists that are being read page by page.
pub const PINNED_SNAPSHOTS_MAX: usize = 16;
/// How long a snapshot is kept for the next page; upstream's store keeps five minutes of history.
pub const PINNED_SNAPSHOT_AGE_MAX: Duration = Duration::from_secs(300);

/// How long a read waits for the cache to reach the revision it needs before it answers 504; upstream's 3 s.
pub const CACHE_WAIT_MAX: Duration = Duration::from_secs(3);
/// How long a read waits for a cache to be filled the first time.
pub const CACHE_FILL_MAX: Duration = Duration::from_secs(30);
/// How long one request to the store may take. Longer than an election, shorter than a client's patience.
pub const STORE_REQUEST_MAX: Duration = Duration::from_secs(20);
/// Time between bookmarks of a watch that asked for them; upstream's minute.
pub const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);
/// First pause after the store's watch was lost.
pub const FEED_BACKOFF_MIN: Duration = Duration::from_millis(20);
/// Longest pause between attempts to watch the store again.
pub const FEED_BACKOFF_MAX: Duration = Duration::from_secs(1);
/// How often admission looks for the service account of a namespace that was created a moment ago.
pub const ACCOUNT_LOOKUPS_MAX: u32 = 10;
/// Pause between these looks; one second in all, as upstream has it.
pub const ACCOUNT_LOOKUP_PAUSE: Duration = Duration::from_millis(100);

/// Attempts of a write whose caller gave no resource version, before it answers 409. Upstream's patch has 5;
/// conflicts here are found without a round trip, so more are affordable.
pub const WRITE_ATTEMPTS_MAX: usize = 16;
/// Attempts to find a free address or port before the range counts as exhausted by races.
pub const CLAIM_ATTEMPTS_MAX: usize = 64;
/// Attempts to generate a free name from `generateName`; upstream's 8.
pub const GENERATE_NAME_ATTEMPTS: usize = 8;
/// Operations of one transaction of a collection deletion; etcd's default limit is 128.
pub const DELETE_BATCH: usize = 64;
