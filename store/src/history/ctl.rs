//! `kv diff` and `kv undelete`; how a member is reached, and keys are named.

use std::io::Write;
use std::path::PathBuf;

use bytes::Bytes;
use proto::etcd::etcdserverpb::{AuthenticateRequest, auth_client::AuthClient};
use proto::store as pb;
use proto::store::history_client::HistoryClient;
use store_client::{Denial, KeyRange};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use super::clock::now_unix_ms;
use super::time::{self, Moment};
use crate::ctl::prompt;
use crate::limits::{JOIN_TIMEOUT, RECORD_BYTES_MAX};

/// Why a command failed, in words for people.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
    /// No member could be reached.
    #[error("cannot reach {endpoint}")]
    Connect {
        /// Where.
        endpoint: String,
        /// Why not.
        #[source]
        source: tonic::transport::Error,
    },
    /// The member refused.
    #[error("{}", .0.message())]
    Refused(#[from] tonic::Status),
    /// Output or a file failed.
    #[error("{0}")]
    File(#[from] std::io::Error),
    /// A backup failed.
    #[error(transparent)]
    Backup(#[from] crate::backup::Error),
}

/// Where the store is; as etcdctl's flags.
#[derive(Clone, Debug, clap::Args)]
pub struct Connection {
    /// A member's address for clients.
    #[arg(long, env = "ETCDCTL_ENDPOINTS", default_value = "http://127.0.0.1:2379")]
    pub endpoints: String,
    /// Authority of the members' certificates (PEM file).
    #[arg(long, env = "ETCDCTL_CACERT")]
    pub cacert: Option<PathBuf>,
    /// This client's certificate (PEM file).
    #[arg(long, env = "ETCDCTL_CERT", requires = "key_file")]
    pub cert: Option<PathBuf>,
    /// Key of --cert (PEM file).
    #[arg(long = "key", id = "key_file", env = "ETCDCTL_KEY")]
    pub key_file: Option<PathBuf>,
    /// Who asks, as NAME or NAME:PASSWORD; without the password it is asked for.
    #[arg(long = "user", id = "login", env = "ETCDCTL_USER", hide_env_values = true)]
    pub login: Option<String>,
    /// Password of --user; then a colon in --user is part of the name.
    #[arg(
        long = "password",
        id = "login_password",
        env = "ETCDCTL_PASSWORD",
        requires = "login",
        hide_env_values = true
    )]
    pub login_password: Option<String>,
}

/// A connection on which a user, or nobody, asks.
pub type Line = InterceptedService<Channel, Introduction>;

/// Says with every request who asks.
#[derive(Clone, Debug, Default)]
pub struct Introduction(Option<MetadataValue<Ascii>>);

impl Interceptor for Introduction {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("token", token.clone());
        }
        Ok(request)
    }
}

impl Connection {
    /// Connects to the first member that answers, and logs in if there is a user.
    pub async fn connect(&self) -> Result<Line, Error> {
        let channel = self.channel().await?;
        let token = match self.name_and_password()? {
            Some((name, password)) => log_in(channel.clone(), name, password).await?,
            None => None,
        };
        Ok(InterceptedService::new(channel, Introduction(token)))
    }

    fn name_and_password(&self) -> Result<Option<(String, String)>, Error> {
        let Some(user) = &self.login else { return Ok(None) };
        Ok(Some(match (&self.login_password, user.split_once(':')) {
            (Some(password), _) => (user.clone(), password.clone()),
            (None, Some((name, password))) => (name.to_owned(), password.to_owned()),
            (None, None) => (user.clone(), prompt::secret("Password: ")?),
        }))
    }

    async fn channel(&self) -> Result<Channel, Error> {
        let mut failed = None;
        for endpoint in self.endpoints.split(',').map(str::trim).filter(|endpoint| !endpoint.is_empty()) {
            match self.endpoint(endpoint)?.connect().await {
                Ok(channel) => return Ok(channel),
                Err(source) => failed = Some(Error::Connect { endpoint: endpoint.to_owned(), source }),
            }
        }
        Err(failed.unwrap_or_else(|| Error::Usage("--endpoints names no member".to_owned())))
    }

    fn endpoint(&self, endpoint: &str) -> Result<Endpoint, Error> {
        let url = match (endpoint.contains("://"), &self.cacert) {
            (true, _) => endpoint.to_owned(),
            (false, None) => format!("http://{endpoint}"),
            (false, Some(_)) => format!("https://{endpoint}"),
        };
        let refused = |source| Error::Connect { endpoint: url.clone(), source };
        let built = Endpoint::from_shared(url.clone()).map_err(refused)?.connect_timeout(JOIN_TIMEOUT);
        if !url.starts_with("https://") {
            return Ok(built);
        }
        let mut tls = ClientTlsConfig::new();
        if let Some(ca) = &self.cacert {
            tls = tls.ca_certificate(Certificate::from_pem(std::fs::read(ca)?));
        }
        if let (Some(cert), Some(key)) = (&self.cert, &self.key_file) {
            tls = tls.identity(Identity::from_pem(std::fs::read(cert)?, std::fs::read(key)?));
        }
        built.tls_config(tls).map_err(|source| Error::Connect { endpoint: url.clone(), source })
    }
}

/// A token; none is needed while auth is off.
async fn log_in(
    channel: Channel,
    name: String,
    password: String,
) -> Result<Option<MetadataValue<Ascii>>, Error> {
    let answer = AuthClient::new(channel).authenticate(AuthenticateRequest { name, password }).await;
    match answer {
        Ok(answer) => {
            let token = MetadataValue::try_from(answer.into_inner().token);
            Ok(Some(
                token.map_err(|_| Error::Usage("the member gave a token that cannot be sent".to_owned()))?,
            ))
        }
        Err(status) if Denial::of_status(status.message()) == Some(Denial::NotEnabled) => Ok(None),
        Err(status) => Err(status.into()),
    }
}

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
            let mut client = HistoryClient::new(connection.connect().await?);
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
