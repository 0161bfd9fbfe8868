//! The command line of a member, with etcd's flags where they mean the same.
//!
//! Every flag can be given as a variable of the environment (`--max-txn-ops` as `ETCD_MAX_TXN_OPS`), or in a file.

pub(crate) mod duration;
mod file;
mod others;
mod token;

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::auth::password;
use crate::backup::directory;
use crate::cli::others::Others;
use crate::server::{ClusterState, Error, Options, Server, Tls, TlsFiles};

/// Runs one member of a replicated key-value store that speaks the etcd v3 API.
#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    /// A YAML file with these flags as keys. With it, the flags of the command line are not looked at.
    #[arg(long, env = "ETCD_CONFIG_FILE")]
    pub config_file: Option<PathBuf>,
    /// What to log: error, warn, info, debug, or a filter as in `store=debug`.
    #[arg(long, env = "ETCD_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// A name for this member; must be among the names of --initial-cluster.
    #[arg(long, env = "ETCD_NAME", default_value = "default")]
    pub name: String,
    /// Where everything of this member is kept. [default: NAME.kontiki]
    #[arg(long, env = "ETCD_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where to listen for clients, separated by commas.
    #[arg(
        long,
        env = "ETCD_LISTEN_CLIENT_URLS",
        value_delimiter = ',',
        default_value = "http://localhost:2379"
    )]
    pub listen_client_urls: Vec<String>,
    /// Where clients reach this member. [default: the URLs it listens on]
    #[arg(long, env = "ETCD_ADVERTISE_CLIENT_URLS", value_delimiter = ',')]
    pub advertise_client_urls: Vec<String>,
    /// Where to listen for the other members, separated by commas.
    #[arg(
        long,
        env = "ETCD_LISTEN_PEER_URLS",
        value_delimiter = ',',
        default_value = "http://localhost:2380"
    )]
    pub listen_peer_urls: Vec<String>,
    /// Where to serve /metrics and /health alone, separated by commas, with the certificate for clients where https.
    #[arg(long, env = "ETCD_LISTEN_METRICS_URLS", value_delimiter = ',')]
    pub listen_metrics_urls: Vec<String>,
    /// Where the other members reach this one. [default: the first URL it listens on for them]
    #[arg(long, env = "ETCD_INITIAL_ADVERTISE_PEER_URLS")]
    pub initial_advertise_peer_urls: Option<String>,
    /// The founding members as NAME=URL, separated by commas. [default: this member alone]
    #[arg(long, env = "ETCD_INITIAL_CLUSTER", value_delimiter = ',')]
    pub initial_cluster: Vec<String>,
    /// `new` to found a cluster, `existing` to join one that this member was added to.
    #[arg(long, env = "ETCD_INITIAL_CLUSTER_STATE", default_value = "new", value_parser = ["new", "existing"])]
    pub initial_cluster_state: String,
    /// Tells clusters with the same URLs apart.
    #[arg(long, env = "ETCD_INITIAL_CLUSTER_TOKEN", default_value = "etcd-cluster")]
    pub initial_cluster_token: String,
    /// Milliseconds between two signs of life of the leader.
    #[arg(long, env = "ETCD_HEARTBEAT_INTERVAL", default_value_t = 100)]
    pub heartbeat_interval: u64,
    /// Milliseconds of silence of the leader that start an election.
    #[arg(long, env = "ETCD_ELECTION_TIMEOUT", default_value_t = 1000)]
    pub election_timeout: u64,
    /// Log entries after which the state is made durable, if they do not make 24 MiB before.
    #[arg(long, env = "ETCD_SNAPSHOT_COUNT", default_value_t = 100_000)]
    pub snapshot_count: u64,
    /// How long every revision can be read: hours, or a number with a unit as in 30m; 0 keeps everything.
    #[arg(long, env = "ETCD_AUTO_COMPACTION_RETENTION", default_value = "4h")]
    pub auto_compaction_retention: String,
    /// Keep backups of this member in this directory.
    #[arg(long)]
    pub backup_dir: Option<PathBuf>,
    /// Time between two backups, as in 1h or 15m.
    #[arg(long, default_value = "1h", value_parser = backup_interval)]
    pub backup_interval: std::time::Duration,
    /// Backups that are kept: a number, or an age as in 72h.
    #[arg(long, default_value = "24", value_parser = directory::retention)]
    pub backup_retention: directory::Retention,
    /// Operations in one transaction.
    #[arg(long, env = "ETCD_MAX_TXN_OPS", default_value_t = 128)]
    pub max_txn_ops: usize,
    /// Bytes of one request.
    #[arg(long, env = "ETCD_MAX_REQUEST_BYTES", default_value_t = 3 << 19)]
    pub max_request_bytes: usize,
    /// Requests under way on one connection of a client.
    #[arg(long, env = "ETCD_MAX_CONCURRENT_STREAMS", default_value_t = 100_000)]
    pub max_concurrent_streams: u32,
    /// Connections of clients; 0 for as many as the limit of open files allows.
    #[arg(long, env = "ETCD_MAX_CONCURRENT_CONNECTIONS", default_value_t = 0)]
    pub max_concurrent_connections: usize,
    /// Silence after which a client is asked for a sign of life; 0 never asks.
    #[arg(long, env = "ETCD_GRPC_KEEPALIVE_INTERVAL", default_value = "10s", value_parser = duration::parse)]
    pub grpc_keepalive_interval: Duration,
    /// How long a client may take to give it.
    #[arg(long, env = "ETCD_GRPC_KEEPALIVE_TIMEOUT", default_value = "20s", value_parser = duration::parse)]
    pub grpc_keepalive_timeout: Duration,
    /// A batch of commands that takes longer to apply is logged.
    #[arg(
        long,
        alias = "experimental-warning-apply-duration",
        env = "ETCD_WARNING_APPLY_DURATION",
        default_value = "100ms",
        value_parser = duration::parse
    )]
    pub warning_apply_duration: Duration,
    /// A call with one answer that takes longer is logged.
    #[arg(
        long,
        alias = "experimental-warning-unary-request-duration",
        env = "ETCD_WARNING_UNARY_REQUEST_DURATION",
        default_value = "300ms",
        value_parser = duration::parse
    )]
    pub warning_unary_request_duration: Duration,
    /// Time between two signs of life of a quiet watch that asked for them.
    #[arg(
        long,
        alias = "experimental-watch-progress-notify-interval",
        env = "ETCD_WATCH_PROGRESS_NOTIFY_INTERVAL",
        default_value = "10m",
        value_parser = duration::parse
    )]
    pub watch_progress_notify_interval: Duration,
    /// Time between two comparisons of the members' states; 0 never compares.
    #[arg(
        long,
        alias = "experimental-corrupt-check-time",
        env = "ETCD_CORRUPT_CHECK_TIME",
        default_value = "10m",
        value_parser = duration::parse
    )]
    pub corrupt_check_time: Duration,
    /// Whether clients may use JSON over HTTP as well as gRPC.
    #[arg(
        long,
        env = "ETCD_ENABLE_GRPC_GATEWAY",
        default_value_t = true,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = clap::ArgAction::Set
    )]
    pub enable_grpc_gateway: bool,
    /// Certificate for clients (PEM file).
    #[arg(long, env = "ETCD_CERT_FILE", requires = "key_file")]
    pub cert_file: Option<PathBuf>,
    /// Key of --cert-file.
    #[arg(long, env = "ETCD_KEY_FILE")]
    pub key_file: Option<PathBuf>,
    /// Authority that signs the certificates of clients; with it, clients must present one.
    #[arg(long, env = "ETCD_TRUSTED_CA_FILE")]
    pub trusted_ca_file: Option<PathBuf>,
    /// Clients must present a certificate of --trusted-ca-file, whose common name stands for a user.
    #[arg(
        long,
        env = "ETCD_CLIENT_CERT_AUTH",
        default_value_t = false,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = clap::ArgAction::Set
    )]
    pub client_cert_auth: bool,
    /// What stands for a user who has shown a password: simple, or jwt,sign-method=RS256,priv-key=FILE,pub-key=FILE,ttl=10m.
    #[arg(long, env = "ETCD_AUTH_TOKEN", default_value = "simple")]
    pub auth_token: String,
    /// Seconds a simple token is good after its last use.
    #[arg(long, env = "ETCD_AUTH_TOKEN_TTL", default_value_t = 300)]
    pub auth_token_ttl: u64,
    /// Work of a guess at a password, 4 to 24; one more doubles it. (Passwords are hashed with PBKDF2, not bcrypt.)
    #[arg(long, env = "ETCD_BCRYPT_COST", default_value_t = password::COST_DEFAULT)]
    pub bcrypt_cost: u8,
    /// Certificates of clients that were revoked (PEM file).
    #[arg(long, env = "ETCD_CLIENT_CRL_FILE", requires = "trusted_ca_file")]
    pub client_crl_file: Option<PathBuf>,
    /// Certificate for the other members (PEM file).
    #[arg(long, env = "ETCD_PEER_CERT_FILE", requires_all = ["peer_key_file", "peer_trusted_ca_file"])]
    pub peer_cert_file: Option<PathBuf>,
    /// Key of --peer-cert-file.
    #[arg(long, env = "ETCD_PEER_KEY_FILE")]
    pub peer_key_file: Option<PathBuf>,
    /// Authority that signs the certificates of members. Members always verify each other.
    #[arg(long, env = "ETCD_PEER_TRUSTED_CA_FILE")]
    pub peer_trusted_ca_file: Option<PathBuf>,
    /// Accepted for compatibility: with --peer-cert-file, members always verify each other.
    #[arg(
        long,
        env = "ETCD_PEER_CLIENT_CERT_AUTH",
        default_value_t = false,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = clap::ArgAction::Set
    )]
    pub peer_client_cert_auth: bool,
    /// Certificates of members that were revoked (PEM file).
    #[arg(long, env = "ETCD_PEER_CRL_FILE")]
    pub peer_crl_file: Option<PathBuf>,
    /// What etcd has and we have not.
    #[command(flatten)]
    pub others: Others,
}

