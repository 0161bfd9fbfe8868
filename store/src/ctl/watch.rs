//! `kv watch`: one watch from the command line, or with `-i` many from standard input, all on one stream.
//!
//! ```text
//! watch KEY [RANGE_END] [flags] [-- COMMAND]    begins a watch; flags are those of the command line
//! progress                                      asks up to which revision everything was told
//! ```

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::process::Stdio;

use clap::Parser;
use proto::etcd::etcdserverpb as pb;
use proto::etcd::etcdserverpb::watch_request::RequestUnion;
use proto::etcd::mvccpb;
use tokio::io::{AsyncBufReadExt, AsyncReadExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::kv_answers::{self, Style};
use super::quote::{quoted, words};
use super::{Common, Error, Input};
use crate::history::ctl::Keys;
use crate::limits::RECORD_BYTES_MAX;

/// Requests that wait to be sent: people type one after the other.
const QUEUE: usize = 1;

/// To watch keys.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Watch {
    #[command(flatten)]
    what: What,
    /// Read watches from standard input: `watch KEY ...` begins one, `progress` asks how far they are.
    #[arg(short = 'i', long, conflicts_with_all = ["key", "command"])]
    interactive: bool,
}

/// What to watch, and what to do then.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
struct What {
    #[command(flatten)]
    keys: Keys,
    /// The first revision. [default: the next]
    #[arg(long, default_value_t = 0)]
    rev: i64,
    /// Print the value before, too.
    #[arg(long)]
    prev_kv: bool,
    /// Let the member say now and then how far the watch is.
    #[arg(long)]
    progress_notify: bool,
    /// What to run for each change; it finds it in ETCD_WATCH_REVISION, _EVENT_TYPE, _KEY and _VALUE.
    #[arg(last = true)]
    command: Vec<OsString>,
}

/// A line of standard input.
#[derive(Parser)]
#[command(no_binary_name = true, disable_help_subcommand = true)]
enum Line {
    Watch(What),
    Progress,
}

/// A stream of watches: where to ask for more, and what is told.
struct Stream {
    requests: mpsc::Sender<pb::WatchRequest>,
    answers: Streaming<pb::WatchResponse>,
}

/// Runs the command: until interrupted, or until the store or the input ends it.
pub async fn run(
    common: &Common,
    watch: Watch,
    input: Input<'_>,
    out: &mut (dyn Write + Send),
) -> Result<(), Error> {
    let place = Named::in_environment();
    if watch.interactive {
        return interactive(common, &place, input, out).await;
    }
    let mut stream = Stream::begin(common, watch.what.request(&place, 0)?).await?;
    while let Some(answer) = stream.answers.message().await? {
        if answer.canceled {
            return Err(ended(&answer));
        }
        show(common, &watch.what, &answer, out).await?;
    }
    Err(Error::Ended("watch is canceled by the server".to_owned()))
}

/// Goes on although one of its watches ends. As with etcdctl, the end of the input is an error.
async fn interactive(
    common: &Common,
    place: &Named,
    input: Input<'_>,
    out: &mut (dyn Write + Send),
) -> Result<(), Error> {
    let mut lines = input.take(RECORD_BYTES_MAX as u64).lines();
    let mut watches: BTreeMap<i64, What> = BTreeMap::new();
    // Zero would let the member choose.
    let mut id = 0;
    let mut stream: Option<Stream> = None;
    loop {
        let line = tokio::select! {
            answer = told(&mut stream) => {
                let answer = answer?;
                match watches.get(&answer.watch_id) {
                    _ if answer.canceled => {
                        writeln!(std::io::stderr(), "{}", ended(&answer))?;
                        watches.remove(&answer.watch_id);
                    }
                    Some(what) => show(common, what, &answer, out).await?,
                    // The answer to `progress` is for all of them.
                    None => progress(&answer, out)?,
                }
                continue;
            }
            line = lines.next_line() => line?,
        };
        let Some(line) = line else {
            return Err(Error::Input("error reading watch request line: EOF".to_owned()));
        };
        let asked = match parse(&line) {
            Ok(asked) => asked,
            Err(why) => {
                writeln!(std::io::stderr(), "Invalid command: {line} ({why})")?;
                continue;
            }
        };
        let request = match asked {
            Line::Progress => RequestUnion::ProgressRequest(pb::WatchProgressRequest {}),
            Line::Watch(what) => {
                id += 1;
                let request = what.request(place, id)?;
                watches.insert(id, what);
                request
            }
        };
        match (&stream, request) {
            (Some(stream), request) => stream.ask(request).await?,
            (None, RequestUnion::ProgressRequest(_)) => {
                writeln!(std::io::stderr(), "Invalid command: {line} (nothing is watched yet)")?;
            }
            (None, request) => stream = Some(Stream::begin(common, request).await?),
        }
    }
}

