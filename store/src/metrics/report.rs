//! The report that Prometheus fetches, in the text format of OpenMetrics.
//!
//! A metric is a row. etcd calls some gauges `_total`, and so do we, because dashboards ask for them.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use raft::meters::Distribution;
use tonic::Code;

use super::calls::{CODES, Calls, Method};
use super::process::Process;
use crate::server::Handle;
use crate::watch::Past;

/// What the report is called when it is sent.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Name without the ending that counters get, help, value.
type Row = (&'static str, &'static str, f64);

/// The report of a member.
pub fn text(handle: &Handle) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Report { handle: handle.clone() }));
    let mut text = String::with_capacity(64 << 10);
    text::encode(&mut text, &registry).expect("a string takes whatever is written");
    text
}

struct Report {
    handle: Handle,
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Report")
    }
}

impl Collector for Report {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for (name, help, value) in gauges(&self.handle) {
            let row = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            // Whole numbers look like whole numbers.
            match whole(value) {
                Some(value) => ConstGauge::new(value).encode(row)?,
                None => ConstGauge::new(value).encode(row)?,
            }
        }
        for (name, help, value) in counters(&self.handle) {
            let row = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            match whole(value) {
                Some(value) => ConstCounter::new(value.unsigned_abs()).encode(row)?,
                None => ConstCounter::new(value).encode(row)?,
            }
        }
        self.durations(&mut encoder)?;
        methods(self.handle.calls(), &mut encoder)
    }
}

impl Report {
    fn durations(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (meters, metrics) = (self.handle.raft().meters(), self.handle.machine().metrics());
        let rows = [
            (
                "etcd_disk_wal_fsync_duration_seconds",
                "Writing to the log, with the sync.",
                meters.syncs().histogram.distribution(),
            ),
            (
                "etcd_disk_backend_commit_duration_seconds",
                "Writing a batch to the engine.",
                metrics.commits.histogram.distribution(),
            ),
            (
                "kontiki_apply_duration_seconds",
                "Applying a batch of commands.",
                metrics.applies.histogram.distribution(),
            ),
        ];
        for (name, help, Distribution { sum_s, count, buckets }) in rows {
            let mut row = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
            row.encode_histogram::<NoLabelSet>(sum_s, count, &buckets, None)?;
        }
        let trips = meters.round_trips();
        if trips.is_empty() {
            return Ok(());
        }
        let (name, help) = (
            "etcd_network_peer_round_trip_time_seconds",
            "From a sign of life to its answer, on the leader.",
        );
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (to, Distribution { sum_s, count, buckets }) in trips {
            let labels = [("To", to.to_string())];
            family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum_s, count, &buckets, None)?;
        }
        Ok(())
    }
}

fn whole(value: f64) -> Option<i64> {
    // Beyond, not every whole number is one that a float can be.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    (value.fract() == 0.0 && value.abs() <= EXACT_MAX).then_some(value as i64)
}

fn gauges(handle: &Handle) -> Vec<Row> {
    let status = handle.raft().status();
    let learner = status.members.get(&status.id).is_some_and(|(_, voter)| !voter);
    let (machine, process) = (handle.machine(), Process::now());
    let (facts, size) = (machine.facts(), machine.size_bytes() as f64);
    let flag = |is: bool| f64::from(u8::from(is));
    vec![
        ("etcd_server_has_leader", "Whether a leader is known", flag(status.leader.is_some())),
        ("etcd_server_is_leader", "Whether this member leads", flag(status.leader == Some(status.id))),
        ("etcd_server_is_learner", "Whether this member does not vote", flag(learner)),
        (
            "etcd_server_proposals_committed_total",
            "The newest entry known to be committed",
            status.committed.0 as f64,
        ),
        ("etcd_server_proposals_applied_total", "The newest entry that is applied", status.applied.0 as f64),
        (
            "etcd_server_proposals_pending",
            "Commands proposed here that wait for their answer",
            handle.raft().proposals_pending() as f64,
        ),
        ("etcd_server_quota_backend_bytes", "There is no quota", 0.0),
        ("kontiki_raft_term", "The newest term seen", status.term.0 as f64),
        (
            "kontiki_raft_log_purged_index",
            "The last entry that is gone from the log",
            status.purged_index.0 as f64,
        ),
        ("kontiki_raft_members", "Members, learners included", status.members.len() as f64),
        ("etcd_debugging_mvcc_current_revision", "The newest revision", facts.revision as f64),
        ("etcd_debugging_mvcc_compact_revision", "The oldest readable revision", facts.compacted as f64),
        ("etcd_mvcc_db_total_size_in_bytes", "Bytes of the state on disk", size),
        ("etcd_mvcc_db_total_size_in_use_in_bytes", "Bytes of the state on disk", size),
        ("etcd_debugging_mvcc_watcher_total", "Open watches", machine.hub().watchers() as f64),
        (
            "etcd_debugging_mvcc_slow_watcher_total",
            "Open watches that are sent to history to catch up",
            machine.hub().slow() as f64,
        ),
        (
            "kontiki_no_space",
            "Whether writes are refused because the disk is nearly full",
            flag(handle.no_space()),
        ),
        ("process_resident_memory_bytes", "Resident memory", process.resident_bytes),
        ("process_virtual_memory_bytes", "Virtual memory", process.virtual_bytes),
        ("process_start_time_seconds", "When the process started, since 1970", process.started_unix_s),
        ("process_open_fds", "Open files", process.open_files),
        ("process_max_fds", "Files that may be open", process.open_files_max),
        ("os_fd_used", "Open files", process.open_files),
        ("os_fd_limit", "Files that may be open", process.open_files_max),
    ]
}

