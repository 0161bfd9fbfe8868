//! How a member is set up.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Error, Tls};
use crate::auth::{jwt, password};
use crate::backup::directory::Retention;
use crate::limits::FILES_RESERVED;

/// Whether the members of the cluster are about to found it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClusterState {
    /// All members of `members` start together for the first time.
    #[default]
    New,
    /// The cluster runs, and this member was added to it.
    Existing,
}

/// What stands for a user who has shown a password.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenKind {
    /// A random token that every member knows.
    #[default]
    Simple,
    /// A signed one that needs no memory.
    Jwt(jwt::Settings),
}

impl TokenKind {
    /// What makes signed tokens, if those are wanted.
    pub(super) fn signer(&self) -> Result<Option<jwt::Signer>, Error> {
        match self {
            Self::Simple => Ok(None),
            Self::Jwt(settings) => {
                let refuse = |detail| Error::Options { option: "auth_token", detail };
                Ok(Some(jwt::Signer::new(settings).map_err(refuse)?))
            }
        }
    }
}

/// Options of a [`Server`](crate::Server). [`Options::single`] and [`Options::member`] fill in what most need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// A name for people; `default`.
    pub name: String,
    /// Where everything of this member is kept; created when missing. One member per directory.
    pub data_dir: PathBuf,
    /// The founding members, this one included: name and peer URL. After the first start the membership is part of
    /// the data and this is no longer looked at.
    pub members: BTreeMap<String, String>,
    /// Whether the cluster is new.
    pub cluster_state: ClusterState,
    /// Tells clusters with the same URLs apart; `kontiki`.
    pub cluster_token: String,
    /// Where the other members reach this one: `https://host:port`, or `http://host:port` without TLS.
    pub peer_url: String,
    /// Where clients reach this member; announced to clients that ask for the members.
    pub client_urls: Vec<String>,
    /// Sockets for the other members; none when the caller serves the peer routes itself.
    pub listen_peer: Vec<SocketAddr>,
    /// Sockets for etcd clients; none when the caller serves the client routes itself or wants none.
    pub listen_client: Vec<SocketAddr>,
    /// Keys towards the other members, on both ends.
    pub peer_tls: Option<Tls>,
    /// Keys of the client listeners.
    pub client_tls: Option<Tls>,
    /// Milliseconds between two signs of life of the leader; 100, as etcd. About one round trip or more.
    pub heartbeat_interval_ms: u64,
    /// Shortest silence of the leader, in milliseconds, that starts an election; 1000, as etcd. The longest is a quarter
    /// more.
    pub election_timeout_ms: u64,
    /// Log entries after which the state is made durable; 100 000. 24 MiB of commands have the same effect.
    pub snapshot_entries: u64,
    /// Seconds for which every revision can be read; 14 400. 0 keeps everything until a client compacts.
    pub history_window_s: u64,
    /// Operations in one transaction of an etcd client; 128, as etcd.
    pub txn_ops_max: usize,
    /// What stands for a user who has shown a password; simple tokens.
    pub auth_token: TokenKind,
    /// Whether the common names of clients' certificates stand for users. Matters only where certificates are mandatory.
    pub client_cert_names: bool,
    /// Seconds a simple token is good after its last use; 300, as etcd.
    pub auth_token_ttl_s: u64,
    /// Work of a guess at a password, 4 to 24; 10, as etcd. One more doubles it.
    pub bcrypt_cost: u8,
    /// Bytes of one request of an etcd client; 1.5 MiB, as etcd.
    pub request_bytes_max: usize,
    /// Whether clients may also use JSON over HTTP; they may.
    pub gateway: bool,
    /// Sockets for metrics and health alone.
    pub listen_metrics: Vec<SocketAddr>,
    /// Whether those use the keys of the client listeners.
    pub metrics_tls: bool,
    /// Milliseconds between two signs of life of a quiet watch that asked for them; 600 000, as etcd.
    pub progress_notify_interval_ms: u64,
    /// Milliseconds of applying a batch of commands beyond which it is logged; 100, as etcd.
    pub warning_apply_duration_ms: u64,
    /// Milliseconds of a call with one answer beyond which it is logged; 300, as etcd.
    pub warning_unary_request_duration_ms: u64,
    /// Connections of clients; 0 for as many as the limit of open files allows, and 16 at least.
    pub connections_max: usize,
    /// Milliseconds a connection may take to its first request, TLS included; 10 000.
    pub greeting_timeout_ms: u64,
    /// Requests under way on one connection of a client; 100 000. Each watch of some clients is one.
    pub streams_max: u32,
    /// Milliseconds of silence after which a client is asked for a sign of life; 10 000. 0 never asks.
    pub keepalive_interval_ms: u64,
    /// Milliseconds a client has for that; 20 000, as etcd.
    pub keepalive_timeout_ms: u64,
    /// Free bytes on the file system below which writes are refused while deletes and compaction go on; 256 MiB. What
    /// is left is what flushes and compactions of the engine need to give space back.
    pub free_bytes_min: u64,
    /// Seconds between two comparisons of the members' states; 600. 0 never compares.
    pub hash_check_interval_s: u64,
    /// Where this member keeps backups of itself; none when not set.
    pub backup_dir: Option<PathBuf>,
    /// Seconds between two backups; 3600.
    pub backup_interval_s: u64,
    /// Which backups are kept; the newest 24.
    pub backup_retention: Retention,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            data_dir: PathBuf::new(),
            members: BTreeMap::new(),
            cluster_state: ClusterState::New,
            cluster_token: "kontiki".to_owned(),
            peer_url: String::new(),
            client_urls: Vec::new(),
            listen_peer: Vec::new(),
            listen_client: Vec::new(),
            peer_tls: None,
            client_tls: None,
            heartbeat_interval_ms: 100,
            election_timeout_ms: 1000,
            snapshot_entries: 100_000,
            history_window_s: 14_400,
            txn_ops_max: 128,
            auth_token: TokenKind::Simple,
            client_cert_names: false,
            auth_token_ttl_s: 300,
            bcrypt_cost: password::COST_DEFAULT,
            request_bytes_max: 3 << 19,
            gateway: true,
            listen_metrics: Vec::new(),
            metrics_tls: false,
            progress_notify_interval_ms: 600_000,
            warning_apply_duration_ms: 100,
            warning_unary_request_duration_ms: 300,
            connections_max: 0,
            greeting_timeout_ms: 10_000,
            streams_max: 100_000,
            keepalive_interval_ms: 10_000,
            keepalive_timeout_ms: 20_000,
            free_bytes_min: 256 << 20,
            hash_check_interval_s: 600,
            backup_dir: None,
            backup_interval_s: 3600,
            backup_retention: Retention::Count(24),
        }
    }
}

