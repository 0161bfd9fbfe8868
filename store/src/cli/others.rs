//! Flags of etcd that mean nothing here. Those that only tune what we do in another way are taken with a warning; those whose
//! meaning somebody relies on are refused, because to start without it would be a lie. A value that asks for what we do anyway
//! passes in silence.

use clap::{Arg, ArgMatches, Command};

use super::refuse;
use crate::server::Error;

/// What is done about a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It is left out, because of this.
    Ignored(&'static str),
    /// The member does not start; do this instead.
    Refused(&'static str),
}

use Verdict::{Ignored, Refused};

/// The flag and its former name, values that ask for nothing else than what is done, and what about others.
type Row = (&'static [&'static str], &'static [&'static str], Verdict);

const OFF: &[&str] = &["false", ""];
const ON: &[&str] = &["true", ""];
const ANY: &[&str] = &["", "*"];
const NONE: &[&str] = &[""];

const BOLT: Verdict = Ignored("there is no bolt file to tune");
const NO_DISCOVERY: Verdict = Refused("name the members with --initial-cluster");
const NO_TRACES: Verdict = Ignored("spans are not exported; see --log-level");
const ONE_CERTIFICATE: Verdict = Refused("--peer-cert-file is used on both ends");
const CERTIFICATES: Verdict = Refused("issue certificates, and give --cert-file or --peer-cert-file");
const ALL_OF_THE_AUTHORITY: Verdict =
    Refused("everybody with a certificate of the authority is let in: give members one of their own");

