//! `make-mirror`: keeps a copy of keys in another cluster, until interrupted or until something fails.
//!
//! ```text
//! source at revision R, in pages ──► puts in transactions ──► changes after R, a transaction for each revision ──► ...
//! ```
//!
//! As with etcdctl, leases do not go along, and keys that only the destination has stay there.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use proto::etcd::etcdserverpb as pb;
use proto::etcd::etcdserverpb::kv_client::KvClient;
use proto::etcd::etcdserverpb::request_op::Request;
use proto::etcd::etcdserverpb::watch_client::WatchClient;
use proto::etcd::mvccpb;
use store_client::KeyRange;
use tokio::time::MissedTickBehavior;

use super::session::interrupted;
use super::{Connection, Error, Line};

/// Keys of one page of the source.
const PAGE_KEYS: i64 = 1000;

/// Bytes of keys and values after which a transaction is sent: etcd refuses requests above 1.5 MiB.
const TXN_BYTES: usize = 1 << 20;

/// Time between two counts that are printed; etcdctl's.
const COUNT_INTERVAL: Duration = Duration::from_secs(30);

/// Keep a copy of keys in another cluster, until interrupted; leases are not copied
#[derive(Clone, Debug, clap::Args)]
pub struct Mirror {
    #[command(flatten)]
    connection: Connection,
    /// Where the other cluster is: its members' addresses, separated by commas.
    destination: String,
    /// Only keys that begin with this.
    #[arg(long, default_value = "")]
    prefix: String,
    /// What they begin with in the other cluster. [default: the same]
    #[arg(long, conflicts_with = "no_dest_prefix")]
    dest_prefix: Option<String>,
    /// They begin there with what follows the prefix.
    #[arg(long)]
    no_dest_prefix: bool,
    /// Only changes from this revision on, without what was there before.
    #[arg(long, default_value_t = 0)]
    rev: i64,
    /// Operations in one transaction.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    max_txn_ops: u32,
    /// Authority of the other members' certificates (PEM file).
    #[arg(long)]
    dest_cacert: Option<PathBuf>,
    /// This client's certificate there (PEM file).
    #[arg(long, requires = "dest_key")]
    dest_cert: Option<PathBuf>,
    /// Key of --dest-cert (PEM file).
    #[arg(long)]
    dest_key: Option<PathBuf>,
    /// Whether a destination without http:// or https:// is reached without TLS. [default: unless there is --dest-cacert]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    dest_insecure_transport: Option<bool>,
    /// Who writes there, as NAME or NAME:PASSWORD.
    #[arg(long)]
    dest_user: Option<String>,
    /// Password of --dest-user.
    #[arg(long, requires = "dest_user")]
    dest_password: Option<String>,
}

/// Runs the command.
pub async fn run(mirror: Mirror, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    tokio::select! {
        outcome = copy(&mirror, out) => outcome,
        stop = interrupted() => stop,
    }
}

async fn copy(mirror: &Mirror, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    let source = mirror.connection.connect().await?;
    let destination = mirror.destination();
    let mut copy = Copy {
        keys: destination.keys(destination.connect().await?),
        destination,
        renaming: mirror.renaming(),
        ops_max: usize::try_from(mirror.max_txn_ops).unwrap_or(usize::MAX),
        batch: Batch::default(),
        copied: 0,
    };
    let revision = match mirror.rev {
        rev if rev > 0 => rev - 1,
        _ => copy.base(mirror.connection.keys(source.clone()), &mirror.prefix).await?,
    };
    copy.changes(mirror.connection.changes(source), &mirror.prefix, revision + 1, out).await
}

impl Mirror {
    fn destination(&self) -> Connection {
        Connection {
            endpoints: self.destination.clone(),
            discovery_srv: None,
            shown_by: None,
            cacert: self.dest_cacert.clone(),
            cert: self.dest_cert.clone(),
            key_file: self.dest_key.clone(),
            insecure_transport: self.dest_insecure_transport,
            insecure_skip_tls_verify: false,
            login: self.dest_user.clone(),
            login_password: self.dest_password.clone(),
            ..self.connection.clone()
        }
    }

