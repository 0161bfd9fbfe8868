//! Every bound of this crate, with its unit and why it has that value (invariant S8).

use std::time::Duration;

/// Bytes of one memtable. Batches are flushed in memtables, so this is also what a restart replays at most from
/// the Raft log, times [`ENGINE_MEMTABLES_MAX`].
pub const ENGINE_MEMTABLE_BYTES: usize = 32 << 20;

/// Bytes of a version's record from which on the engine keeps most of it apart from its key. Below, a second look-up and a second key cost more than
/// what merges write again. May be lowered, but not raised: what is removed is looked for apart from here on.
pub const ENGINE_APART_BYTES_MIN: usize = 512;

/// Part of a memtable that its filter takes: of 32 MiB some 2.7 million bits, which is 26 for each of 100,000 versions of 300 bytes.
pub const ENGINE_MEMTABLE_FILTER_RATIO: f64 = 0.01;

/// Memtables that may wait for their flush before writers wait.
pub const ENGINE_MEMTABLES_MAX: i32 = 3;

/// Tables of flushed memtables that are merged with the level below at once. They overlap with all of it, as far as they hold keys; long
/// values do not overlap and are moved.
pub const ENGINE_TABLES_BEFORE_MERGE: i32 = 8;

/// Part of a table's entries that are removals, from which on it is merged soon. Where old versions are removed as fast as new ones are
/// written it is about a half, and nothing is to be gained.
pub const ENGINE_REMOVALS_PART: f64 = 0.75;

/// Bytes of removed versions whose removal is made durable, and with it their space free again, without waiting for writes: as many as
/// are written between two flushes.
pub const SCRUB_BYTES_PER_FLUSH: u64 = 24 << 20;

/// Bytes that a merge of tables takes at most for as long as it lasts, about: those of some flushes with the level below them, or half as many
/// further down.
pub const ENGINE_MERGE_BYTES_MAX: u64 = 1 << 30;

/// Free bytes of the disk below which nothing is flushed: what the memtables of keys and of long values may hold, because a flush that runs
/// out of space ends the member.
pub const ENGINE_FLUSH_FREE_BYTES_MIN: u64 = 64 << 20;

/// Free bytes of the disk that the log leaves to the engine: its memtables, the flush of each, and the compactions that follow.
/// Half of what clients must leave by default, so that they are refused long before.
pub const ENGINE_RESERVE_BYTES: u64 = 128 << 20;

/// Bytes of cached blocks, indexes and filters.
pub const ENGINE_CACHE_BYTES: usize = 64 << 20;

/// How often a cursor for a long look is made anew because something was written between its two halves. Then it keeps a snapshot.
pub const ENGINE_LOOKS_AT_A_MOMENT_MAX: u32 = 100;

/// How long tables of the lowest level stay as they are when a snapshot ends. Else each would be written once more, only to have the order forgotten in which
/// its entries came. Ten years: as good as never.
pub const ENGINE_TABLES_LEFT_ALONE: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Files the engine keeps open; beyond it reopens. Well below the usual limit of 1024 per process.
pub const ENGINE_OPEN_FILES_MAX: i32 = 256;

/// Bytes of one encoded command or response. The client's bound on a transaction (8 MiB) plus its framing;
/// below the ceiling of the Raft log (16 MiB).
pub const RECORD_BYTES_MAX: usize = 10 << 20;

/// Bytes of keys and values that the reads inside one mutating transaction may return: their answer is a
/// record.
pub const TXN_READ_BYTES_MAX: usize = 8 << 20;

/// Bytes of keys and values in the answer to one read. A larger range is read in pages.
pub const RANGE_BYTES_MAX: usize = 512 << 20;

/// Keys or leases that one command may look at to be applied on a thread that others need.
pub const LOOKS_AT_ONCE_MAX: usize = 16;

/// Watchers there may be for that: each that a change concerns is told of it on that thread.
pub const WATCHERS_TOLD_AT_ONCE_MAX: usize = 1000;

/// Memory for what is known of keys that were written lately; about a hundred thousand.
pub const RECENT_KEYS_BYTES_MAX: usize = 16 << 20;

/// Older versions of a key that a scan steps over one by one before it seeks to the next key: a seek costs
/// about as much as this many steps.
pub const SCAN_STEPS_BEFORE_SEEK: usize = 8;

