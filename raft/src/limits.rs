//! Every bound of this crate, with unit, value and reason.

use std::time::Duration;

/// Largest command any configuration may allow, in bytes. A command travels in one message, and a message of
/// this size takes about a tenth of a second on a 1 Gbit/s link: longer would look like a dead leader.
pub(crate) const COMMAND_BYTES_CEILING: usize = 16 << 20;

/// Largest record the codec reads, in bytes: a full message of entries with room for their headers.
pub(crate) const RECORD_BYTES_MAX: usize = 64 << 20;

/// Largest gRPC message between members, in bytes. The same as a record: a message carries one.
pub(crate) const MESSAGE_BYTES_MAX: usize = RECORD_BYTES_MAX;

/// Entries in one append message. Enough to fill [`APPEND_BYTES_MAX`] with small commands.
pub(crate) const APPEND_ENTRIES_MAX: u64 = 1024;

/// Bytes of commands in one append message, unless a single command is larger. Ten milliseconds of a
/// 1 Gbit/s link, so that a message never delays the next sign of life by much.
pub(crate) const APPEND_BYTES_MAX: usize = 1 << 20;

/// Entries in one disk write. One write shares one sync, and its memory is bounded by
/// [`LOG_QUEUE_BYTES_MAX`] anyway.
pub(crate) const WRITE_ENTRIES_MAX: u64 = 4096;

/// Bytes of entries that may wait for the disk. Beyond it appending waits, which slows proposals down.
pub(crate) const LOG_QUEUE_BYTES_MAX: usize = 64 << 20;

/// Bytes of entries in one write to the log and one sync. A few milliseconds of a slow disk, so that a burst does not keep
/// the first of it waiting for the last.
pub(crate) const WRITE_BYTES_MAX: usize = 4 << 20;

/// Bytes of entries that share a record in the log, unless a single one is larger. Who looks for an entry reads the record it is
/// in from its beginning; the header of a record is less than a thousandth of so much.
pub(crate) const LOG_RECORD_BYTES: u64 = 64 << 10;

/// Smallest segment of the log in bytes that options may ask for: what a handful of small writes takes.
pub(crate) const SEGMENT_BYTES_MIN: u64 = 4 << 10;

/// Largest segment of the log in bytes that options may ask for. The log is given back to the disk in segments, and what
/// is behind the end of one is read at every start.
pub(crate) const SEGMENT_BYTES_CEILING: u64 = 1 << 30;

/// Former segments of the log that are kept to become the next ones. One is written when the next is given up.
pub(crate) const LOG_SPARES_MAX: usize = 2;

/// How often a log that ran out of space looks whether there is some again.
pub(crate) const SPACE_RETRY: Duration = Duration::from_millis(200);

/// Bytes an entry takes in the cache beside its command: bookkeeping of the deque and the shared buffer.
pub(crate) const ENTRY_OVERHEAD_BYTES: usize = 96;

/// Entries read from disk in one go while the log is verified or a follower catches up.
pub(crate) const READ_ENTRIES_MAX: u64 = 1024;

/// Log entries purged together. Each purge is a record in the log and may give up a segment; one for every few entries
/// would be waste.
pub(crate) const PURGE_ENTRIES_MIN: u64 = 1024;

/// How long to wait for a snapshot that was due, before the next one may be asked for.
pub(crate) const SNAPSHOT_BY_BYTES_MAX: Duration = Duration::from_secs(10);

/// Commands in one batch given to the state machine.
pub(crate) const APPLY_COMMANDS_MAX: usize = 1024;

/// Bytes of commands in one batch given to the state machine, unless a single command is larger. Bounds how
/// long one `apply` keeps the others waiting.
pub(crate) const APPLY_BYTES_MAX: usize = 4 << 20;

/// Commands in a batch that the state machine is asked to apply at once, on the thread that brings it: the fewer there are, the more
/// it counts to hand them to another thread and their answers back.
pub(crate) const APPLY_AT_ONCE_COMMANDS_MAX: usize = 8;

/// Bytes of commands in such a batch.
pub(crate) const APPLY_AT_ONCE_BYTES_MAX: usize = 64 << 10;

/// Messages waiting for the core of the group. Beyond it callers wait.
pub(crate) const API_QUEUE_MAX: u64 = 16 * 1024;

/// Proposals the core takes from its queue into one append.
pub(crate) const API_BATCH_MAX: u64 = 4096;

