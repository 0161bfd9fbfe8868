//! `check perf` and `check datascale`: whether a store is as fast, and as small, as a load demands. Numbers are etcdctl's.

mod datascale;
mod load;
mod perf;

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use proto::etcd::etcdserverpb as pb;
use proto::etcd::etcdserverpb::kv_client::KvClient;
use store_client::KeyRange;

use super::defrag::NOTHING_TO_DO;
use super::{Connection, Error, Line};
use crate::cli::duration;
use load::Load;

/// Bytes of the random part of a key, at least: enough that none comes twice.
const RANDOM_DIGITS: usize = 16;

/// Measure what a store bears.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Write at a steady rate and judge throughput and latency; exits with 1 when it is too slow
    Perf {
        #[command(flatten)]
        check: Check,
        /// What they begin with.
        #[arg(long, default_value = "/etcdctl-check-perf/")]
        prefix: String,
        /// For how long.
        #[arg(long, default_value = "60s", value_parser = duration::parse)]
        duration: Duration,
    },
    /// Write many keys and tell how much memory the first endpoint's member takes for them
    Datascale {
        #[command(flatten)]
        check: Check,
        /// What they begin with.
        #[arg(long, default_value = "/etcdctl-check-datascale/")]
        prefix: String,
        /// How many. [default: the load's]
        #[arg(long)]
        keys: Option<usize>,
    },
}

/// What both take. The keys are deleted in the end.
#[derive(Clone, Debug, clap::Args)]
pub struct Check {
    #[command(flatten)]
    connection: Connection,
    /// How much: s (small), m (medium), l (large), xl (xLarge).
    #[arg(long, value_enum, ignore_case = true, default_value = "s")]
    load: Load,
    /// Forget the history of the keys in the end; all history before, too.
    #[arg(long)]
    auto_compact: bool,
    /// Say that there is nothing to defragment.
    #[arg(long)]
    auto_defrag: bool,
}

/// Runs a command.
pub async fn run(command: Command, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    match command {
        Command::Perf { check, prefix, duration } => perf::run(&check, &prefix, duration, out).await,
        Command::Datascale { check, prefix, keys } => {
            let keys = keys.unwrap_or(check.load.keys());
            datascale::run(&check, &prefix, keys, out).await
        }
    }
}

impl Check {
    /// A connection for each client.
    async fn clients(&self, count: usize) -> Result<Vec<KvClient<Line>>, Error> {
        let mut clients = Vec::with_capacity(count);
        for _ in 0..count {
            clients.push(KvClient::new(self.connection.connect().await?));
        }
        Ok(clients)
    }

    /// Nothing that was there may be deleted in the end.
    async fn begin(&self, client: &mut KvClient<Line>, prefix: &str) -> Result<(), Error> {
        let (key, range_end) = keys(prefix)?;
        let request = pb::RangeRequest { key, range_end, limit: 1, keys_only: true, ..Default::default() };
        if client.range(request).await?.into_inner().kvs.is_empty() {
            return Ok(());
        }
        Err(Error::Input(format!(
            "prefix {prefix:?} has keys. Delete with 'kontiki kv del --prefix {prefix}' first"
        )))
    }

    /// Takes as long as it takes: leaving the keys would be worse.
    async fn end(&self, prefix: &str, out: &mut (dyn Write + Send)) -> Result<(), Error> {
        let mut client = KvClient::new(self.connection.connect_to_wait().await?);
        let (key, range_end) = keys(prefix)?;
        let deleted = client
            .delete_range(pb::DeleteRangeRequest { key, range_end, prev_kv: false })
            .await?
            .into_inner();
        if self.auto_compact {
            let revision = deleted.header.map_or(0, |header| header.revision);
            writeln!(out, "Compacting with revision {revision}")?;
            client.compact(pb::CompactionRequest { revision, physical: true }).await?;
            writeln!(out, "Compacted with revision {revision}")?;
        }
        if self.auto_defrag {
            writeln!(out, "{NOTHING_TO_DO}")?;
        }
        Ok(())
    }
}

fn keys(prefix: &str) -> Result<(Bytes, Bytes), Error> {
    match KeyRange::prefix(Bytes::from(prefix.to_owned())) {
        KeyRange::Interval { start, end } => Ok((start, end)),
        KeyRange::Key(_) | KeyRange::From(_) => {
            Err(Error::Usage("--prefix must not be empty: its keys are deleted in the end".to_owned()))
        }
    }
}

/// A put of a key that nobody has yet.
fn put(prefix: &str, key_bytes: usize, value: &Bytes) -> pb::PutRequest {
    let digits = key_bytes.max(RANDOM_DIGITS);
    let random: u64 = rand::random();
    let key = format!("{prefix}{random:0digits$x}").into();
    pb::PutRequest { key, value: value.clone(), ..Default::default() }
}