fn counters(handle: &Handle) -> Vec<Row> {
    let (meters, metrics, calls) = (handle.raft().meters(), handle.machine().metrics(), handle.calls());
    vec![
        (
            "etcd_server_leader_changes_seen",
            "How often another member began to lead",
            meters.leader_changes() as f64,
        ),
        (
            "etcd_server_proposals_failed",
            "Commands proposed here that failed",
            meters.proposals_failed() as f64,
        ),
        (
            "etcd_server_slow_apply",
            "Batches that took longer to apply than --warning-apply-duration",
            metrics.slow_applies.get() as f64,
        ),
        (
            "etcd_server_slow_read_indexes",
            "Rounds of linearizable reads that no quorum confirmed in time",
            meters.reads_failed() as f64,
        ),
        (
            "etcd_server_read_indexes_failed",
            "Rounds of linearizable reads that failed",
            meters.reads_failed() as f64,
        ),
        ("etcd_mvcc_put", "Puts applied", metrics.puts.get() as f64),
        ("etcd_mvcc_delete", "Keys deleted", metrics.deletes.get() as f64),
        ("etcd_mvcc_txn", "Transactions of several operations applied", metrics.txns.get() as f64),
        ("etcd_debugging_mvcc_events", "Changes sent to watchers", metrics.events.get() as f64),
        ("etcd_debugging_lease_granted", "Leases granted", metrics.leases_granted.get() as f64),
        ("etcd_debugging_lease_revoked", "Leases revoked", metrics.leases_revoked.get() as f64),
        ("etcd_debugging_lease_renewed", "Renewals of leases", metrics.leases_renewed.get() as f64),
        ("etcd_debugging_server_lease_expired", "Leases that ended", metrics.leases_expired.get() as f64),
        (
            "etcd_network_client_grpc_received_bytes",
            "Bytes of messages from clients",
            calls.received_bytes.get() as f64,
        ),
        (
            "etcd_network_client_grpc_sent_bytes",
            "Bytes of messages to clients",
            calls.sent_bytes.get() as f64,
        ),
        ("process_cpu_seconds", "Processor time, user and system", Process::now().cpu_s),
    ]
}

fn methods(calls: &Calls, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    type Count = fn(&Method) -> u64;
    let methods = calls.methods();
    let labels = |method: &Method| {
        [
            ("grpc_method", method.name.clone()),
            ("grpc_service", method.service.clone()),
            ("grpc_type", method.kind.to_owned()),
        ]
    };
    let families: [(&str, &str, Count); 3] = [
        ("grpc_server_started", "Calls that began", |method| method.started.get()),
        ("grpc_server_msg_received", "Messages from clients", |method| method.received.get()),
        ("grpc_server_msg_sent", "Messages to clients", |method| method.sent.get()),
    ];
    for (name, help, count) in families {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for method in &methods {
            let labels = labels(method);
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count(method), None)?;
        }
    }
    let mut family = encoder.encode_descriptor(
        "grpc_server_handled",
        "Calls that ended, by code",
        None,
        MetricType::Counter,
    )?;
    for method in &methods {
        for code in 0..CODES {
            let count = method.handled[code].get();
            if count == 0 && code != 0 {
                continue;
            }
            let [name, service, kind] = labels(method);
            let labels = [("grpc_code", code_name(code).to_owned()), name, service, kind];
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
    }
    Ok(())
}

/// As Go spells them.
fn code_name(code: usize) -> &'static str {
    match Code::from_i32(i32::try_from(code).unwrap_or_default()) {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}