/// Runs a member until `shutdown`.
pub async fn run(flags: Flags, shutdown: CancellationToken) -> Result<(), Error> {
    let flags = flags.resolve()?;
    for warning in flags.others.judge()? {
        tracing::warn!("{warning}");
    }
    let options = flags.options()?;
    let (clients, peer) = (options.client_urls.join(", "), options.peer_url.clone());
    let server = Server::start(options).await?;
    tracing::info!(member = %server.handle().member_id(), cluster = format!("{:x}", server.handle().cluster_id()), %clients, %peer, "serving");
    server.run(shutdown).await
}

impl Flags {
    /// These flags, or those of the file they name.
    pub fn resolve(self) -> Result<Self, Error> {
        match &self.config_file {
            Some(path) => file::read(path),
            None => Ok(self),
        }
    }

    /// What is logged, as a filter of tracing.
    pub fn log_filter(&self) -> String {
        match self.log_level.as_str() {
            // etcd's most severe levels.
            "panic" | "fatal" | "dpanic" => "error".to_owned(),
            "info" => "info,openraft=error".to_owned(),
            other => other.to_owned(),
        }
    }

    /// The options these flags stand for; reads the files they name.
    pub fn options(&self) -> Result<Options, Error> {
        if self.client_cert_auth && self.trusted_ca_file.is_none() {
            return Err(refuse("client-cert-auth", "--trusted-ca-file is needed to know whom to trust"));
        }
        let peer_url = match (&self.initial_advertise_peer_urls, self.listen_peer_urls.first()) {
            (Some(url), _) | (None, Some(url)) => url.trim_end_matches('/').to_owned(),
            (None, None) => return Err(refuse("listen-peer-urls", "at least one is needed")),
        };
        let client_urls = if self.advertise_client_urls.is_empty() {
            self.listen_client_urls.clone()
        } else {
            self.advertise_client_urls.clone()
        };
        Ok(Options {
            name: self.name.clone(),
            data_dir: self.data_dir.clone().unwrap_or_else(|| format!("{}.kontiki", self.name).into()),
            members: self.members(&peer_url)?,
            cluster_state: match self.initial_cluster_state.as_str() {
                "existing" => ClusterState::Existing,
                _ => ClusterState::New,
            },
            cluster_token: self.initial_cluster_token.clone(),
            peer_url,
            client_urls,
            listen_peer: addresses("listen-peer-urls", &self.listen_peer_urls)?,
            listen_client: addresses("listen-client-urls", &self.listen_client_urls)?,
            peer_tls: tls(
                &self.peer_cert_file,
                &self.peer_key_file,
                self.peer_trusted_ca_file.as_deref(),
                self.peer_crl_file.as_deref(),
            )?,
            // As with etcd, an authority alone is enough to make certificates mandatory.
            client_tls: tls(
                &self.cert_file,
                &self.key_file,
                self.trusted_ca_file.as_deref(),
                self.client_crl_file.as_deref(),
            )?,
            heartbeat_interval_ms: self.heartbeat_interval,
            election_timeout_ms: self.election_timeout,
            snapshot_entries: self.snapshot_count,
            backup_dir: self.backup_dir.clone(),
            backup_interval_s: self.backup_interval.as_secs(),
            backup_retention: self.backup_retention,
            history_window_s: seconds(&self.auto_compaction_retention)?,
            auth_token: token::kind(&self.auth_token)?,
            auth_token_ttl_s: self.auth_token_ttl,
            bcrypt_cost: self.bcrypt_cost,
            client_cert_names: self.client_cert_auth,
            txn_ops_max: self.max_txn_ops,
            request_bytes_max: self.max_request_bytes,
            gateway: self.enable_grpc_gateway,
            listen_metrics: addresses("listen-metrics-urls", &self.listen_metrics_urls)?,
            metrics_tls: self.listen_metrics_urls.iter().any(|url| url.starts_with("https://")),
            streams_max: self.max_concurrent_streams,
            connections_max: self.max_concurrent_connections,
            keepalive_interval_ms: milliseconds(self.grpc_keepalive_interval),
            keepalive_timeout_ms: milliseconds(self.grpc_keepalive_timeout),
            warning_apply_duration_ms: milliseconds(self.warning_apply_duration),
            warning_unary_request_duration_ms: milliseconds(self.warning_unary_request_duration),
            progress_notify_interval_ms: milliseconds(self.watch_progress_notify_interval),
            hash_check_interval_s: self.corrupt_check_time.as_secs(),
            ..Options::default()
        })
    }