impl Options {
    /// A cluster of one in this directory, without listeners.
    pub fn single(data_dir: impl Into<PathBuf>) -> Self {
        let peer_url = "http://127.0.0.1:0".to_owned();
        Self {
            data_dir: data_dir.into(),
            members: BTreeMap::from([("default".to_owned(), peer_url.clone())]),
            peer_url,
            ..Self::default()
        }
    }

    /// A founding member of a new cluster.
    pub fn member(name: &str, data_dir: impl Into<PathBuf>, members: BTreeMap<String, String>) -> Self {
        let peer_url = members.get(name).cloned().unwrap_or_default();
        Self { name: name.to_owned(), data_dir: data_dir.into(), members, peer_url, ..Self::default() }
    }

    pub(super) fn connections_max(&self) -> usize {
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let left = files.unwrap_or(u64::MAX).saturating_sub(FILES_RESERVED).max(16);
        match self.connections_max {
            0 => usize::try_from(left).unwrap_or(usize::MAX),
            max => max,
        }
    }

    pub(super) fn keepalive_interval(&self) -> Option<Duration> {
        (self.keepalive_interval_ms > 0).then(|| Duration::from_millis(self.keepalive_interval_ms))
    }

    pub(super) fn keepalive_timeout(&self) -> Duration {
        Duration::from_millis(self.keepalive_timeout_ms)
    }

