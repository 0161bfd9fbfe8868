//! `kv diff` and `kv undelete`; how keys are named.

use std::io::Write;

use bytes::Bytes;
use proto::store as pb;
use proto::store::history_client::HistoryClient;
use store_client::KeyRange;

use super::clock::now_unix_ms;
use super::time::{self, Moment};
use crate::ctl::{Connection, Error, Line};
use crate::limits::RECORD_BYTES_MAX;

/// Compare moments and take back deletions.
#[derive(Clone, Debug, clap::Subcommand)]
#[expect(
    missing_docs,
    reason = "the documentation of flattened arguments would end up in the help of the command"
)]
pub enum Command {
    /// Print what differs between two moments: + added, - removed, ~ changed
    Diff {
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        keys: Keys,
        /// A revision, a time (2026-11-21T03:00:00Z) or some time ago (-10m).
        #[arg(long, allow_hyphen_values = true)]
        from: String,
        /// The same; now unless told otherwise.
        #[arg(long, allow_hyphen_values = true, default_value = "0")]
        to: String,
    },
    /// Bring back deleted keys, or keys as they were at a moment
    Undelete {
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        keys: Keys,
        /// The moment whose keys come back. [default: each key as it was before its deletion]
        #[arg(long, allow_hyphen_values = true)]
        at: Option<String>,
        /// Replace what has been written since.
        #[arg(long)]
        force: bool,
    },
}

/// Which keys.
#[derive(Clone, Debug, clap::Args)]
pub struct Keys {
    /// The key, or with --prefix what keys begin with; all keys with --prefix alone.
    pub key: Option<String>,
    /// The first key after a range that begins with KEY.
    #[arg(conflicts_with_all = ["prefix", "from_key"])]
    pub range_end: Option<String>,
    /// All keys that begin with KEY.
    #[arg(long, conflicts_with = "from_key")]
    pub prefix: bool,
    /// All keys from KEY on.
    #[arg(long)]
    pub from_key: bool,
}

impl Keys {
    /// As etcd's key and range end.
    pub(crate) fn range(&self) -> Result<(Bytes, Bytes), Error> {
        let open = Bytes::from_static(&[0]);
        // etcd knows no empty key: everything begins after one zero byte.
        let first = |key: Bytes| if key.is_empty() { open.clone() } else { key };
        let key = self.key.clone().map(Bytes::from);
        match (key, &self.range_end) {
            (key, _) if self.prefix => Ok(match KeyRange::prefix(key.unwrap_or_default()) {
                KeyRange::Interval { start, end } => (start, end),
                KeyRange::Key(start) | KeyRange::From(start) => (first(start), open.clone()),
            }),
            (key, _) if self.from_key => Ok((first(key.unwrap_or_default()), open.clone())),
            (Some(key), Some(end)) => Ok((key, end.clone().into())),
            (Some(key), None) => Ok((key, Bytes::new())),
            (None, _) => Err(Error::Usage("name a key, or --prefix for all of them".to_owned())),
        }
    }
}

fn moment(text: &str) -> Result<Moment, Error> {
    time::parse(text, now_unix_ms()).map_err(Error::Usage)
}

fn sent(moment: Moment) -> Option<pb::Moment> {
    use pb::moment::Moment as Sent;
    match moment {
        Moment::Revision(0) => None,
        Moment::Revision(revision) => Some(pb::Moment { moment: Some(Sent::Revision(revision)) }),
        Moment::UnixMs(time) => Some(pb::Moment { moment: Some(Sent::UnixMs(time)) }),
    }
}

/// Runs a command and prints to `out`.
pub async fn run(command: Command, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    match command {
        Command::Diff { connection, keys, from, to } => {
            diff(connection.connect().await?, &keys, &from, &to, out).await
        }
        Command::Undelete { connection, keys, at, force } => {
            let (key, range_end) = keys.range()?;
            let at =
                at.as_deref().map(moment).transpose()?.map(|at| {
                    sent(at).unwrap_or(pb::Moment { moment: Some(pb::moment::Moment::Revision(0)) })
                });
            let mut client = HistoryClient::new(connection.connect_to_wait().await?);
            let done = client.undelete(pb::UndeleteRequest { key, range_end, at, force }).await?.into_inner();
            let pb::UndeleteResponse { keys, transactions, revision } = done;
            writeln!(out, "{keys} keys brought back in {transactions} transactions, revision {revision}")?;
            Ok(())
        }
    }
}

/// The revision at a moment that somebody has written down.
pub(crate) async fn revision_at(member: Line, at: &str) -> Result<i64, Error> {
    match moment(at)? {
        Moment::Revision(revision) => Ok(revision),
        Moment::UnixMs(unix_ms) => {
            let mut history = HistoryClient::new(member);
            Ok(history.revision_at(pb::RevisionAtRequest { unix_ms }).await?.into_inner().revision)
        }
    }
}

async fn diff(
    member: Line,
    keys: &Keys,
    from: &str,
    to: &str,
    out: &mut (dyn Write + Send),
) -> Result<(), Error> {
    let (key, range_end) = keys.range()?;
    let request = pb::DiffRequest { key, range_end, from: sent(moment(from)?), to: sent(moment(to)?) };
    let mut client = HistoryClient::new(member).max_decoding_message_size(4 * RECORD_BYTES_MAX);
    let mut stream = client.diff(request).await?.into_inner();
    while let Some(piece) = stream.message().await? {
        for pb::Difference { before, after } in piece.differences {
            let mark = match (&before, &after) {
                (None, _) => "+ ",
                (Some(_), None) => "- ",
                (Some(_), Some(_)) => "~ ",
            };
            if let Some(either) = before.as_ref().or(after.as_ref()) {
                line(out, mark, &either.key)?;
            }
            for (mark, side) in [("  < ", &before), ("  > ", &after)] {
                if let Some(side) = side {
                    line(out, mark, &side.value)?;
                }
            }
        }
    }
    Ok(())
}

/// Bytes as they are, as etcdctl prints them.
fn line(out: &mut (dyn Write + Send), mark: &str, bytes: &[u8]) -> std::io::Result<()> {
    out.write_all(mark.as_bytes())?;
    out.write_all(bytes)?;
    out.write_all(b"\n")
}