/// What is told next; never, before there is a stream.
async fn told(stream: &mut Option<Stream>) -> Result<pb::WatchResponse, Error> {
    match stream {
        Some(stream) => {
            let answer = stream.answers.message().await?;
            answer.ok_or_else(|| Error::Ended("watch is canceled by the server".to_owned()))
        }
        None => std::future::pending().await,
    }
}

fn parse(line: &str) -> Result<Line, String> {
    let words = words(line).ok_or("a quote is not closed")?;
    if words.is_empty() {
        return Err("watch and progress supported".to_owned());
    }
    // The first line says it; the rest is about calling a program.
    Line::try_parse_from(words).map_err(|error| {
        let text = error.to_string();
        text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })
}

impl Stream {
    /// Opens it with a first request: there are members that say nothing before they are asked.
    async fn begin(common: &Common, first: RequestUnion) -> Result<Self, Error> {
        let (requests, queue) = mpsc::channel(QUEUE);
        requests.send(common.connection.sendable(sent(first))?).await.map_err(|_| gone())?;
        let line = common.connection.connect().await?;
        let answers = common.connection.changes(line).watch(ReceiverStream::new(queue)).await?.into_inner();
        Ok(Self { requests, answers })
    }

    async fn ask(&self, request: RequestUnion) -> Result<(), Error> {
        self.requests.send(sent(request)).await.map_err(|_| gone())
    }
}

fn sent(request: RequestUnion) -> pb::WatchRequest {
    pb::WatchRequest { request_union: Some(request) }
}

fn gone() -> Error {
    Error::Failed("the watch could not be asked for".to_owned())
}

impl What {
    fn request(&self, place: &Named, watch_id: i64) -> Result<RequestUnion, Error> {
        let (key, range_end) = place.keys(&self.keys)?.range()?;
        Ok(RequestUnion::CreateRequest(pb::WatchCreateRequest {
            key,
            range_end,
            start_revision: self.rev,
            prev_kv: self.prev_kv,
            progress_notify: self.progress_notify,
            watch_id,
            ..Default::default()
        }))
    }

    /// Runs the command for each change.
    async fn tell(&self, answer: &pb::WatchResponse) -> Result<(), Error> {
        let Some((program, arguments)) = self.command.split_first() else { return Ok(()) };
        let revision = answer.header.map_or(0, |header| header.revision);
        for event in &answer.events {
            let mvccpb::KeyValue { key, value, .. } = event.kv.clone().unwrap_or_default();
            let (_, kind) = kv_answers::kind(event);
            // Standard input has lines for us.
            let status = tokio::process::Command::new(program)
                .args(arguments)
                .stdin(Stdio::null())
                .env("ETCD_WATCH_REVISION", revision.to_string())
                .env("ETCD_WATCH_EVENT_TYPE", quoted(kind.as_bytes()))
                .env("ETCD_WATCH_KEY", quoted(&key))
                .env("ETCD_WATCH_VALUE", quoted(&value))
                .kill_on_drop(true)
                .status()
                .await?;
            if !status.success() {
                return Err(Error::Failed(format!("command {} error ({status})", program.display())));
            }
        }
        Ok(())
    }
}