    fn members(&self, peer_url: &str) -> Result<BTreeMap<String, String>, Error> {
        if self.initial_cluster.is_empty() {
            return Ok(BTreeMap::from([(self.name.clone(), peer_url.to_owned())]));
        }
        let mut members = BTreeMap::new();
        for member in &self.initial_cluster {
            let (name, url) = member
                .split_once('=')
                .ok_or_else(|| refuse("initial-cluster", &format!("{member} is not NAME=URL")))?;
            members.insert(name.trim().to_owned(), url.trim().trim_end_matches('/').to_owned());
        }
        Ok(members)
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn backup_interval(text: &str) -> Result<std::time::Duration, String> {
    let interval = directory::duration(text).filter(|interval| interval.as_secs() > 0);
    interval.ok_or_else(|| format!("{text:?} is not a time of a second or more, as in 15m"))
}

fn refuse(option: &'static str, detail: &str) -> Error {
    Error::Options { option, detail: detail.to_owned() }
}

fn addresses(option: &'static str, urls: &[String]) -> Result<Vec<SocketAddr>, Error> {
    let mut found = Vec::new();
    for url in urls {
        let host = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest).trim_end_matches('/');
        let mut resolved =
            host.to_socket_addrs().map_err(|error| refuse(option, &format!("{url}: {error}")))?;
        // One listener for each URL: a name with several addresses means the first.
        let address = resolved.next().ok_or_else(|| refuse(option, &format!("{url} has no address")))?;
        found.push(address);
    }
    Ok(found)
}

fn tls(
    cert: &Option<PathBuf>,
    key: &Option<PathBuf>,
    ca: Option<&Path>,
    crl: Option<&Path>,
) -> Result<Option<Tls>, Error> {
    let (Some(cert), Some(key)) = (cert.clone(), key.clone()) else { return Ok(None) };
    let files = TlsFiles { cert, key, ca: ca.map(Path::to_owned), crl: crl.map(Path::to_owned) };
    Tls::from_files(files).map(Some)
}

/// How long history is kept: hours, or a duration.
fn seconds(text: &str) -> Result<u64, Error> {
    let hours = text.parse::<u64>().ok().map(|hours| hours.checked_mul(3600));
    let read = hours.map(|seconds| seconds.ok_or_else(|| format!("{text} hours are too many")));
    let read = read.unwrap_or_else(|| duration::parse(text).map(|duration| duration.as_secs()));
    read.map_err(|detail| refuse("auto-compaction-retention", &detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        flags: Flags,
    }

    fn options(arguments: &[&str]) -> Result<Options, Error> {
        let all = ["kontiki-store"].iter().chain(arguments);
        <Command as clap::Parser>::try_parse_from(all).unwrap().flags.options()
    }

    #[test]
    fn etcds_flags_mean_the_same() {
        let options = options(&[
            "--name=b",
            "--listen-peer-urls=http://127.0.0.1:2480",
            "--listen-client-urls=http://127.0.0.1:2479,http://[::1]:2479",
            "--advertise-client-urls=http://b:2479",
            "--initial-cluster=a=http://127.0.0.1:2380,b=http://127.0.0.1:2480",
            "--auto-compaction-retention=30m",
            "--client-cert-auth=false",
            "--experimental-warning-apply-duration=1s",
            "--max-concurrent-streams=7",
            "--logger",
            "zap",
            "--pre-vote",
            "--enable-grpc-gateway",
        ])
        .unwrap();
        options.validate().unwrap();
        assert_eq!(options.members.len(), 2);
        assert_eq!(options.peer_url, "http://127.0.0.1:2480");
        assert_eq!(options.listen_client.len(), 2);
        assert_eq!(options.client_urls, ["http://b:2479"]);
        assert_eq!(options.history_window_s, 1800);
        assert_eq!(
            (options.warning_apply_duration_ms, options.streams_max, options.gateway),
            (1000, 7, true)
        );
        assert_eq!(options.data_dir, Path::new("b.kontiki"));
    }

    #[test]
    fn what_is_not_supported_is_refused_unless_it_asks_for_nothing() {
        let judge = |argument: &str| {
            let all = ["kontiki-store", argument];
            <Command as clap::Parser>::try_parse_from(all).unwrap().flags.others.judge()
        };
        for harmless in ["--auto-tls=false", "--cors=*", "--quota-backend-bytes=0", "--unsafe-no-fsync=false"]
        {
            assert_eq!(judge(harmless).unwrap(), Vec::<String>::new(), "{harmless}");
        }
        for refused in ["--auto-tls", "--force-new-cluster", "--wal-dir=/d", "--peer-cert-allowed-cn=x"] {
            let error = judge(refused).unwrap_err().to_string();
            assert!(error.contains("not supported"), "{refused}: {error}");
        }
        let ignored = judge("--quota-backend-bytes=8589934592").unwrap();
        assert!(ignored[0].starts_with("--quota-backend-bytes is ignored: there is no quota"), "{ignored:?}");
    }

    #[test]
    fn wrong_flags_are_named() {
        for (arguments, expect) in [
            (["--initial-cluster=a"], "initial-cluster"),
            (["--auto-compaction-retention=soon"], "auto-compaction-retention"),
            (["--listen-client-urls=http://127.0.0.1"], "listen-client-urls"),
            (["--client-cert-auth"], "client-cert-auth"),
        ] {
            assert!(matches!(options(&arguments), Err(Error::Options { option, .. }) if option == expect));
        }
    }
}