/// Proposals of one member that may wait for their outcome. Beyond it [`Overloaded`](crate::Error::Overloaded).
pub(crate) const PROPOSALS_MAX: usize = 64 * 1024;

/// Commands that a member which does not lead sends on in one message. Enough to fill [`FORWARD_BYTES_MAX`] with small ones.
pub(crate) const FORWARD_REQUESTS_MAX: usize = 1024;

/// Bytes of commands in one such message, and of the answers in one message back, unless a single one is larger: what a message between
/// members usually takes.
pub(crate) const FORWARD_BYTES_MAX: usize = APPEND_BYTES_MAX;

/// Intervals between signs of life after which a round of readers no longer counts on them: one that was lost, and two to spare.
pub(crate) const ROUND_TRIP_INTERVALS: u32 = 3;

/// Readers that may wait for one read round. Beyond it callers wait to be let in.
pub(crate) const READERS_MAX: usize = 64 * 1024;

/// Bytes of one snapshot chunk. Large enough to keep a link busy, small enough not to disturb it.
pub(crate) const SNAPSHOT_CHUNK_BYTES: usize = 512 << 10;

/// Files in one snapshot. A state of a terabyte in files of 64 MiB has sixteen thousand.
pub(crate) const SNAPSHOT_FILES_MAX: u64 = 1 << 20;

/// Bytes of a file name in a snapshot, relative to its directory.
pub(crate) const SNAPSHOT_NAME_BYTES_MAX: usize = 1024;

/// How long one transfer of a snapshot may take: a terabyte at 1 Gbit/s takes two and a half hours.
pub(crate) const SNAPSHOT_TRANSFER_MAX: Duration = Duration::from_secs(4 * 3600);

/// How long to wait for a connection to a peer. Longer than any round trip on earth, shorter than an election.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_millis(400);

/// Silence on a connection after which it is probed.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);

/// How long a probe may remain unanswered before the connection counts as dead.
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long appended entries may remain unanswered before the stream is opened anew. A slow disk is normal, so
/// this is far beyond an election.
pub(crate) const APPEND_ANSWER_MAX: Duration = Duration::from_secs(10);

/// HTTP/2 window of one stream in bytes: a few append messages in flight.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 4 << 20;

/// HTTP/2 window of one connection in bytes.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// First wait after a peer could not be reached.
pub(crate) const BACKOFF_MIN: Duration = Duration::from_millis(20);

/// Longest wait between attempts to reach a peer. Bounds how long a returning member goes unnoticed.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// Wait before a proposal refused by a member that is not the leader is tried again, unless news of a leader
/// arrives earlier.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_millis(25);

/// How long a learner may take to catch up with the log before its promotion is refused: enough for one that was added
/// a moment ago, and less than clients of etcd wait, which would refuse at once.
pub(crate) const PROMOTE_CATCH_UP_MAX: Duration = Duration::from_secs(3);

/// Entries a learner may lag behind and still count as caught up.
pub(crate) const PROMOTE_LAG_MAX: u64 = 256;

/// How long handing over the leadership may take.
pub(crate) const TRANSFER_MAX: Duration = Duration::from_secs(5);

/// How long a leader that stops tries to hand over first. A little longer than the round trips it takes.
pub(crate) const HAND_OVER_MAX: Duration = Duration::from_secs(1);

/// How long a member that stops waits for what it has sent to the leader on behalf of its callers.
pub(crate) const CARRY_MAX: Duration = Duration::from_secs(1);

/// How long the core of the group may take to stop before it is left to the process exit.
pub(crate) const STOP_MAX: Duration = Duration::from_secs(10);

/// A read that takes no bound: the caller limited the number of entries.
pub(crate) const READ_UNBOUNDED: usize = usize::MAX;

/// Members, past ones included, whose incarnation is remembered. Beyond it none is learned; a group that replaces a member
/// every day gets there in a decade.
pub(crate) const INCARNATIONS_MAX: usize = 4096;

/// How long a former leader may still answer what it was asked before its successor was known. One that handed over
/// answers within a round trip; one that is paused or cut off never does.
pub(crate) const LAST_ANSWER_MAX: Duration = Duration::from_millis(200);

/// Syncs and applied batches whose times are remembered, to tell later where the time of a slow request went: at a thousand
/// each second, those of the last quarter of a second.
pub const SPANS_REMEMBERED: usize = 256;
