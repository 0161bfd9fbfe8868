//! Every bound of these tests, with its reason.

use std::time::Duration;

/// Longest for a member to answer its first read: it may have to replay a log, on a machine that builds meanwhile.
pub const READY: Duration = Duration::from_secs(30);
/// How often a condition is looked at.
pub const POLL: Duration = Duration::from_millis(20);
/// Longest for one call of a client. Beyond it the outcome is unknown.
pub const CALL: Duration = Duration::from_secs(2);
/// Pause of a client between calls: some hundreds of calls a second from all of them.
pub const THINK: Duration = Duration::from_millis(8);
/// Pause after a call that failed: each leaves a call of unknown outcome, and many of those are hard to judge.
pub const AFTER_FAILURE: Duration = Duration::from_millis(100);
/// Acknowledged calls before the fault, and again after it, without which a run says nothing.
pub const CALLS_MIN: usize = 100;
/// Longest for those calls to come.
pub const TRAFFIC: Duration = Duration::from_secs(20);
/// Longest for every watch to reach the head after the load has ended (W13).
pub const WATCHES: Duration = Duration::from_secs(10);
/// Steps of the search for a linearization: some seconds.
pub const STEPS: u64 = 20_000_000;
/// Clients of a run.
pub const CLIENTS: usize = 6;
/// Keys they share: few, so that they meet.
pub const KEYS: usize = 4;
/// Longest for another member to lead when the leader's disk hangs: an election timeout until it is noticed, another
/// and a quarter until somebody stands, and as much again for a machine that is busy.
pub const SUCCESSION: Duration = Duration::from_secs(5);
/// Seconds of the lease that must outlive jumps of a clock.
pub const LEASE: i64 = 60;
/// Size of a small disk: what a member wants to see free, and as much again as a run writes. Small, because it is memory.
pub const DISK_MIB: u64 = 400;
/// What is left of it when it is nearly full: less than members want to see free, and more than a run writes.
pub const DISK_NEARLY_FULL_MIB: u64 = 64;
/// Longest for a member to notice that space is short, or there again: it looks every two seconds.
pub const SPACE: Duration = Duration::from_secs(10);
/// Connections beside those of the clients, to a member that gets no more files: more than it may have spare ones.
pub const VISITORS: usize = 100;
/// Bytes of memory beyond what a member has that it gets when it is to get no more: enough to notice.
pub const MEMORY_SPARE: u64 = 1 << 20;
/// Time on a core that a member has in each period when it is to have little, in microseconds: as much as makes its heartbeats late, and
/// lets it go on.
pub const QUOTA_CPU_US: u64 = 2_000;
/// Such a period.
pub const QUOTA_PERIOD_US: u64 = 100_000;
/// Bytes of memory that a member may take beside what it has when it is to get no more: less than a few flushes of its state take.
pub const QUOTA_MEMORY: u64 = 1 << 20;
/// Answered calls during a fault that leaves a majority, without which the cluster did not go on.
pub const CALLS_DURING_MIN: usize = 20;
/// Bytes that a proxy treats as one piece: about what TCP sends at once.
pub const PIECE_BYTES: usize = 1460;
/// Pieces under way in one direction of a connection before its sender must wait.
pub const PIECES_UNDER_WAY: usize = 1024;
/// Longest for a proxy to reach a member: members beside it answer at once or never.
pub const PROXY_CONNECT: Duration = Duration::from_secs(1);
/// Longest for a change of membership to be agreed on while clients call and leaders change.
pub const MEMBERSHIP: Duration = Duration::from_secs(30);
/// Longest for a damaged member to notice and end once the damage is in its way.
pub const DAMAGE: Duration = Duration::from_secs(15);
/// Reads that are to hang at the same time.
pub const HANGING_READS: usize = 64;
/// How many of them must: more than a member has threads that must not wait, on most machines.
pub const HANGING_READS_MIN: u64 = 32;
/// Bytes of each of those values: more than the engine reads at once.
pub const HANGING_BYTES: usize = 32 << 10;
/// Entries between two flushes of the state, for faults that concern its files: some flushes in each run.
pub const FLUSH_AFTER: u32 = 100;
/// Bytes of each of the large commands that change nothing, and how many of them fill a segment of the log (16 MiB).
pub const BALLAST: (usize, usize) = (1 << 20, 18);
/// Longest to read the past of a member whose table is damaged: the whole of it some times.
pub const DAMAGE_READS: Duration = Duration::from_secs(5);
/// Contenders for the lock of a run: one holds it, some wait.
pub const CONTENDERS: u64 = 4;
/// Seconds of their leases: longer than the cluster may go without a leader, shorter than a paused leader is away.
pub const LOCK_TTL: i64 = 2;
/// Times the lock must be taken before the fault, and again after it, without which a run says nothing.
pub const LOCKS_MIN: usize = 8;
/// Longest for that: silent holders are waited for, each for as long as a lease.
pub const LOCKS_TRAFFIC: Duration = Duration::from_secs(40);
/// Longest for the lock to come to one contender.
pub const LOCK_PATIENCE: Duration = Duration::from_secs(10);
/// Writes of a holder, at most.
pub const GUARDED_WRITES: u32 = 4;
/// One turn in so many ends in silence.
pub const SILENT_EVERY: u64 = 6;
/// How long a silent holder goes on writing after its lease may have ended.
pub const ZOMBIE: Duration = Duration::from_millis(1500);
/// Accounts of a bank: few, so that transfers meet.
pub const ACCOUNTS: usize = 4;
/// What each holds in the beginning.
pub const BALANCE: i64 = 1000;