/// Revisions in the batches in which compacted versions are removed: small enough to keep the disk free for
/// others in between.
pub const SCRUB_REVISIONS_PER_BATCH: usize = 1000;

/// Leases ended by one command; the rest follows in the next.
pub const LEASES_PER_COMMAND_MAX: usize = 1000;

/// Renewals waiting for the command that carries them; beyond, callers are refused until it is through.
pub const LEASE_RENEWALS_WAITING_MAX: usize = 100_000;

/// Milliseconds between two looks at the deadlines of leases; a lease ends at most this late.
pub const LEASE_TICK_MS: u64 = 250;

/// Revisions queued for one watch before it is sent to read them from history instead.
pub const WATCH_QUEUE_REVISIONS_MAX: usize = 1024;

/// Places for revisions that an empty queue keeps: most watchers are quiet most of the time, and one that is not should not take and give back
/// memory with every change.
pub const WATCH_QUEUE_REVISIONS_KEPT: usize = 4;

/// Bytes of changes queued for one watch before it is sent to read them from history instead.
pub const WATCH_QUEUE_BYTES_MAX: usize = 4 << 20;

/// Revisions read from history in one go by a watch that catches up.
pub const WATCH_HISTORY_REVISIONS: usize = 1000;

/// Bytes of changes read from history in one go by a watch that catches up; always at least one revision.
pub const WATCH_HISTORY_BYTES: usize = 1 << 20;

/// Watches of one member.
pub const WATCHES_MAX: usize = 1_000_000;

/// Shortest time to live of a lease in seconds. Below it, the time to agree on a renewal would matter.
pub const LEASE_TTL_S_MIN: i64 = 1;

/// How often within the history window what is older is forgotten: history is kept for at most this fraction of the
/// window too long.
pub const HISTORY_SAMPLES: u32 = 12;

/// Time between two looks at the free space of the disk, while there is much.
pub const SPACE_CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The same when it becomes little: writes should be refused before the log comes to what it leaves to the state.
pub const SPACE_CHECK_INTERVAL_NEAR: Duration = Duration::from_millis(50);

/// Free space is little below so many times what must be free for writes: more than is written between two looks.
pub const SPACE_NEAR_FACTOR: u64 = 4;

/// Bytes in flight on one connection or stream before the receiver must take some.
pub const HTTP2_WINDOW_BYTES: u32 = 1 << 20;

/// How long a joining member waits for one answer of one member.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(2);

/// How often a joining member asks each member before it gives up.
pub const JOIN_ATTEMPTS: u32 = 5;

/// Bytes a gRPC request may have beyond the limit on requests, for framing; etcd's value.
pub const GRPC_OVERHEAD_BYTES: usize = 512 << 10;

/// Keys in one message of a streamed range.
pub const RANGE_STREAM_KEYS: usize = 1000;

/// Bytes of keys and values after which a message of a streamed range ends. With one more value it is below what clients take.
pub const RANGE_STREAM_BYTES: usize = 1 << 20;

/// Renewals of one stream that are on their way at the same time.
pub const KEEP_ALIVES_PER_STREAM: usize = 256;

/// Bytes that a connection gathers before it writes: some hundred small answers.
pub const GATHERED_BYTES_MAX: usize = 64 << 10;

/// Bytes of memory a connection takes for the first of them.
pub const GATHERED_BYTES_FIRST: usize = 4 << 10;

/// Responses of one watch stream that wait for the client to read.
pub const WATCH_RESPONSES_IN_FLIGHT: usize = 16;

/// Bytes of events in one response to a client that asked for fragments; etcd's value (1.5 MiB and framing).
pub const WATCH_RESPONSE_BYTES: usize = 2 << 20;

/// How often a stream tells its client news before it looks at what that asks for, and at what was read meanwhile.
pub const NEWS_IN_A_ROW_MAX: u32 = 32;

/// Shortest time between two progress messages to a quiet watch that asked for them: each costs a message for each watch.
pub const WATCH_PROGRESS_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// How long a member that starts leaves its disk untidied while it replays its log. A log that has not been replayed by then may hold what was
/// never committed, or have no leader.
pub const REPLAY_MAX: Duration = Duration::from_secs(30);