/// Keys that the environment names: ETCDCTL_WATCH_KEY and ETCDCTL_WATCH_RANGE_END, as etcdctl has them.
struct Named {
    key: Option<String>,
    range_end: Option<String>,
}

impl Named {
    fn in_environment() -> Self {
        let value = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self { key: value("ETCDCTL_WATCH_KEY"), range_end: value("ETCDCTL_WATCH_RANGE_END") }
    }

    /// Those, or those of the arguments; both is a mistake.
    fn keys(&self, keys: &Keys) -> Result<Keys, Error> {
        match (&self.key, &self.range_end) {
            (None, None) => Ok(keys.clone()),
            (None, Some(end)) => Err(Error::Usage(format!(
                "ETCDCTL_WATCH_KEY is empty but got ETCDCTL_WATCH_RANGE_END={end:?}"
            ))),
            (Some(_), _) if keys.key.is_some() => {
                Err(Error::Usage("bad number of arguments (found conflicting environment key)".to_owned()))
            }
            (key, end) => Ok(Keys { key: key.clone(), range_end: end.clone(), ..keys.clone() }),
        }
    }
}

async fn show(
    common: &Common,
    what: &What,
    answer: &pb::WatchResponse,
    out: &mut (dyn Write + Send),
) -> Result<(), Error> {
    if answer.created {
        return Ok(());
    }
    if answer.events.is_empty() {
        progress(answer, out)?;
    }
    let style = Style { hex: common.hex, ..Style::default() };
    common.print(&kv_answers::watch(answer, style), out)?;
    out.flush()?;
    what.tell(answer).await
}

fn progress(answer: &pb::WatchResponse, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    let revision = answer.header.map_or(0, |header| header.revision);
    writeln!(out, "progress notify: {revision}")?;
    Ok(out.flush()?)
}

fn ended(answer: &pb::WatchResponse) -> Error {
    Error::Ended(match answer.compact_revision {
        0 => format!("watch was canceled ({})", answer.cancel_reason),
        oldest => format!(
            "watch was canceled (etcdserver: mvcc: required revision has been compacted): the oldest is {oldest}"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(key: Option<&str>) -> Keys {
        Keys { key: key.map(str::to_owned), range_end: None, prefix: false, from_key: false }
    }

    #[test]
    fn the_environment_may_name_the_keys() {
        let named = |key: Option<&str>, range_end: Option<&str>| Named {
            key: key.map(str::to_owned),
            range_end: range_end.map(str::to_owned),
        };
        let found = named(Some("a"), Some("c")).keys(&keys(None)).unwrap().range().unwrap();
        assert_eq!(found, ("a".into(), "c".into()));
        let found = named(None, None).keys(&keys(Some("k"))).unwrap();
        assert_eq!(found.key.as_deref(), Some("k"));
        for (place, key, why) in [
            (named(Some("a"), None), Some("k"), "conflicting environment key"),
            (named(None, Some("c")), Some("k"), "ETCDCTL_WATCH_KEY is empty"),
        ] {
            let error = place.keys(&keys(key)).map(drop).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
            assert_eq!(error.exit_code(), 128);
        }
    }

    #[test]
    fn lines_are_read_as_arguments_are() {
        let Ok(Line::Watch(what)) = parse("watch 'a b' --rev 3 --prev-kv -- sh -c 'echo x'") else {
            panic!("not a watch")
        };
        assert_eq!((what.keys.key.as_deref(), what.rev, what.prev_kv), (Some("a b"), 3, true));
        assert_eq!(what.command, ["sh", "-c", "echo x"]);
        assert!(matches!(parse("progress"), Ok(Line::Progress)));
        for (line, why) in [
            ("", "watch and progress supported"),
            ("get a", "unrecognized subcommand 'get'"),
            ("watch 'a", "a quote is not closed"),
            ("watch a b --prefix", "cannot be used with"),
        ] {
            let found = parse(line).map(drop).unwrap_err();
            assert!(found.contains(why), "{line}: {found}");
        }
    }
}