const ROWS: &[Row] = &[
    (&["wal-dir"], NONE, Refused("the log is kept under --data-dir")),
    (&["initial-election-tick-advance"], ON, Ignored("elections are not awaited at the start")),
    (&["listen-client-http-urls"], NONE, Refused("HTTP is served on --listen-client-urls")),
    (&["max-snapshots"], NONE, Ignored("old snapshots are removed")),
    (&["max-wals"], NONE, Ignored("old parts of the log are used again")),
    (
        &["quota-backend-bytes"],
        &["0", ""],
        Ignored("there is no quota: writes are refused while the disk is nearly full"),
    ),
    (&["backend-bbolt-freelist-type"], NONE, BOLT),
    (&["backend-batch-interval"], NONE, BOLT),
    (&["backend-batch-limit"], NONE, BOLT),
    (&["grpc-keepalive-min-time"], NONE, Ignored("signs of life of clients are answered, however many")),
    (&["socket-reuse-port"], OFF, Refused("one process listens on a port")),
    (&["socket-reuse-address"], &["true", "false", ""], Ignored("addresses are reused")),
    (&["raft-read-timeout"], NONE, Ignored("connections of members have timeouts of their own")),
    (&["raft-write-timeout"], NONE, Ignored("connections of members have timeouts of their own")),
    (&["discovery"], NONE, NO_DISCOVERY),
    (&["discovery-fallback"], NONE, NO_DISCOVERY),
    (&["discovery-proxy"], NONE, NO_DISCOVERY),
    (&["discovery-srv"], NONE, NO_DISCOVERY),
    (&["discovery-srv-name"], NONE, NO_DISCOVERY),
    (&["discovery-endpoints"], NONE, NO_DISCOVERY),
    (&["discovery-token"], NONE, NO_DISCOVERY),
    (&["strict-reconfig-check"], ON, Ignored("members are always changed with care")),
    (&["pre-vote"], ON, Ignored("members always ask before they stand")),
    (&["auto-compaction-mode"], &["periodic", ""], Refused("history is kept by time")),
    (&["enable-v2"], OFF, Refused("there is no v2")),
    (&["v2-deprecation"], NONE, Ignored("there is no v2")),
    (&["proxy"], &["off", ""], Refused("there is no v2")),
    (&["client-cert-file"], NONE, ONE_CERTIFICATE),
    (&["client-key-file"], NONE, ONE_CERTIFICATE),
    (&["peer-client-cert-file"], NONE, ONE_CERTIFICATE),
    (&["peer-client-key-file"], NONE, ONE_CERTIFICATE),
    (&["client-cert-allowed-hostname"], NONE, ALL_OF_THE_AUTHORITY),
    (&["peer-cert-allowed-cn"], NONE, ALL_OF_THE_AUTHORITY),
    (&["peer-cert-allowed-hostname"], NONE, ALL_OF_THE_AUTHORITY),
    (&["auto-tls"], OFF, CERTIFICATES),
    (&["peer-auto-tls"], OFF, CERTIFICATES),
    (&["self-signed-cert-validity"], NONE, Ignored("no certificates are made here")),
    (&["cipher-suites"], NONE, Refused("only suites without known weaknesses are offered")),
    (&["tls-min-version"], &["TLS1.2", ""], Refused("TLS 1.2 and 1.3 are offered")),
    (&["tls-max-version"], &["TLS1.3", ""], Refused("TLS 1.2 and 1.3 are offered")),
    (&["cors"], ANY, Refused("pages of other origins are never let in")),
    (&["host-whitelist"], ANY, Refused("names of hosts are not looked at")),
    (&["enable-pprof"], OFF, Ignored("there is no profile of a Go program")),
    (&["metrics"], &["basic", "extensive", ""], Ignored("there is one set of metrics")),
    (&["logger"], &["zap", ""], Ignored("there is one logger")),
    (&["log-outputs"], &["default", "stderr", "/dev/stderr", ""], Ignored("the log goes to standard error")),
    (&["log-format"], &["json", "console", ""], Ignored("the log has one format")),
    (&["enable-log-rotation"], OFF, Ignored("the log goes to standard error")),
    (&["log-rotation-config-json"], NONE, Ignored("the log goes to standard error")),
    (&["enable-distributed-tracing", "experimental-enable-distributed-tracing"], OFF, NO_TRACES),
    (&["distributed-tracing-address", "experimental-distributed-tracing-address"], NONE, NO_TRACES),
    (&["distributed-tracing-service-name", "experimental-distributed-tracing-service-name"], NONE, NO_TRACES),
    (&["distributed-tracing-instance-id", "experimental-distributed-tracing-instance-id"], NONE, NO_TRACES),
    (
        &["distributed-tracing-sampling-rate", "experimental-distributed-tracing-sampling-rate"],
        NONE,
        NO_TRACES,
    ),
    (&["feature-gates"], NONE, Ignored("there are no gates")),
    (
        &["initial-corrupt-check", "experimental-initial-corrupt-check"],
        &["true", "false", ""],
        Ignored("members are compared after the start, and whatever is read is checked"),
    ),
    (
        &["compact-hash-check-enabled", "experimental-compact-hash-check-enabled"],
        &["true", "false", ""],
        Ignored("members are compared; see --corrupt-check-time"),
    ),
    (
        &["compact-hash-check-time", "experimental-compact-hash-check-time"],
        NONE,
        Ignored("see --corrupt-check-time"),
    ),
    (
        &["enable-lease-checkpoint", "experimental-enable-lease-checkpoint"],
        &["true", "false", ""],
        Ignored("leases begin anew with a new leader"),
    ),
    (
        &["enable-lease-checkpoint-persist", "experimental-enable-lease-checkpoint-persist"],
        &["true", "false", ""],
        Ignored("leases begin anew with a new leader"),
    ),
    (&["compaction-batch-limit", "experimental-compaction-batch-limit"], NONE, BOLT),
    (&["compaction-sleep-interval", "experimental-compaction-sleep-interval"], NONE, BOLT),
    (
        &["peer-skip-client-san-verification", "experimental-peer-skip-client-san-verification"],
        &["true", "false", ""],
        Ignored("addresses of calling members are not compared with their certificates"),
    ),
    (
        &["downgrade-check-time", "experimental-downgrade-check-time"],
        NONE,
        Ignored("there are no downgrades"),
    ),
    (&["memory-mlock", "experimental-memory-mlock"], OFF, Ignored("memory does not grow with the data")),
    (
        &["txn-mode-write-with-shared-buffer", "experimental-txn-mode-write-with-shared-buffer"],
        &["true", "false", ""],
        BOLT,
    ),
    (
        &["bootstrap-defrag-threshold-megabytes", "experimental-bootstrap-defrag-threshold-megabytes"],
        &["0", ""],
        BOLT,
    ),
    (
        &["stop-grpc-service-on-defrag", "experimental-stop-grpc-service-on-defrag"],
        &["true", "false", ""],
        BOLT,
    ),
    (&["max-learners", "experimental-max-learners"], NONE, Ignored("learners are not limited")),
    (
        &["snapshot-catchup-entries", "experimental-snapshot-catchup-entries"],
        NONE,
        Ignored("the log keeps what members need"),
    ),
    (&["force-new-cluster"], OFF, Refused("restore a backup: kontiki snapshot restore")),
    (&["unsafe-no-fsync"], OFF, Refused("what is acknowledged is on disk")),
];

/// The flags of this table that were given.
#[derive(Clone, Debug, Default)]
pub struct Others {
    given: Vec<(&'static str, String)>,
}

impl Others {
    /// What to warn of; or why to refuse.
    pub fn judge(&self) -> Result<Vec<String>, Error> {
        let mut warnings = Vec::new();
        for (name, value) in &self.given {
            let Some((_, harmless, verdict)) = ROWS.iter().find(|(names, _, _)| names.contains(name)) else {
                continue;
            };
            if harmless.contains(&value.as_str()) {
                continue;
            }
            match verdict {
                Ignored(why) => warnings.push(format!("--{name} is ignored: {why}")),
                Refused(instead) => return Err(refuse(name, &format!("not supported: {instead}"))),
            }
        }
        Ok(warnings)
    }
}

impl clap::FromArgMatches for Others {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let names = ROWS.iter().flat_map(|(names, _, _)| *names);
        let given = names.filter_map(|name| {
            let value: &String = matches.try_get_one(name).ok()??;
            Some((*name, value.clone()))
        });
        Ok(Self { given: given.collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for Others {
    fn augment_args(command: Command) -> Command {
        let names = ROWS.iter().flat_map(|(names, _, _)| *names);
        names.fold(command, |command, name| {
            let arg = Arg::new(*name).long(*name).hide(true).num_args(0..=1).default_missing_value("true");
            command.arg(arg)
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}
