//! `kv get`, `put`, `del`, `compact`; what compares moments is beside the history.

use std::io::Write;

use bytes::Bytes;
use proto::etcd::etcdserverpb as pb;
use tokio::io::AsyncReadExt;

use super::kv_answers::{self, Style};
use super::requests::{Del, Get, Put};
use super::watch::{self, Watch};
use super::{Common, Error, Input};

/// Read, write and watch keys.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Print keys and values, as they are or as they were
    Get {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        get: Get,
        /// As it was at a revision, a time (2026-11-21T03:00:00Z) or some time ago (-10m).
        #[arg(long, allow_hyphen_values = true, conflicts_with = "rev")]
        at: Option<String>,
    },
    #[command(flatten)]
    Past(crate::history::ctl::Command),
    /// Write a key
    Put {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        put: Put,
    },
    /// Delete keys
    Del {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        del: Del,
    },
    /// Print changes as they happen
    Watch {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        watch: Watch,
    },
    /// Forget history before a revision
    #[command(alias = "compaction")]
    Compact {
        #[command(flatten)]
        common: Common,
        /// The oldest revision to keep.
        revision: i64,
        /// Return only when the space is free.
        #[arg(long)]
        physical: bool,
    },
}

/// Runs a command.
pub async fn run(command: Command, input: Input<'_>, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    match command {
        Command::Past(command) => crate::history::ctl::run(command, out).await,
        Command::Get { common, get, at } => {
            let line = common.connection.connect().await?;
            let mut request = common.connection.sendable(get.request()?)?;
            if let Some(at) = at {
                request.revision = crate::history::ctl::revision_at(line.clone(), &at).await?;
            }
            let answer = common.connection.keys(line).range(request).await?.into_inner();
            common.print(&kv_answers::get(&answer, get.style(common.hex)), out)
        }
        Command::Put { common, put } => {
            let typed = if put.wants_input() { Some(all(input).await?) } else { None };
            let request = common.connection.sendable(put.request(typed)?)?;
            let line = common.connection.connect().await?;
            let answer = common.connection.keys(line).put(request).await?.into_inner();
            common.print(&kv_answers::put(&answer, style(&common)), out)
        }
        Command::Del { common, del } => {
            let request = common.connection.sendable(del.request()?)?;
            let line = common.connection.connect().await?;
            let answer = common.connection.keys(line).delete_range(request).await?.into_inner();
            common.print(&kv_answers::delete(&answer, style(&common)), out)
        }
        Command::Watch { common, watch } => watch::run(&common, watch, input, out).await,
        Command::Compact { common, revision, physical } => {
            let request = pb::CompactionRequest { revision, physical };
            let line = match physical {
                true => common.connection.connect_to_wait().await?,
                false => common.connection.connect().await?,
            };
            let answer = common.connection.keys(line).compact(request).await?.into_inner();
            common.done(format!("compacted revision {revision}\n"), answer.header.as_ref(), out)
        }
    }
}

fn style(common: &Common) -> Style {
    Style { hex: common.hex, ..Style::default() }
}

async fn all(input: Input<'_>) -> Result<Bytes, Error> {
    let mut value = Vec::new();
    input.take(crate::limits::RECORD_BYTES_MAX as u64).read_to_end(&mut value).await?;
    Ok(value.into())
}