/// How long a member tries to make a new learner a voter before it leaves that to an operator.
pub const PROMOTE_PATIENCE: Duration = Duration::from_secs(600);

/// Time between two attempts at something that needs the cluster and failed.
pub const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Time between two attempts of a member that starts to tell the others where it serves clients.
pub const ANNOUNCE_INTERVAL: Duration = Duration::from_millis(100);

/// How long a list of the members waits until it has the URLs of the member that answers.
pub const ANNOUNCE_PATIENCE: Duration = Duration::from_secs(2);

/// Learners that wait to be made voters by this process.
pub const PROMOTIONS_WAITING_MAX: usize = 16;

/// Bytes of a chunk of an image, unless one entry has more: small enough to send as one message, large enough for a
/// checksum each to cost nothing.
pub const IMAGE_CHUNK_BYTES: usize = 256 << 10;

/// Largest chunk of an image that is read: an entry is at most a command, with its key twice.
pub const IMAGE_CHUNK_BYTES_MAX: usize = 2 * RECORD_BYTES_MAX;

/// Images that are being made at the same time by one member. Each holds on to files of the engine until it ends.
pub const IMAGES_MAX: usize = 2;

/// Pieces of an image that wait for whoever reads it.
pub const IMAGE_PIECES_IN_FLIGHT: usize = 4;

/// Bytes written at once while restoring.
pub const RESTORE_BATCH_BYTES: usize = 4 << 20;

/// Notes of time that fit into the history window: the longer it is, the further they are apart, and the table of times
/// stays within some megabytes.
pub const NOTES_PER_WINDOW: u32 = 86_400;

/// Shortest time between two notes of time: each is a command, and a second is what people tell times by.
pub const NOTE_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Time between two notes of time when history is kept for ever.
pub const NOTE_INTERVAL_UNBOUNDED: Duration = Duration::from_secs(60);

/// Comparisons of two moments under way at one member. Each holds on to files of the engine until it ends.
pub const DIFFS_MAX: usize = 8;

/// Bytes of differences in one piece, unless one difference has more.
pub const DIFF_BYTES_PER_PIECE: usize = 256 << 10;

/// Pieces of a comparison that wait for whoever reads it.
pub const DIFF_PIECES_IN_FLIGHT: usize = 2;

/// Keys brought back by one transaction; the rest follows in the next.
pub const UNDELETE_KEYS_PER_TXN: usize = 1000;

/// Bytes brought back by one transaction, unless one key has more.
pub const UNDELETE_BYTES_PER_TXN: usize = 4 << 20;

/// Keys that the refusal of an undelete names.
pub const UNDELETE_EXAMPLES: usize = 5;

/// Seconds of a lease that a lock or an election grants to a caller who brought none; etcd's value for a session.
pub const SESSION_TTL_S: i64 = 60;

/// How long a leader waits for the hash of another member's state: 16 GiB of short values take 20 minutes, of long ones five.
pub const HASH_CHECK_TIMEOUT: Duration = Duration::from_secs(1800);

/// Longest time from the start of a member to its first comparison as the leader.
pub const HASH_CHECK_FIRST: Duration = Duration::from_secs(30);

/// Bytes of keys, and of values that are with them, hashed between two pauses: some milliseconds of work, so that it takes a small part of a core.
pub const HASH_CHECK_BYTES_PER_STEP: usize = 256 << 10;

/// Bytes of other values read between two pauses: with the reading itself at most some 64 MiB each second.
pub const INSPECTION_BYTES_PER_STEP: usize = 1 << 20;

/// Pause between two steps of hashing or reading.
pub const HASH_CHECK_PAUSE: Duration = Duration::from_millis(14);

/// Bytes of a file that are copied or hashed in one go.
pub const BACKUP_COPY_BYTES: usize = 1 << 20;

/// Files of one backup. The engine's are at least some megabytes each once there are many.
pub const BACKUP_FILES_MAX: usize = 100_000;

/// How long a question after the health of a member may take; less than what usually asks waits.
pub const HEALTH_PATIENCE: Duration = Duration::from_secs(2);