    /// Whether clients must show certificates, and their common names stand for users.
    pub(crate) fn names_in_certificates(&self) -> bool {
        self.client_cert_names && self.client_tls.as_ref().is_some_and(|tls| tls.ca_pem.is_some())
    }

    /// Refuses options that contradict each other.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse = |option, detail: String| Err(Error::Options { option, detail });
        if self.data_dir.as_os_str().is_empty() {
            return refuse("data_dir", "must be set".to_owned());
        }
        if self.name.is_empty() {
            return refuse("name", "must not be empty".to_owned());
        }
        if self.peer_url.is_empty() {
            return refuse("peer_url", format!("{} is not among the founding members", self.name));
        }
        if self.cluster_state == ClusterState::New && self.members.get(&self.name) != Some(&self.peer_url) {
            return refuse(
                "members",
                format!("must list {} at {}, has {:?}", self.name, self.peer_url, self.members),
            );
        }
        if !(password::COST_MIN..=password::COST_MAX).contains(&self.bcrypt_cost) {
            let (min, max) = (password::COST_MIN, password::COST_MAX);
            return refuse("bcrypt_cost", format!("must be {min} to {max}, is {}", self.bcrypt_cost));
        }
        if self.auth_token_ttl_s == 0 {
            return refuse("auth_token_ttl_s", "a token must live for a second at least".to_owned());
        }
        let urls = self.members.values().chain(&self.client_urls).chain([&self.peer_url]);
        for url in urls {
            if !url.starts_with("http://") && !url.starts_with("https://") {
                return refuse("urls", format!("{url} must begin with http:// or https://"));
            }
        }
        if self.peer_url.starts_with("https://") && self.peer_tls.is_none() {
            return refuse("peer_tls", format!("{} needs a certificate", self.peer_url));
        }
        if self.peer_tls.as_ref().is_some_and(|tls| tls.ca_pem.is_none()) {
            return refuse("peer_tls", "peers must be verified: the authority is missing".to_owned());
        }
        Ok(())
    }
}

/// Sockets that are bound and listen.
#[derive(Debug, Default)]
pub struct Listeners {
    /// For the other members.
    pub peer: Vec<TcpListener>,
    /// For etcd clients.
    pub client: Vec<TcpListener>,
}

impl Listeners {
    /// Binds what the options ask for.
    pub fn bind(options: &Options) -> Result<Self, Error> {
        Ok(Self { peer: bind(&options.listen_peer)?, client: bind(&options.listen_client)? })
    }
}

/// Binds addresses.
pub(super) fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, Error> {
    let bind = |&address| TcpListener::bind(address).map_err(|source| Error::Listen { address, source });
    addresses.iter().map(bind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradicting_options_are_refused_by_name() {
        let members = BTreeMap::from([("a".to_owned(), "http://h:1".to_owned())]);
        assert!(Options::member("a", "/d", members.clone()).validate().is_ok());
        assert!(Options::single("/d").validate().is_ok());
        let check = |options: Options, expect: &str| match options.validate() {
            Err(Error::Options { option, .. }) => assert_eq!(option, expect),
            other => panic!("{other:?}"),
        };
        check(Options::default(), "data_dir");
        check(Options::member("b", "/d", members.clone()), "peer_url");
        check(
            Options { peer_url: "http://h:2".into(), ..Options::member("a", "/d", members.clone()) },
            "members",
        );
        check(Options { client_urls: vec!["h:1".into()], ..Options::member("a", "/d", members) }, "urls");
        let secure = BTreeMap::from([("a".to_owned(), "https://h:1".to_owned())]);
        check(Options::member("a", "/d", secure), "peer_tls");
    }
}
