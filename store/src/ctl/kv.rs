//! `kv put`, `del`, `watch`, `compact`; what reads the past is beside the history.

use std::io::{Read, Write};

use bytes::Bytes;
use proto::etcd::etcdserverpb as pb;
use proto::etcd::etcdserverpb::kv_client::KvClient;
use proto::etcd::etcdserverpb::watch_client::WatchClient;
use proto::etcd::mvccpb;
use serde_json::{Value, json};

use super::output::{Answer, header, key_value};
use super::{Common, Error};
use crate::history::ctl::Keys;

/// Read, write and watch keys.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    #[command(flatten)]
    Past(crate::history::ctl::Command),
    /// Write a key
    Put {
        #[command(flatten)]
        common: Common,
        /// The key.
        key: String,
        /// The value. [default: what standard input says]
        value: Option<String>,
        /// The lease to hang it on, in hexadecimal.
        #[arg(long, value_parser = hexadecimal, default_value = "0")]
        lease: i64,
        /// Print the value before, too.
        #[arg(long)]
        prev_kv: bool,
        /// Keep the value, change the lease.
        #[arg(long, conflicts_with = "value")]
        ignore_value: bool,
        /// Keep the lease.
        #[arg(long)]
        ignore_lease: bool,
    },
    /// Delete keys
    Del {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        keys: Keys,
        /// Print what was deleted, too.
        #[arg(long)]
        prev_kv: bool,
    },
    /// Print changes as they happen
    Watch {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        keys: Keys,
        /// The first revision. [default: the next]
        #[arg(long, default_value_t = 0)]
        rev: i64,
        /// Print the value before, too.
        #[arg(long)]
        prev_kv: bool,
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

/// A lease's number as etcdctl writes it.
pub fn hexadecimal(text: &str) -> Result<i64, String> {
    u64::from_str_radix(text, 16)
        .map(u64::cast_signed)
        .map_err(|_| format!("{text} is not a hexadecimal number"))
}

/// Runs a command.
pub async fn run(command: Command, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    match command {
        Command::Past(command) => crate::history::ctl::run(command, out).await,
        Command::Put { common, key, value, lease, prev_kv, ignore_value, ignore_lease } => {
            let value = match (value, ignore_value) {
                (_, true) => Bytes::new(),
                (Some(value), false) => value.into(),
                (None, false) => standard_input()?,
            };
            let request =
                pb::PutRequest { key: key.into(), value, lease, prev_kv, ignore_value, ignore_lease };
            let answer = KvClient::new(common.connection.connect().await?).put(request).await?.into_inner();
            Ok(put_answer(&answer).print(common.write_out, out)?)
        }
        Command::Del { common, keys, prev_kv } => {
            let (key, range_end) = keys.range()?;
            let request = pb::DeleteRangeRequest { key, range_end, prev_kv };
            let answer =
                KvClient::new(common.connection.connect().await?).delete_range(request).await?.into_inner();
            Ok(delete_answer(&answer).print(common.write_out, out)?)
        }
        Command::Watch { common, keys, rev, prev_kv } => watch(&common, &keys, rev, prev_kv, out).await,
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

fn standard_input() -> Result<Bytes, Error> {
    let mut value = Vec::new();
    std::io::stdin().lock().take(crate::limits::RECORD_BYTES_MAX as u64).read_to_end(&mut value)?;
    Ok(value.into())
}

fn lines(kv: &mvccpb::KeyValue) -> Vec<u8> {
    [&kv.key[..], b"\n", &kv.value, b"\n"].concat()
}

fn put_answer(answer: &pb::PutResponse) -> Answer {
    let mut message = json!({ "header": header(answer.header.as_ref()) });
    let mut simple = b"OK\n".to_vec();
    if let Some(before) = &answer.prev_kv {
        message["prev_kv"] = key_value(before);
        simple.extend(lines(before));
    }
    Answer::new(simple, message)
}

fn delete_answer(answer: &pb::DeleteRangeResponse) -> Answer {
    let mut message = json!({ "header": header(answer.header.as_ref()), "deleted": answer.deleted });
    let mut simple = format!("{}\n", answer.deleted).into_bytes();
    if !answer.prev_kvs.is_empty() {
        message["prev_kvs"] = answer.prev_kvs.iter().map(key_value).collect::<Value>();
        simple.extend(answer.prev_kvs.iter().flat_map(lines));
    }
    Answer::new(simple, message)
}

/// Prints until interrupted, or until the store ends the watch.
async fn watch(
    common: &Common,
    keys: &Keys,
    start_revision: i64,
    prev_kv: bool,
    out: &mut (dyn Write + Send),
) -> Result<(), Error> {
    let (key, range_end) = keys.range()?;
    let create = pb::WatchCreateRequest { key, range_end, start_revision, prev_kv, ..Default::default() };
    let union = pb::watch_request::RequestUnion::CreateRequest(create);
    let (requests, queue) = tokio::sync::mpsc::channel(1);
    let request = pb::WatchRequest { request_union: Some(union) };
    requests.send(request).await.map_err(|_| Error::Usage("the watch could not be asked for".to_owned()))?;
    let queue = tokio_stream::wrappers::ReceiverStream::new(queue);
    let mut client = WatchClient::new(common.connection.connect().await?);
    let mut answers = client.watch(queue).await?.into_inner();
    while let Some(answer) = answers.message().await? {
        if answer.canceled {
            let oldest = answer.compact_revision;
            return Err(Error::Usage(match oldest {
                0 => format!("watch was canceled ({})", answer.cancel_reason),
                _ => format!(
                    "watch was canceled (etcdserver: mvcc: required revision has been compacted): the oldest is {oldest}"
                ),
            }));
        }
        if !answer.events.is_empty() {
            watch_answer(&answer).print(common.write_out, out)?;
            out.flush()?;
        }
    }
    Ok(())
}

fn watch_answer(answer: &pb::WatchResponse) -> Answer {
    let mut simple = Vec::new();
    let mut events = Vec::new();
    for event in &answer.events {
        let deleted = event.r#type == i32::from(mvccpb::event::EventType::Delete);
        let kind = if deleted { "DELETE" } else { "PUT" };
        simple.extend(format!("{kind}\n").bytes());
        let mut message = json!({});
        if deleted {
            message["type"] = 1.into();
        }
        if let Some(before) = &event.prev_kv {
            simple.extend(lines(before));
            message["prev_kv"] = key_value(before);
        }
        if let Some(kv) = &event.kv {
            simple.extend(lines(kv));
            message["kv"] = key_value(kv);
        }
        events.push(message);
    }
    Answer::new(simple, json!({ "Header": header(answer.header.as_ref()), "Events": events }))
}
