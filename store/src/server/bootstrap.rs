//! Who this member is, and how it finds its cluster.
//!
//! A founding member's identity follows from the cluster's token and its peer URL, so all founders know each other
//! without talking. A member that joins later is given its identity by the cluster and asks for it. Either way it is
//! written into `member.json` and never changes.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use proto::etcd::etcdserverpb::{MemberListRequest, cluster_client::ClusterClient};
use raft::{Dial, Member, MemberId, Node};
use serde::{Deserialize, Serialize};

use super::{ClusterState, Error, Handle, Keys, Options, Seams, Sizes, listen};
use crate::limits::{JOIN_ATTEMPTS, JOIN_TIMEOUT};
use crate::machine::Machine;

/// What `member.json` holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    id: MemberId,
    cluster_id: u64,
    cluster_token: String,
}

/// Who a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The member.
    pub id: MemberId,
    /// Its cluster.
    pub cluster_id: u64,
}

const IDENTITY_FILE: &str = "member.json";

/// Makes sure that no other process uses the directory, as long as the returned file is open.
pub fn lock_directory(directory: &Path) -> Result<File, Error> {
    let refuse = |detail: String| Error::Directory { path: directory.to_owned(), detail };
    std::fs::create_dir_all(directory).map_err(|error| refuse(error.to_string()))?;
    let file = File::create(directory.join("lock")).map_err(|error| refuse(error.to_string()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(refuse("another process uses it".to_owned())),
        Err(TryLockError::Error(error)) => Err(refuse(error.to_string())),
    }
}

/// The identity in the directory, or the one this member is to have.
pub async fn identity(options: &Options, dial: Dial) -> Result<Identity, Error> {
    let path = options.data_dir.join(IDENTITY_FILE);
    let refuse = |detail: String| Error::Directory { path: path.clone(), detail };
    match std::fs::read(&path) {
        Ok(content) => {
            let record: Record =
                serde_json::from_slice(&content).map_err(|error| refuse(error.to_string()))?;
            if record.cluster_token != options.cluster_token {
                let Record { cluster_token, .. } = record;
                let asked = &options.cluster_token;
                return Err(refuse(format!("it belongs to cluster {cluster_token:?}, not {asked:?}")));
            }
            Ok(Identity { id: record.id, cluster_id: record.cluster_id })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let identity = match options.cluster_state {
                ClusterState::New => founding(options),
                ClusterState::Existing => join(options, dial).await?,
            };
            write(&path, identity, &options.cluster_token).map_err(|error| refuse(error.to_string()))?;
            Ok(identity)
        }
        Err(error) => Err(refuse(error.to_string())),
    }
}

fn write(path: &Path, identity: Identity, token: &str) -> io::Result<()> {
    let Identity { id, cluster_id } = identity;
    let record = Record { id, cluster_id, cluster_token: token.to_owned() };
    let draft = path.with_extension("new");
    let mut file = File::create(&draft)?;
    file.write_all(&serde_json::to_vec_pretty(&record)?)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

fn founding(options: &Options) -> Identity {
    let mut cluster = vec![options.cluster_token.as_str()];
    cluster.extend(options.members.values().map(String::as_str));
    cluster[1..].sort_unstable();
    Identity { id: founder(options, &options.peer_url), cluster_id: hash(&cluster) }
}

fn founder(options: &Options, peer_url: &str) -> MemberId {
    MemberId(hash(&[&options.cluster_token, peer_url]))
}

/// The members of a restored cluster.
pub(crate) struct Founders {
    cluster_id: u64,
    names: BTreeMap<String, MemberId>,
    /// All of them, as each describes them.
    pub(crate) members: BTreeMap<MemberId, Member>,
}

impl Founders {
    /// Who the member of a name is.
    pub(crate) fn identity(&self, name: &str) -> Option<Identity> {
        self.names.get(name).map(|id| Identity { id: *id, cluster_id: self.cluster_id })
    }
}

/// Who the members of a cluster are that starts from a state which `origin` names: nobody else's ids, not even those of
/// the cluster that the state comes from.
pub(crate) fn restored(token: &str, members: &BTreeMap<String, String>, origin: &str) -> Founders {
    let mut cluster: Vec<&str> = members.values().map(String::as_str).collect();
    cluster.sort_unstable();
    cluster.insert(0, token);
    cluster.insert(1, origin);
    let ids = members.iter().map(|(name, url)| (name.clone(), MemberId(hash(&[token, origin, url]))));
    let names: BTreeMap<String, MemberId> = ids.collect();
    let members = members.iter().map(|(name, url)| (names[name], described(name, url))).collect();
    Founders { cluster_id: hash(&cluster), names, members }
}

/// Writes who a member is into its directory.
pub(crate) fn record(directory: &Path, identity: Identity, token: &str) -> io::Result<()> {
    write(&directory.join(IDENTITY_FILE), identity, token)
}

/// FNV-1a over length-prefixed texts; never zero. It only has to be the same everywhere.
pub fn hash(texts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for text in texts {
        for byte in (text.len() as u64).to_le_bytes().iter().chain(text.as_bytes()) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash.max(1)
}

/// Asks the members of a running cluster which of them we are.
async fn join(options: &Options, dial: Dial) -> Result<Identity, Error> {
    let others = || options.members.values().filter(|url| **url != options.peer_url);
    let mut last = "no other member is named".to_owned();
    for _ in 0..JOIN_ATTEMPTS {
        for url in others() {
            match tokio::time::timeout(JOIN_TIMEOUT, ask(options, url, dial)).await {
                Ok(Ok(Some(identity))) => return Ok(identity),
                Ok(Ok(None)) => last = format!("{url} knows no member at {}; add it first", options.peer_url),
                Ok(Err(detail)) => last = format!("{url}: {detail}"),
                Err(_elapsed) => last = format!("{url} does not answer"),
            }
        }
    }
    Err(Error::Join { detail: last })
}

async fn ask(options: &Options, url: &str, dial: Dial) -> Result<Option<Identity>, String> {
    let channel = listen::peer_endpoint(options, url).map(dial).map_err(|error| error.to_string())?;
    let request = MemberListRequest { linearizable: true };
    let answer =
        ClusterClient::new(channel).member_list(request).await.map_err(|status| status.to_string())?;
    let answer = answer.into_inner();
    let ours = answer.members.iter().find(|member| member.peer_ur_ls.contains(&options.peer_url));
    let cluster_id = answer.header.map_or(0, |header| header.cluster_id);
    Ok(ours.map(|member| Identity { id: MemberId(member.id), cluster_id }))
}

/// Starts the Raft member.
pub async fn start_node(
    options: &Options,
    identity: &Identity,
    machine: Arc<Machine>,
    keys: Option<&Keys>,
    seams: Seams,
) -> Result<Node, Error> {
    let defaults = raft::Options::default();
    let sizes = seams.sizes.unwrap_or(Sizes {
        log_segment_bytes: defaults.log_segment_bytes,
        log_keep_bytes: defaults.log_keep_bytes,
        snapshot_bytes: defaults.snapshot_bytes,
    });
    let raft_options = raft::Options {
        id: identity.id,
        cluster_id: identity.cluster_id,
        data_dir: options.data_dir.join("raft"),
        heartbeat_interval_ms: options.heartbeat_interval_ms,
        election_timeout_min_ms: options.election_timeout_ms,
        election_timeout_max_ms: options.election_timeout_ms * 5 / 4,
        snapshot_entries: options.snapshot_entries,
        log_keep_entries: defaults.log_keep_entries.min(options.snapshot_entries),
        log_segment_bytes: sizes.log_segment_bytes,
        log_keep_bytes: sizes.log_keep_bytes,
        snapshot_bytes: sizes.snapshot_bytes,
        log_reserve_bytes: crate::limits::ENGINE_RESERVE_BYTES.min(options.free_bytes_min / 2),
        command_bytes_max: crate::limits::RECORD_BYTES_MAX,
        ..defaults
    };
    Ok(Node::start_on(raft_options, machine, keys.map(Keys::peers), seams.raft).await?)
}

/// Founds the cluster, if it is new. Every founder does so with the same members, which is harmless.
pub async fn initialize(handle: &Handle, options: &Options, identity: &Identity) -> Result<(), Error> {
    let raft = handle.raft();
    // A state that has a position belongs to a group already, even if its log is empty: it was restored.
    let founded = handle.machine().has_position()?;
    if options.cluster_state == ClusterState::Existing || founded || raft.is_initialized() {
        return Ok(());
    }
    let mut members: BTreeMap<MemberId, Member> =
        options.members.iter().map(|(name, url)| (founder(options, url), described(name, url))).collect();
    if let [only] = members.values_mut().collect::<Vec<_>>().as_mut_slice() {
        // With nobody to agree with.
        only.client_urls.clone_from(&options.client_urls);
    }
    if !members.contains_key(&identity.id) {
        let detail = format!("member {} is not among the founding members", identity.id);
        return Err(Error::Options { option: "members", detail });
    }
    match raft.initialize(members).await {
        Ok(()) | Err(raft::Error::AlreadyInitialized) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A founder as all founders describe it: its client URLs become known when it announces itself.
fn described(name: &str, url: &str) -> Member {
    Member { name: name.to_owned(), peer_url: url.to_owned(), client_urls: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn founders_agree_on_who_they_are() {
        let members: BTreeMap<String, String> =
            ["a", "b", "c"].map(|name| (name.to_owned(), format!("http://{name}:1"))).into();
        let of = |name: &str| founding(&Options::member(name, "/d", members.clone()));
        assert_eq!(of("a").cluster_id, of("b").cluster_id);
        assert_ne!(of("a").id, of("b").id);
        let other = Options { cluster_token: "x".into(), ..Options::member("a", "/d", members.clone()) };
        assert_ne!(founding(&other).cluster_id, of("a").cluster_id);
    }

    #[test]
    fn one_process_at_a_time_uses_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let first = lock_directory(directory.path()).unwrap();
        assert!(matches!(lock_directory(directory.path()), Err(Error::Directory { .. })));
        drop(first);
        lock_directory(directory.path()).unwrap();
    }
}