    fn renaming(&self) -> Renaming {
        let to = match (&self.dest_prefix, self.no_dest_prefix) {
            (_, true) => "",
            (Some(prefix), false) => prefix,
            (None, false) => &self.prefix,
        };
        Renaming { stripped: self.prefix.len(), prefix: Bytes::from(to.to_owned()) }
    }
}

/// From keys of the source to keys of the destination.
struct Renaming {
    stripped: usize,
    prefix: Bytes,
}

impl Renaming {
    fn key(&self, key: &Bytes) -> Bytes {
        let rest = key.get(self.stripped..).unwrap_or_default();
        let mut renamed = BytesMut::with_capacity(self.prefix.len() + rest.len());
        renamed.extend_from_slice(&self.prefix);
        renamed.extend_from_slice(rest);
        renamed.freeze()
    }
}

/// Operations that will be one transaction.
#[derive(Default)]
struct Batch {
    ops: Vec<pb::RequestOp>,
    bytes: usize,
    revision: i64,
}

impl Batch {
    /// Whether a change of `bytes` at `revision` must wait for the next transaction. Changes of one revision stay together as
    /// long as they fit; those of two are never in one, as they may be of one key.
    fn is_full(&self, revision: i64, bytes: usize, ops_max: usize) -> bool {
        let other = self.revision != revision;
        !self.ops.is_empty() && (other || self.ops.len() >= ops_max || self.bytes + bytes > TXN_BYTES)
    }

    fn push(&mut self, op: Request, revision: i64, bytes: usize) {
        self.ops.push(pb::RequestOp { request: Some(op) });
        self.bytes += bytes;
        self.revision = revision;
    }
}

struct Copy {
    destination: Connection,
    keys: KvClient<Line>,
    renaming: Renaming,
    ops_max: usize,
    batch: Batch,
    copied: u64,
}

impl Copy {
    /// Copies what there is, and says at which revision that was.
    async fn base(&mut self, mut source: KvClient<Line>, prefix: &str) -> Result<i64, Error> {
        let (mut key, range_end) = range(prefix);
        let mut revision = 0;
        loop {
            let request = pb::RangeRequest {
                key: key.clone(),
                range_end: range_end.clone(),
                limit: PAGE_KEYS,
                revision,
                ..Default::default()
            };
            let page = source.range(request).await?.into_inner();
            if revision == 0 {
                revision = page.header.map_or(0, |header| header.revision);
            }
            let Some(last) = page.kvs.last() else { break };
            key = [&last.key[..], &[0]].concat().into();
            for kv in page.kvs {
                // All are of one moment: to the destination that is one revision.
                self.put(kv, revision).await?;
            }
            if !page.more {
                break;
            }
        }
        self.flush().await?;
        Ok(revision)
    }

    /// Copies changes as they happen.
    async fn changes(
        &mut self,
        mut source: WatchClient<Line>,
        prefix: &str,
        from: i64,
        out: &mut (dyn Write + Send),
    ) -> Result<(), Error> {
        let (key, range_end) = range(prefix);
        let create = pb::WatchCreateRequest { key, range_end, start_revision: from, ..Default::default() };
        let union = Some(pb::watch_request::RequestUnion::CreateRequest(create));
        // The queue stays open as long as the watch.
        let first = tokio_stream::once(pb::WatchRequest { request_union: union });
        let requests = tokio_stream::StreamExt::chain(first, tokio_stream::pending());
        let mut answers = source.watch(requests).await?.into_inner();
        let mut count = tokio::time::interval(COUNT_INTERVAL);
        count.set_missed_tick_behavior(MissedTickBehavior::Delay);
        count.reset();
        loop {
            let answer = tokio::select! {
                answer = answers.message() => answer?,
                _ = count.tick() => {
                    writeln!(out, "{}", self.copied)?;
                    out.flush()?;
                    continue;
                }
            };
            let Some(answer) = answer else {
                return Err(Error::Ended("watch is canceled by the server".to_owned()));
            };
            match (answer.canceled, answer.compact_revision) {
                (false, _) => {}
                (true, 0) => return Err(Error::Ended(answer.cancel_reason)),
                (true, _) => {
                    let reason = "etcdserver: mvcc: required revision has been compacted";
                    return Err(Error::Ended(reason.to_owned()));
                }
            }
            for event in answer.events {
                let deleted = event.r#type == i32::from(mvccpb::event::EventType::Delete);
                let kv = event.kv.unwrap_or_default();
                let revision = kv.mod_revision;
                if deleted { self.delete(kv, revision).await? } else { self.put(kv, revision).await? }
            }
            self.flush().await?;
        }
    }

