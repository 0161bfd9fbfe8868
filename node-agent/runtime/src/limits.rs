//! Every bound of the runtime, with its unit and the reason for its value.

use std::time::Duration;

/// Bytes of one control message between runtime and shim. An OCI process with a huge environment fits.
pub const SHIM_MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Bytes of one data frame on an exec or attach stream: what one pipe read returns at most.
pub const STREAM_FRAME_BYTES_MAX: usize = 64 << 10;

/// Bytes of one log entry's text before it is split into partial entries; the size containerd uses, so log
/// readers are tuned to it.
pub const LOG_LINE_BYTES_MAX: usize = 16 << 10;

/// Bytes each of stdout and stderr that `ExecSync` returns; the rest is discarded. As containerd: 16 MiB.
pub const EXEC_SYNC_OUTPUT_BYTES_MAX: usize = 16 << 20;

/// Frames queued for one attached client. A slower client is disconnected rather than slowing the container.
pub const ATTACH_QUEUE_FRAMES_MAX: usize = 256;

/// Events queued for one subscriber of container events. A slower one is told to list again by a closed stream.
pub const EVENT_QUEUE_MAX: usize = 1024;

/// How long a new shim may take until its control socket answers.
pub const SHIM_START_TIMEOUT: Duration = Duration::from_secs(20);

/// How long one control request to a shim may take. Creating a container on a loaded machine takes seconds.
pub const SHIM_REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a shim keeps reading output after the container's first process ended. Grandchildren that left the
/// process group may hold the pipe for ever.
pub const OUTPUT_DRAIN_TIMEOUT: Duration = Duration::from_millis(1500);

/// How long to wait for processes to be gone after SIGKILL. Longer means a process stuck in the kernel.
pub const KILL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an exec, attach or port-forward URL stays valid until it is used.
pub const STREAM_TOKEN_TTL: Duration = Duration::from_secs(60);

/// Streaming URLs that may wait for their first use at once.
pub const STREAM_TOKENS_MAX: usize = 1000;

/// Bytes of one HTTP or WebSocket message on a streaming connection.
pub const WEBSOCKET_MESSAGE_BYTES_MAX: usize = 16 << 20;

/// How long a client may take to open the streams of an exec or attach over SPDY.
pub const STREAM_CREATION_TIMEOUT: Duration = Duration::from_secs(30);

/// Concurrent streams on one SPDY connection: port-forward uses two for each connection a browser opens.
pub const SPDY_STREAMS_MAX: usize = 2048;

/// Bytes of one SPDY frame's payload we accept. The protocol allows 16 MiB; every client sends far smaller ones.
pub const SPDY_FRAME_BYTES_MAX: usize = 1 << 20;

/// Bytes of one SPDY header block after decompression.
pub const SPDY_HEADERS_BYTES_MAX: usize = 64 << 10;

/// Bytes of an image manifest, index or configuration document.
pub const IMAGE_DOCUMENT_BYTES_MAX: u64 = 4 << 20;

/// Layers of one image: what overlayfs mounts and what every registry accepts.
pub const IMAGE_LAYERS_MAX: usize = 127;

/// Bytes of a `/etc/passwd` or `/etc/group` that is searched for a user.
pub const PASSWD_BYTES_MAX: u64 = 4 << 20;

/// Mirrors and plain-HTTP registries tried for one pull.
pub const PULL_ENDPOINTS_MAX: usize = 8;
