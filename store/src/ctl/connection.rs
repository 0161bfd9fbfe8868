//! How a member is reached, and as whom.

use std::path::PathBuf;
use std::time::Duration;

use proto::etcd::etcdserverpb::{AuthenticateRequest, auth_client::AuthClient};
use store_client::Denial;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use super::{Error, prompt};
use crate::cli::duration;

/// Where the store is; as etcdctl's flags.
#[derive(Clone, Debug, clap::Args)]
pub struct Connection {
    /// Members' addresses for clients, separated by commas.
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
    /// Whether endpoints without http:// or https:// are reached without TLS. [default: unless there is --cacert]
    #[arg(
        long,
        env = "ETCDCTL_INSECURE_TRANSPORT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_short_help = true
    )]
    pub insecure_transport: Option<bool>,
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
    /// How long a connection may take.
    #[arg(
        long,
        env = "ETCDCTL_DIAL_TIMEOUT",
        default_value = "2s",
        value_parser = duration::parse,
        hide_short_help = true
    )]
    pub dial_timeout: Duration,
    /// How long an answer may take that does not have to be waited for.
    #[arg(
        long,
        env = "ETCDCTL_COMMAND_TIMEOUT",
        default_value = "5s",
        value_parser = duration::parse,
        hide_short_help = true
    )]
    pub command_timeout: Duration,
    /// Silence after which the member is asked for a sign of life.
    #[arg(
        long,
        env = "ETCDCTL_KEEPALIVE_TIME",
        default_value = "2s",
        value_parser = duration::parse,
        hide_short_help = true
    )]
    pub keepalive_time: Duration,
    /// How long it may take to give it.
    #[arg(
        long,
        env = "ETCDCTL_KEEPALIVE_TIMEOUT",
        default_value = "6s",
        value_parser = duration::parse,
        hide_short_help = true
    )]
    pub keepalive_timeout: Duration,
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
    /// Connects to the first member that answers, and logs in if there is a user. Answers must begin within
    /// --command-timeout.
    pub async fn connect(&self) -> Result<Line, Error> {
        self.line(Some(self.command_timeout)).await
    }

    /// Connects for calls whose answers take as long as they take: locks, elections.
    pub async fn connect_to_wait(&self) -> Result<Line, Error> {
        self.line(None).await
    }

    /// A connection for each endpoint alone.
    pub fn each(&self) -> impl Iterator<Item = Self> + '_ {
        self.names().map(|endpoint| Self { endpoints: endpoint.to_owned(), ..self.clone() })
    }

    async fn line(&self, timeout: Option<Duration>) -> Result<Line, Error> {
        let channel = self.channel(timeout).await?;
        let token = match self.name_and_password()? {
            Some((name, password)) => log_in(channel.clone(), name, password).await?,
            None => None,
        };
        Ok(InterceptedService::new(channel, Introduction(token)))
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.endpoints.split(',').map(str::trim).filter(|endpoint| !endpoint.is_empty())
    }

    fn name_and_password(&self) -> Result<Option<(String, String)>, Error> {
        let Some(user) = &self.login else { return Ok(None) };
        Ok(Some(match (&self.login_password, user.split_once(':')) {
            (Some(password), _) => (user.clone(), password.clone()),
            (None, Some((name, password))) => (name.to_owned(), password.to_owned()),
            (None, None) => (user.clone(), prompt::secret("Password: ")?),
        }))
    }

    /// The same without logging in.
    pub(super) async fn channel(&self, timeout: Option<Duration>) -> Result<Channel, Error> {
        let mut failed = None;
        for name in self.names() {
            let mut endpoint = self.endpoint(name)?;
            if let Some(timeout) = timeout {
                endpoint = endpoint.timeout(timeout);
            }
            match endpoint.connect().await {
                Ok(channel) => return Ok(channel),
                Err(source) => failed = Some(Error::Connect { endpoint: name.to_owned(), source }),
            }
        }
        Err(failed.unwrap_or_else(|| Error::Usage("--endpoints names no member".to_owned())))
    }

    fn endpoint(&self, endpoint: &str) -> Result<Endpoint, Error> {
        let plain = self.insecure_transport.unwrap_or(self.cacert.is_none());
        let url = match (endpoint.contains("://"), plain) {
            (true, _) => endpoint.to_owned(),
            (false, true) => format!("http://{endpoint}"),
            (false, false) => format!("https://{endpoint}"),
        };
        let refused = |source| Error::Connect { endpoint: url.clone(), source };
        let built = Endpoint::from_shared(url.clone())
            .map_err(refused)?
            .connect_timeout(self.dial_timeout)
            .http2_keep_alive_interval(self.keepalive_time)
            .keep_alive_timeout(self.keepalive_timeout);
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
                token.map_err(|_| Error::Failed("the member gave a token that cannot be sent".to_owned()))?,
            ))
        }
        Err(status) if Denial::of_status(status.message()) == Some(Denial::NotEnabled) => Ok(None),
        Err(status) => Err(status.into()),
    }
}