    async fn put(&mut self, kv: mvccpb::KeyValue, revision: i64) -> Result<(), Error> {
        let bytes = kv.key.len() + kv.value.len();
        let key = self.renaming.key(&kv.key);
        let put = pb::PutRequest { key, value: kv.value, ..Default::default() };
        self.add(Request::RequestPut(put), revision, bytes).await
    }

    async fn delete(&mut self, kv: mvccpb::KeyValue, revision: i64) -> Result<(), Error> {
        let key = self.renaming.key(&kv.key);
        let delete = pb::DeleteRangeRequest { key, ..Default::default() };
        self.add(Request::RequestDeleteRange(delete), revision, kv.key.len()).await
    }

    async fn add(&mut self, op: Request, revision: i64, bytes: usize) -> Result<(), Error> {
        if self.batch.is_full(revision, bytes, self.ops_max) {
            self.flush().await?;
        }
        self.batch.push(op, revision, bytes);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Error> {
        let Batch { ops, .. } = std::mem::take(&mut self.batch);
        if ops.is_empty() {
            return Ok(());
        }
        let count = ops.len() as u64;
        let request = pb::TxnRequest { success: ops, ..Default::default() };
        self.keys.txn(self.destination.sendable(request)?).await?;
        self.copied += count;
        Ok(())
    }
}

/// All keys that begin with it. etcd knows no empty key: everything begins after one zero byte.
fn range(prefix: &str) -> (Bytes, Bytes) {
    let open = Bytes::from_static(&[0]);
    match KeyRange::prefix(Bytes::from(prefix.to_owned())) {
        KeyRange::Interval { start, end } => (start, end),
        KeyRange::Key(start) | KeyRange::From(start) if start.is_empty() => (open.clone(), open),
        KeyRange::Key(start) | KeyRange::From(start) => (start, open),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_renamed() {
        for (stripped, prefix, key, expected) in [
            ("a/", "a/", "a/k", "a/k"),
            ("a/", "b/", "a/k", "b/k"),
            ("a/", "", "a/k", "k"),
            ("", "m/", "k", "m/k"),
        ] {
            let renaming = Renaming { stripped: stripped.len(), prefix: prefix.into() };
            assert_eq!(renaming.key(&key.into()), expected);
        }
    }

    #[test]
    fn a_transaction_has_changes_of_one_revision_and_a_bound() {
        let mut batch = Batch::default();
        assert!(!batch.is_full(7, 2 * TXN_BYTES, 2), "one always fits");
        batch.push(Request::RequestPut(pb::PutRequest::default()), 7, 10);
        assert!(!batch.is_full(7, 10, 2));
        assert!(batch.is_full(8, 10, 2));
        assert!(batch.is_full(7, TXN_BYTES, 2));
        batch.push(Request::RequestPut(pb::PutRequest::default()), 7, 10);
        assert!(batch.is_full(7, 10, 2));
    }

    #[test]
    fn everything_begins_with_nothing() {
        assert_eq!(range(""), (Bytes::from_static(&[0]), Bytes::from_static(&[0])));
        assert_eq!(range("a"), ("a".into(), "b".into()));
    }
}
