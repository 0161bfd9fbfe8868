//! `kv get`, `put`, `del`, `watch`, `compact`; what compares moments is beside the history.

use std::ffi::OsString;
use std::io::{Read, Write};

use bytes::Bytes;
use proto::etcd::etcdserverpb as pb;
use proto::etcd::etcdserverpb::kv_client::KvClient;
use proto::etcd::etcdserverpb::watch_client::WatchClient;
use proto::etcd::mvccpb;
use serde_json::json;

use super::kv_answers::{self, Style};
use super::output::{Answer, header};
use super::quote::quoted;
use super::requests::{Del, Get, Put};
use super::{Common, Error, Input};
use crate::history::ctl::Keys;

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

/// What to watch, and what to do then.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Watch {
    #[command(flatten)]
    keys: Keys,
    /// The first revision. [default: the next]
    #[arg(long, default_value_t = 0)]
    rev: i64,
    /// Print the value before, too.
    #[arg(long)]
    prev_kv: bool,
    /// What to run for each change; it finds it in ETCD_WATCH_REVISION, _EVENT_TYPE, _KEY and _VALUE.
    #[arg(last = true)]
    command: Vec<OsString>,
}

/// Runs a command.
pub async fn run(command: Command, input: Input<'_>, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    match command {
        Command::Past(command) => crate::history::ctl::run(command, out).await,
        Command::Get { common, get, at } => {
            let line = common.connection.connect().await?;
            let mut request = get.request()?;
            if let Some(at) = at {
                request.revision = crate::history::ctl::revision_at(line.clone(), &at).await?;
            }
            let mut client =
                KvClient::new(line).max_decoding_message_size(crate::limits::RANGE_BYTES_MAX * 2);
            let answer = client.range(request).await?.into_inner();
            Ok(kv_answers::get(&answer, get.style(common.hex)).print(common.write_out, out)?)
        }
        Command::Put { common, put } => {
            let request = put.request(|| standard_input(input))?;
            let answer = KvClient::new(common.connection.connect().await?).put(request).await?.into_inner();
            Ok(kv_answers::put(&answer, style(&common)).print(common.write_out, out)?)
        }
        Command::Del { common, del } => {
            let request = del.request()?;
            let answer =
                KvClient::new(common.connection.connect().await?).delete_range(request).await?.into_inner();
            Ok(kv_answers::delete(&answer, style(&common)).print(common.write_out, out)?)
        }
        Command::Watch { common, watch } => watch.run(&common, out).await,
        Command::Compact { common, revision, physical } => {
            let request = pb::CompactionRequest { revision, physical };
            let answer =
                KvClient::new(common.connection.connect().await?).compact(request).await?.into_inner();
            let message = json!({ "header": header(answer.header.as_ref()) });
            Ok(Answer::new(format!("compacted revision {revision}\n"), message)
                .print(common.write_out, out)?)
        }
    }
}

fn style(common: &Common) -> Style {
    Style { hex: common.hex, ..Style::default() }
}

fn standard_input(input: Input<'_>) -> Result<Bytes, Error> {
    let mut value = Vec::new();
    input.take(crate::limits::RECORD_BYTES_MAX as u64).read_to_end(&mut value)?;
    Ok(value.into())
}

impl Watch {
    /// Prints until interrupted, or until the store ends the watch.
    async fn run(self, common: &Common, out: &mut (dyn Write + Send)) -> Result<(), Error> {
        let (key, range_end) = self.keys.range()?;
        let create = pb::WatchCreateRequest {
            key,
            range_end,
            start_revision: self.rev,
            prev_kv: self.prev_kv,
            ..Default::default()
        };
        let union = pb::watch_request::RequestUnion::CreateRequest(create);
        let (requests, queue) = tokio::sync::mpsc::channel(1);
        let request = pb::WatchRequest { request_union: Some(union) };
        requests
            .send(request)
            .await
            .map_err(|_| Error::Usage("the watch could not be asked for".to_owned()))?;
        let queue = tokio_stream::wrappers::ReceiverStream::new(queue);
        let mut client = WatchClient::new(common.connection.connect().await?);
        let mut answers = client.watch(queue).await?.into_inner();
        while let Some(answer) = answers.message().await? {
            if answer.canceled {
                return Err(ended(&answer));
            }
            if !answer.events.is_empty() {
                kv_answers::watch(&answer, style(common)).print(common.write_out, out)?;
                out.flush()?;
                self.tell(&answer).await?;
            }
        }
        Ok(())
    }

    /// Runs the command for each change.
    async fn tell(&self, answer: &pb::WatchResponse) -> Result<(), Error> {
        let Some((program, arguments)) = self.command.split_first() else { return Ok(()) };
        let revision = answer.header.map_or(0, |header| header.revision);
        for event in &answer.events {
            let mvccpb::KeyValue { key, value, .. } = event.kv.clone().unwrap_or_default();
            let (_, kind) = kv_answers::kind(event);
            let status = tokio::process::Command::new(program)
                .args(arguments)
                .env("ETCD_WATCH_REVISION", revision.to_string())
                .env("ETCD_WATCH_EVENT_TYPE", quoted(kind.as_bytes()))
                .env("ETCD_WATCH_KEY", quoted(&key))
                .env("ETCD_WATCH_VALUE", quoted(&value))
                .kill_on_drop(true)
                .status()
                .await?;
            if !status.success() {
                return Err(Error::Usage(format!("{}: {status}", program.display())));
            }
        }
        Ok(())
    }
}

fn ended(answer: &pb::WatchResponse) -> Error {
    Error::Usage(match answer.compact_revision {
        0 => format!("watch was canceled ({})", answer.cancel_reason),
        oldest => format!(
            "watch was canceled (etcdserver: mvcc: required revision has been compacted): the oldest is {oldest}"
        ),
    })
}
