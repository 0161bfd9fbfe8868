//! Every bound of the transport, with its unit and reason.

use std::time::Duration;

/// Bytes of a request body. Upstream's figure; the largest object that fits the store is smaller.
pub const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Bytes of one frame of a streamed list: small enough that a slow reader pins little, large enough for TLS.
pub const LIST_FRAME_BYTES: usize = 256 * 1024;

/// Bytes of items in one gRPC list chunk.
pub const GRPC_CHUNK_BYTES: usize = 1024 * 1024;

/// Bytes of a gRPC message either way: a batch of writes at most, well above one chunk.
pub const GRPC_MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Writes in one gRPC batch.
pub const GRPC_BATCH_WRITES_MAX: usize = 1024;

/// Writes of one batch that are under way at the same time: enough to share a group commit.
pub const GRPC_BATCH_PARALLEL: usize = 64;

/// Messages waiting for a gRPC watch stream; behind it the watches wait, and the watch cache cuts the slow ones.
pub const GRPC_WATCH_QUEUE: usize = 64;

/// Watches multiplexed on one gRPC stream: a plugin watches a few dozen kinds.
pub const GRPC_WATCHES_MAX: usize = 512;

/// Watch events put into one frame when they are ready together.
pub const WATCH_BATCH_EVENTS: usize = 64;

/// Time for a request that is not long-running, upstream's figure.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Time to send the headers of a request, upstream's figure.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(32);

/// Time for a TLS handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections open at once; above it new ones wait in the kernel's backlog.
pub const CONNECTIONS_MAX: usize = 16_384;

/// Streams of one HTTP/2 connection: client-go opens one connection and multiplexes all its watches.
pub const HTTP2_STREAMS_MAX: u32 = 1000;

/// Bytes of one header list.
pub const HEADER_LIST_BYTES_MAX: u32 = 256 * 1024;

/// Interval of HTTP/2 pings that find dead peers.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// Time a peer has to answer a ping.
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Time open requests have to finish after shutdown began.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Short reads under way at once for people and workloads.
pub const READS_MAX: usize = 400;

/// Short writes under way at once for people and workloads.
pub const WRITES_MAX: usize = 200;

/// Short requests under way at once for nodes and the control plane's own parts, apart from the others so
/// that a flood cannot starve heartbeats.
pub const SYSTEM_MAX: usize = 2000;

/// Share of a pool one user may hold, as a divisor.
pub const USER_SHARE: usize = 2;

/// Seconds a refused client is told to wait.
pub const RETRY_AFTER_S: u32 = 1;

/// Lifetime of a watch without `timeoutSeconds`, seconds; up to the double is added at random.
pub const WATCH_TIMEOUT_S: u64 = 1800;

/// How often an open watch asks again whether its user may watch.
pub const WATCH_REVIEW_INTERVAL: Duration = Duration::from_secs(5);

/// Time to connect to a node agent.
pub const NODE_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes copied at once between the two ends of a tunnel.
pub const TUNNEL_BUFFER_BYTES: usize = 32 * 1024;

/// Bytes of an in-memory channel in flight per direction.
pub const LOCAL_CHANNEL_BYTES: usize = 1024 * 1024;

/// Bytes of an answer read from a node agent that is not streamed.
pub const NODE_ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Shortest lifetime of a requested token, seconds, as upstream.
pub const TOKEN_TTL_S_MIN: i64 = 600;

/// Lifetime of a token when the request does not say, seconds, as upstream.
pub const TOKEN_TTL_S_DEFAULT: i64 = 3600;

/// Longest lifetime of a requested token, seconds: a day, so that a stolen one is soon useless.
pub const TOKEN_TTL_S_MAX: i64 = 24 * 3600;

/// Bytes of a bearer token that are looked at.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Warnings returned with one answer, as upstream.
pub const WARNINGS_MAX: usize = 50;

/// Bytes of one warning.
pub const WARNING_BYTES_MAX: usize = 1024;
