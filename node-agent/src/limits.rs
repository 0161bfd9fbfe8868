//! Every bound of the agent, with its unit, its value and the reason for it.

use std::time::Duration;

/// Pods a node takes, as upstream's default: one /24 of addresses with room for turnover.
pub const PODS_MAX: u32 = 110;
/// Pods the agent holds workers for at once, terminating ones included: several generations of a full node.
pub const WORKERS_MAX: usize = 2_048;
/// Unary CRI calls that should be immediate. Upstream's `runtimeRequestTimeout`.
pub const CRI_TIMEOUT: Duration = Duration::from_secs(120);
/// An image pull; large images over slow links take long.
pub const PULL_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// Bytes of one CRI answer: a listing of every container of a full node with room to spare.
pub const CRI_MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Pulls at once: more only share the same link.
pub const PULLS_MAX: usize = 4;

/// First wait before a crashed container starts again.
pub const RESTART_BACKOFF_MIN: Duration = Duration::from_secs(10);
/// Longest wait before a crashed container starts again.
pub const RESTART_BACKOFF_MAX: Duration = Duration::from_secs(300);
/// How long a failed pull is shown as `ErrImagePull` before it is shown as `ImagePullBackOff`.
pub const PULL_ERROR_SHOWN: Duration = Duration::from_secs(2);
/// Wait before a container that could not be configured or created is tried again.
pub const START_RETRY: Duration = Duration::from_secs(5);
/// First wait before volumes or a sandbox are tried again.
pub const SETUP_RETRY_MIN: Duration = Duration::from_millis(500);
/// Longest wait before volumes or a sandbox are tried again.
pub const SETUP_RETRY_MAX: Duration = Duration::from_secs(60);
/// A pod is evaluated at least this often, whatever events say.
pub const POD_RESYNC: Duration = Duration::from_secs(60);
/// Wait before the runtime is asked again after it failed to answer.
pub const OBSERVE_RETRY: Duration = Duration::from_secs(1);
/// Shortest grace of a kill: a container always has the time to see the signal.
pub const GRACE_S_MIN: i64 = 1;
/// Grace when the pod does not say.
pub const GRACE_S_DEFAULT: i64 = 30;
/// Time a stop may take beyond its grace before the call is given up and repeated.
pub const STOP_MARGIN: Duration = Duration::from_secs(60);

/// Listing of everything in the runtime while its event stream works.
pub const RELIST_SLOW: Duration = Duration::from_secs(10);
/// Listing of everything in the runtime while it offers no event stream.
pub const RELIST_FAST: Duration = Duration::from_secs(1);
/// Wait before the event stream is opened again.
pub const EVENTS_RETRY: Duration = Duration::from_secs(5);

/// Status writes sent in one batch.
pub const STATUS_BATCH_MAX: usize = 64;
/// First wait after a failed status write.
pub const STATUS_RETRY_MIN: Duration = Duration::from_millis(200);
/// Longest wait after a failed status write.
pub const STATUS_RETRY_MAX: Duration = Duration::from_secs(10);
/// Wait before the final deletion of a pod is tried again.
pub const DELETE_RETRY: Duration = Duration::from_secs(1);

/// Bytes of a termination message, as upstream.
pub const TERMINATION_MESSAGE_BYTES_MAX: usize = 4_096;
/// Bytes of a termination message taken from the log, as upstream.
pub const TERMINATION_LOG_BYTES_MAX: usize = 2_048;
/// Lines of a termination message taken from the log, as upstream.
pub const TERMINATION_LOG_LINES_MAX: usize = 80;

/// Bytes of a probe's or hook's HTTP answer that are read, as upstream.
pub const HTTP_BODY_BYTES_MAX: usize = 10 << 10;
/// Redirects an HTTP probe follows, as upstream.
pub const HTTP_REDIRECTS_MAX: usize = 10;
/// Time an HTTP hook may take.
pub const HTTP_HOOK_TIMEOUT: Duration = Duration::from_secs(60);
/// Liveness, readiness and startup probes of a node that run at the same moment.
pub const PROBES_AT_ONCE_MAX: usize = 64;

/// Wait for the first state of a ConfigMap or Secret that a pod refers to.
pub const REFERENCE_TIMEOUT: Duration = Duration::from_secs(10);

/// Files of a volume are refreshed at most this often after their source changed.
pub const TOKEN_REFRESH_MIN: Duration = Duration::from_secs(10);
/// A token is replaced when this share of its life is over (in percent), as upstream.
pub const TOKEN_REFRESH_PERCENT: i64 = 80;
/// A token is replaced after this at the latest, as upstream.
pub const TOKEN_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Size of a container's log file at which it is rotated, as upstream.
pub const LOG_BYTES_MAX: u64 = 10 << 20;
/// Log files kept per container, the current one included, as upstream.
pub const LOG_FILES_MAX: usize = 5;
/// How often log sizes are looked at.
pub const LOG_CHECK: Duration = Duration::from_secs(10);
/// How often a followed log looks for more.
pub const LOG_POLL: Duration = Duration::from_millis(100);
/// Bytes of one log line that are kept in memory; the runtime splits at 16 KiB.
pub const LOG_LINE_BYTES_MAX: usize = 256 << 10;
/// Chunks of a log on their way to a reader.
pub const LOG_CHUNKS_MAX: usize = 16;

/// How often unused images are looked for.
pub const IMAGE_GC: Duration = Duration::from_secs(5 * 60);
/// An image unused for less than this stays, as upstream's `imageMinimumGCAge`.
pub const IMAGE_AGE_MIN: Duration = Duration::from_secs(2 * 60);
/// Use of the image file system at which unused images go, in percent, as upstream.
pub const IMAGE_DISK_PERCENT_HIGH: u64 = 85;
/// Use of the image file system at which removal ends, in percent, as upstream.
pub const IMAGE_DISK_PERCENT_LOW: u64 = 80;
/// Images named in the node's status, as upstream.
pub const NODE_IMAGES_MAX: usize = 50;

/// Connections of the agent's server at once.
pub const SERVER_CONNECTIONS_MAX: usize = 512;
/// Time for a TLS handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the server's certificate files are looked at.
pub const CERTIFICATE_CHECK: Duration = Duration::from_secs(60);
/// Time to reach the runtime's streaming server.
pub const STREAM_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes buffered in each direction of a proxied stream.
pub const STREAM_BUFFER_BYTES: usize = 64 << 10;

/// Share of memory in use at which the node reports pressure, in percent.
pub const MEMORY_PRESSURE_PERCENT: u64 = 97;
/// Share of the disk in use at which the node reports pressure, in percent.
pub const DISK_PRESSURE_PERCENT: u64 = 95;
/// Share of process ids in use at which the node reports pressure, in percent.
pub const PID_PRESSURE_PERCENT: u64 = 95;
