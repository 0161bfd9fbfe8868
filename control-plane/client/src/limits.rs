//! Every bound of this package, with unit, value and reason.

use std::time::Duration;

/// Time to open one connection. A dead server must not hold up the switch to a living one.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Deadline of one unary call; longer than the server's own (a write may wait for an election of the store).
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Idle time after which a connection is pinged, and how long the answer may take. A paused server is noticed
/// within their sum.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// See [`KEEP_ALIVE_INTERVAL`].
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of one received gRPC message: a list chunk of a few objects of 3 MiB each.
pub const MESSAGE_RECEIVE_BYTES_MAX: usize = 64 << 20;
/// Bytes of one sent gRPC message: one batch of objects.
pub const MESSAGE_SEND_BYTES_MAX: usize = 16 << 20;
/// Objects per page when a whole resource is listed: bounds what the server pins per request.
pub const LIST_PAGE: u32 = 500;
/// First and longest wait of an informer after a failed list or watch.
pub const WATCH_RETRY_FIRST: Duration = Duration::from_millis(100);
/// See [`WATCH_RETRY_FIRST`]. Short, because losing a server must not blind a plugin for long.
pub const WATCH_RETRY_MAX: Duration = Duration::from_secs(5);
/// First and longest wait of one key after failures, as client-go.
pub const QUEUE_RETRY_FIRST: Duration = Duration::from_millis(5);
/// See [`QUEUE_RETRY_FIRST`]. Shorter than client-go's 1000 s: nobody wants to wait a quarter of an hour.
pub const QUEUE_RETRY_MAX: Duration = Duration::from_secs(60);
/// Keys that may wait in one queue. They are deduplicated, so this is more objects than a cluster has; beyond
/// it new keys are refused and counted.
pub const QUEUE_KEYS_MAX: usize = 1_000_000;
/// How long workers may finish what they do after shutdown or loss of leadership.
pub const STEP_DOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// Events waiting to be written; beyond it they are dropped and counted: they must never slow a control loop.
pub const EVENTS_PENDING_MAX: usize = 1_000;
/// Event series remembered for counting, as client-go.
pub const EVENT_SERIES_MAX: usize = 4_096;
/// Events about one object in a burst, and seconds to earn another, as client-go's spam filter.
pub const EVENT_BURST: f64 = 25.0;
/// See [`EVENT_BURST`].
pub const EVENT_REFILL_SECONDS: f64 = 300.0;
/// Bytes of an event's message, as the API validates it.
pub const EVENT_MESSAGE_BYTES_MAX: usize = 1_024;
/// Changes an in-memory fake remembers for watches; an older resource version is answered with 410.
pub const FAKE_HISTORY_MAX: usize = 20_000;
/// Objects an in-memory fake holds; a test that creates more has a loop.
pub const FAKE_OBJECTS_MAX: usize = 50_000;