/// How long a handshake waits for a look at the files of certificates. They are small; a disk that hangs must not keep
/// clients out while the keys in memory are good.
pub const KEYS_READ_PATIENCE: Duration = Duration::from_secs(1);

/// Time between two looks at the files of certificates without a handshake.
pub const KEYS_WATCH_INTERVAL: Duration = Duration::from_secs(10);

/// How long a newcomer waits for the place of one that was sent away: its task only has to notice.
pub const PLACE_PATIENCE: Duration = Duration::from_millis(250);

/// Connections of other members. Each has a few; the rest is room for those that come anew before the old are seen to be dead.
pub const PEER_CONNECTIONS_MAX: usize = 1024;

/// Open files that connections leave to the rest of the process: those of engine and log, and some to spare.
pub const FILES_RESERVED: u64 = ENGINE_OPEN_FILES_MAX as u64 + 256;

/// Pause after a connection could not be accepted: most often for want of files, which others must close first.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Shortest time between two reports of the same trouble.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Bytes of the headers of one request.
pub const HTTP2_HEADER_BYTES_MAX: u32 = 16 << 10;

/// Streams that a client has opened and reset before we looked at them; beyond, its connection is closed.
pub const HTTP2_RESETS_PENDING_MAX: usize = 20;

/// Streams of one connection that we reset for the client's mistakes; beyond, it is closed.
pub const HTTP2_RESETS_SENT_MAX: usize = 1024;

/// How long the gateway waits for the first message of a request.
pub const GATEWAY_BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of an answer that the gateway turns into JSON, which takes several times as many for a while. More is for gRPC.
pub const GATEWAY_ANSWER_BYTES_MAX: usize = 64 << 20;

/// How long the only message of a request may take to arrive.
pub const REQUEST_BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Steps of PBKDF2 with HMAC-SHA-512 at the default cost: a little more than the 210 000 that OWASP advises; about a tenth of a second.
pub const PASSWORD_STEPS_AT_COST_10: u32 = 3_300 << 6;

/// Logins and changes of passwords that wait for their turn at one member: some ten seconds of hashing on two cores.
/// Beyond, callers are refused.
pub const PASSWORDS_WAITING_MAX: usize = 128;

/// Bytes of a password, or of the name of a user or role.
pub const NAME_BYTES_MAX: usize = 1024;

/// Users of a store. They are in memory, some hundred bytes each.
pub const USERS_MAX: usize = 100_000;

/// Roles of a store.
pub const ROLES_MAX: usize = 100_000;

/// Roles of a user. A check looks at all of them.
pub const ROLES_PER_USER_MAX: usize = 1000;

/// Ranges a role is granted.
pub const PERMISSIONS_PER_ROLE_MAX: usize = 10_000;

/// Bytes of the keys of the ranges a role is granted: a role is one record.
pub const PERMISSION_BYTES_PER_ROLE_MAX: usize = 1 << 20;

/// Tokens that are good at a time. They are in memory, some hundred bytes each.
pub const TOKENS_MAX: usize = 100_000;

/// Tokens renewed or ended by one command; the rest follows in the next.
pub const TOKENS_PER_COMMAND_MAX: usize = 1000;

/// Parts of a token's life after which its use is told to the other members: a token lives at most this part longer
/// after its last use than it was promised, and costs as many commands.
pub const TOKEN_RENEWALS_PER_LIFE: u32 = 3;

/// Longest time between two looks at the tokens that were used or are due.
pub const TOKEN_TICK: Duration = Duration::from_secs(1);

/// Looks in the life of a token, if it is short.
pub const TOKEN_TICKS_PER_LIFE: u32 = 10;

/// How often a request is repeated when users or roles change while it runs.
pub const AUTH_ATTEMPTS: u32 = 4;

/// How long a request waits for this member to learn of a change of users or roles that the others know.
pub const AUTH_PATIENCE: Duration = Duration::from_secs(1);

/// How long a member tries to have the cluster take note of its disk, before it looks at the disk again.
pub const ALARM_PATIENCE: Duration = Duration::from_secs(2);

/// Turns of tasks between two looks of the runtime at its sockets and clocks, while there are always tasks that can go on. Tokio's own 61 make
/// for some 40 proposals in an append; with 600 nothing is gained beyond this.
pub const TURNS_BETWEEN_LOOKS: u32 = 200;
