//! How a member is reached, and as whom.

use std::path::PathBuf;
use std::time::Duration;

use prost::Message;
use proto::etcd::etcdserverpb::kv_client::KvClient;
use proto::etcd::etcdserverpb::lease_client::LeaseClient;
use proto::etcd::etcdserverpb::watch_client::WatchClient;
use proto::etcd::etcdserverpb::{AuthenticateRequest, auth_client::AuthClient};
use store_client::Denial;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use super::{Error, discovery, prompt, unverified};
use crate::cli::duration;
use crate::limits::RANGE_BYTES_MAX;

/// Where the store is; as etcdctl's flags.
#[derive(Clone, Debug, clap::Args)]
pub struct Connection {
    /// Members' addresses for clients, separated by commas.
    #[arg(long, env = "ETCDCTL_ENDPOINTS", default_value = "http://127.0.0.1:2379")]
    pub endpoints: String,
    /// Domain whose SRV records name the members, in the place of --endpoints.
    #[arg(long, value_name = "DOMAIN", env = "ETCDCTL_DISCOVERY_SRV", hide_short_help = true)]
    pub discovery_srv: Option<String>,
    /// Which of several clusters of --discovery-srv: what follows `etcd-client-` in the name of its service.
    #[arg(
        long,
        value_name = "NAME",
        env = "ETCDCTL_DISCOVERY_SRV_NAME",
        requires = "discovery_srv",
        hide_short_help = true
    )]
    pub discovery_srv_name: Option<String>,
    /// Whether --discovery-srv may name members that are reached without TLS.
    #[arg(
        long,
        env = "ETCDCTL_INSECURE_DISCOVERY",
        num_args = 0..=1,
        require_equals = true,
        default_value = "true",
        default_missing_value = "true",
        action = clap::ArgAction::Set,
        hide_short_help = true
    )]
    pub insecure_discovery: bool,
    /// Whose certificate members show, where that is known already.
    #[arg(skip)]
    pub shown_by: Option<String>,
    /// Authority of the members' certificates (PEM file).
    #[arg(long, env = "ETCDCTL_CACERT")]
    pub cacert: Option<PathBuf>,
    /// This client's certificate (PEM file).
    #[arg(long, env = "ETCDCTL_CERT", requires = "key_file")]
    pub cert: Option<PathBuf>,
    /// Key of --cert (PEM file).
    #[arg(long = "key", id = "key_file", env = "ETCDCTL_KEY")]
    pub key_file: Option<PathBuf>,
    /// Whether endpoints without http:// or https:// are reached without TLS. [default: unless there is --cacert or
    /// --insecure-skip-tls-verify]
    #[arg(
        long,
        env = "ETCDCTL_INSECURE_TRANSPORT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_short_help = true
    )]
    pub insecure_transport: Option<bool>,
    /// Believe whoever answers, whatever its certificate says: only to find out what is wrong with it.
    #[arg(long, env = "ETCDCTL_INSECURE_SKIP_TLS_VERIFY", hide_short_help = true)]
    pub insecure_skip_tls_verify: bool,
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
    /// Largest request that is sent, in bytes; 0 leaves that to the members.
    #[arg(long, env = "ETCDCTL_MAX_REQUEST_BYTES", default_value_t = 0, hide_short_help = true)]
    pub max_request_bytes: usize,
    /// Largest answer that is taken, in bytes; 0 leaves that to the members.
    #[arg(long, env = "ETCDCTL_MAX_RECV_BYTES", default_value_t = 0, hide_short_help = true)]
    pub max_recv_bytes: usize,
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

    /// Asks for keys on a line.
    pub fn keys(&self, line: Line) -> KvClient<Line> {
        KvClient::new(line).max_decoding_message_size(self.answer_bytes_max())
    }

    /// Asks for changes of keys on a line.
    pub fn changes(&self, line: Line) -> WatchClient<Line> {
        WatchClient::new(line).max_decoding_message_size(self.answer_bytes_max())
    }

    /// Asks for leases on a line.
    pub fn leases(&self, line: Line) -> LeaseClient<Line> {
        LeaseClient::new(line).max_decoding_message_size(self.answer_bytes_max())
    }

    fn answer_bytes_max(&self) -> usize {
        if self.max_recv_bytes == 0 { 2 * RANGE_BYTES_MAX } else { self.max_recv_bytes }
    }

    /// A request, unless it is larger than --max-request-bytes. Asked before it is sent: a limit of the transport ends the stream, and
    /// the caller learns no more than that.
    pub fn sendable<M: Message>(&self, request: M) -> Result<M, Error> {
        let (bytes, max) = (request.encoded_len(), self.max_request_bytes);
        if max != 0 && bytes > max {
            let words = format!("trying to send message larger than max ({bytes} vs. {max})");
            return Err(Status::resource_exhausted(words).into());
        }
        Ok(request)
    }

    /// A connection for each endpoint alone.
    pub async fn each(&self) -> Result<Vec<Self>, Error> {
        Ok(self.names().await?.into_iter().map(|endpoint| self.at(endpoint)).collect())
    }

    /// The same to other endpoints of the same cluster.
    pub fn at(&self, endpoints: String) -> Self {
        Self { endpoints, discovery_srv: None, shown_by: self.shown_by(), ..self.clone() }
    }

    /// Whose certificate members show, if it is not that of their address: the domain's, where all that the DNS says has to be
    /// proved.
    fn shown_by(&self) -> Option<String> {
        let domain = self.discovery_srv.as_ref().filter(|_| !self.insecure_discovery);
        self.shown_by.as_ref().or(domain).cloned()
    }

    async fn line(&self, timeout: Option<Duration>) -> Result<Line, Error> {
        let channel = self.channel(timeout).await?;
        let token = match self.name_and_password()? {
            Some((name, password)) => log_in(channel.clone(), name, password).await?,
            None => None,
        };
        Ok(InterceptedService::new(channel, Introduction(token)))
    }

    /// The members that may be asked, in this order.
    async fn names(&self) -> Result<Vec<String>, Error> {
        if let Some(domain) = &self.discovery_srv {
            let resolver = discovery::resolver(self.dial_timeout)?;
            let found = discovery::find(&resolver, domain, self.discovery_srv_name.as_deref()).await?;
            return discovery::allowed(found, domain, self.insecure_discovery);
        }
        let names = self.endpoints.split(',').map(str::trim).filter(|endpoint| !endpoint.is_empty());
        Ok(names.map(ToOwned::to_owned).collect())
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
        for name in self.names().await? {
            let (mut endpoint, tls) = self.endpoint(&name)?;
            if let Some(timeout) = timeout {
                endpoint = endpoint.timeout(timeout);
            }
            let connected = match tls {
                None => endpoint.connect().await,
                Some(tls) => endpoint.connect_with_connector(unverified::connector(tls)).await,
            };
            match connected {
                Ok(channel) => return Ok(channel),
                Err(source) => failed = Some(Error::Connect { endpoint: name, source }),
            }
        }
        Err(failed.unwrap_or_else(|| Error::Usage("--endpoints names no member".to_owned())))
    }

    /// How a member is reached; with the configuration of TLS where the certificate does not matter.
    fn endpoint(&self, endpoint: &str) -> Result<(Endpoint, Option<rustls::ClientConfig>), Error> {
        let tls = self.cacert.is_some() || self.insecure_skip_tls_verify;
        let plain = self.insecure_transport.unwrap_or(!tls);
        let url = match (endpoint.contains("://"), plain) {
            (true, _) => endpoint.to_owned(),
            (false, true) => format!("http://{endpoint}"),
            (false, false) => format!("https://{endpoint}"),
        };
        let refused = |source| Error::Connect { endpoint: url.clone(), source };
        let dialled = match url.strip_prefix("https://") {
            // The connector does the TLS, and tonic takes no address that asks for more.
            Some(rest) if self.insecure_skip_tls_verify => format!("http://{rest}"),
            _ => url.clone(),
        };
        let built = Endpoint::from_shared(dialled)
            .map_err(refused)?
            .connect_timeout(self.dial_timeout)
            .http2_keep_alive_interval(self.keepalive_time)
            .keep_alive_timeout(self.keepalive_timeout);
        if !url.starts_with("https://") {
            return Ok((built, None));
        }
        let own = match (&self.cert, &self.key_file) {
            (Some(cert), Some(key)) => Some((std::fs::read(cert)?, std::fs::read(key)?)),
            _ => None,
        };
        if self.insecure_skip_tls_verify {
            return Ok((built, Some(unverified::config(own)?)));
        }
        let mut tls = ClientTlsConfig::new();
        if let Some(domain) = self.shown_by() {
            tls = tls.domain_name(domain);
        }
        if let Some(ca) = &self.cacert {
            tls = tls.ca_certificate(Certificate::from_pem(std::fs::read(ca)?));
        }
        if let Some((cert, key)) = own {
            tls = tls.identity(Identity::from_pem(cert, key));
        }
        Ok((built.tls_config(tls).map_err(refused)?, None))
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

#[cfg(test)]
mod tests {
    use clap::{Args, Command, FromArgMatches};

    use super::*;

    fn parsed(words: &[&str]) -> Connection {
        let command = Connection::augment_args(Command::new("kontiki").no_binary_name(true));
        Connection::from_arg_matches(&command.get_matches_from(words)).unwrap()
    }

    #[test]
    fn a_domain_that_is_not_trusted_has_to_be_shown_by_whoever_it_names() {
        let trusting = parsed(&["--discovery-srv", "example.com"]);
        let careful = parsed(&["--discovery-srv", "example.com", "--insecure-discovery=false"]);
        for (connection, expected) in [(trusting, None), (careful, Some("example.com"))] {
            let alone = connection.at("https://a.example.com:2379".to_owned());
            assert_eq!(connection.shown_by().as_deref(), expected);
            assert_eq!(alone.shown_by().as_deref(), expected);
            assert_eq!(alone.discovery_srv, None, "who is known already is not looked for");
        }
        let named = parsed(&["--endpoints", "https://example.com", "--insecure-discovery=false"]);
        assert_eq!(named.shown_by(), None);
    }
}
