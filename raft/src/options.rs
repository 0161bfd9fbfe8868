//! How one member is set up.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::limits;
use crate::member::MemberId;

/// Options of a [`Node`](crate::Node). Everything but the identity and the directory has a default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Identity of this member, never zero. It is written into the log at the first start; a directory with
    /// another identity is refused.
    pub id: MemberId,
    /// Identity of the cluster. Peers of another cluster are refused.
    pub cluster_id: u64,
    /// Where log and received snapshots live; created when missing. The state machine keeps its state on the
    /// same file system, so that an image can be made of links.
    pub data_dir: PathBuf,
    /// Milliseconds between two signs of life of the leader; 100. Should be at least one round trip.
    pub heartbeat_interval_ms: u64,
    /// Shortest silence of the leader, in milliseconds, after which a follower asks to be elected; 1000. At least three
    /// heartbeats, so that one lost packet does not cost the leadership.
    pub election_timeout_min_ms: u64,
    /// Longest such silence in milliseconds; 1250, less than twice the shortest. The spread keeps two candidates apart.
    pub election_timeout_max_ms: u64,
    /// Entries after which there is a snapshot, however small they are; 100 000. Smaller keeps the log short and a restart
    /// quick, larger flushes the state less often.
    pub snapshot_entries: u64,
    /// Bytes of commands after which there is a snapshot, however few entries they are; 24 MiB.
    pub snapshot_bytes: u64,
    /// Entries that stay in the log although a snapshot holds them; 5000. A member that was away for fewer needs
    /// no image.
    pub log_keep_entries: u64,
    /// Bytes that those may take; 128 MiB, in whole segments and at least one. Entries that are large are fewer.
    pub log_keep_bytes: u64,
    /// Memory for the newest entries in bytes; 64 MiB. Replication to members that keep up reads nothing else.
    pub log_cache_bytes: usize,
    /// Size of one segment of the log in bytes; 16 MiB. The log is given back to the disk in segments; a small one
    /// grows to this size in steps.
    pub log_segment_bytes: u64,
    /// Free bytes of the disk that the log does not take; none. A state on the same disk needs some to make durable what is in
    /// the log, without which the log can never give anything back.
    pub log_reserve_bytes: u64,
    /// Largest command in bytes; 8 MiB.
    pub command_bytes_max: usize,
    /// Milliseconds after which the outcome of a proposal is reported as unknown; 10 000.
    pub propose_timeout_ms: u64,
    /// Milliseconds after which a linearizable read gives up; 5000.
    pub read_timeout_ms: u64,
    /// Milliseconds a proposal waits for a leader to appear; 3000. A little more than two elections.
    pub leader_wait_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            id: MemberId(0),
            cluster_id: 0,
            data_dir: PathBuf::new(),
            heartbeat_interval_ms: 100,
            election_timeout_min_ms: 1000,
            election_timeout_max_ms: 1250,
            snapshot_entries: 100_000,
            snapshot_bytes: 24 << 20,
            log_keep_entries: 5_000,
            log_keep_bytes: 128 << 20,
            log_cache_bytes: 64 << 20,
            log_segment_bytes: 16 << 20,
            log_reserve_bytes: 0,
            command_bytes_max: 8 << 20,
            propose_timeout_ms: 10_000,
            read_timeout_ms: 5_000,
            leader_wait_ms: 3_000,
        }
    }
}

impl Options {
    /// Refuses options that contradict each other.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse = |option, detail: String| Err(Error::Options { option, detail });
        if self.id.0 == 0 {
            return refuse("id", "must not be zero".into());
        }
        if self.data_dir.as_os_str().is_empty() {
            return refuse("data_dir", "must be set".into());
        }
        if self.heartbeat_interval_ms == 0 {
            return refuse("heartbeat_interval_ms", "must not be zero".into());
        }
        if self.election_timeout_min_ms < 3 * self.heartbeat_interval_ms {
            return refuse("election_timeout_min_ms", "must be at least three heartbeat intervals".into());
        }
        if self.election_timeout_max_ms <= self.election_timeout_min_ms {
            return refuse("election_timeout_max_ms", "must exceed election_timeout_min_ms".into());
        }
        if self.election_timeout_max_ms >= 2 * (self.election_timeout_min_ms - self.heartbeat_interval_ms) {
            return refuse(
                "election_timeout_max_ms",
                "must be less than twice election_timeout_min_ms less one heartbeat interval".into(),
            );
        }
        if self.snapshot_entries == 0 {
            return refuse("snapshot_entries", "must not be zero".into());
        }
        if self.snapshot_bytes == 0 {
            return refuse("snapshot_bytes", "must not be zero".into());
        }
        if self.command_bytes_max == 0 || self.command_bytes_max > limits::COMMAND_BYTES_CEILING {
            return refuse(
                "command_bytes_max",
                format!("must be between 1 and {} bytes", limits::COMMAND_BYTES_CEILING),
            );
        }
        let segment_bytes = limits::SEGMENT_BYTES_MIN..=limits::SEGMENT_BYTES_CEILING;
        if !segment_bytes.contains(&self.log_segment_bytes) {
            let detail =
                format!("must be between {} and {} bytes", segment_bytes.start(), segment_bytes.end());
            return refuse("log_segment_bytes", detail);
        }
        if self.propose_timeout_ms == 0 || self.read_timeout_ms == 0 {
            return refuse("propose_timeout_ms", "timeouts must not be zero".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Options), expected: Option<&str>) {
        let mut options = Options { id: MemberId(1), data_dir: "data".into(), ..Options::default() };
        change(&mut options);
        let refused = match options.validate() {
            Ok(()) => None,
            Err(Error::Options { option, .. }) => Some(option),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(refused, expected);
    }

    #[test]
    fn contradictions_are_refused() {
        check(|_| {}, None);
        check(|options| options.id = MemberId(0), Some("id"));
        check(|options| options.data_dir = PathBuf::new(), Some("data_dir"));
        check(|options| options.log_segment_bytes = 100, Some("log_segment_bytes"));
        check(|options| options.heartbeat_interval_ms = 400, Some("election_timeout_min_ms"));
        check(|options| options.election_timeout_max_ms = 1000, Some("election_timeout_max_ms"));
        check(|options| options.election_timeout_max_ms = 1800, Some("election_timeout_max_ms"));
        check(|options| options.command_bytes_max = 1 << 30, Some("command_bytes_max"));
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let options: Options = serde_json::from_str(r#"{"id": 3, "data_dir": "x"}"#).unwrap();
        let expected = Options { id: MemberId(3), data_dir: "x".into(), ..Options::default() };
        assert_eq!(options, expected);
        assert!(serde_json::from_str::<Options>(r#"{"idd": 3}"#).is_err());
    }
}
