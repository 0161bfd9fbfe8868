//! Listens on UDP and TCP and answers.

use std::{net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use client::Informers;
use hickory_server::{
    Server as Listener,
    net::runtime::Time,
    proto::{
        op::{Header, HeaderCounts, Metadata, OpCode, ResponseCode},
        rr::{Name, Record, RecordType},
    },
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::MessageResponseBuilder,
};
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::{
    forward::Forwarder,
    limits::{TCP_IDLE, TCP_RESPONSES_MAX},
    source::Cached,
    zone::{Answer, Source, Zone},
};

/// How the server behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Addresses to answer on, usually the cluster DNS address of this node, port 53.
    pub listen: Vec<SocketAddr>,
    /// The cluster's domain, such as `cluster.local`.
    pub domain: String,
    /// Text of the node's `resolv.conf`, whose servers are asked for other names.
    pub resolv_conf: String,
}

/// Why the server could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The domain is no DNS name.
    #[error("cluster domain {domain:?} is no DNS name: {why}")]
    Domain {
        /// What was given.
        domain: String,
        /// What is wrong with it.
        why: String,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address} for DNS")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// A bound DNS server.
pub struct Server {
    listener: Listener<Handler>,
    source: Arc<Cached>,
    /// Where it listens; useful when port 0 was asked for.
    pub addresses: Vec<SocketAddr>,
}

impl Server {
    /// Binds the addresses. Queries wait in the sockets until [`Server::run`].
    pub async fn bind(options: Options, informers: &Informers) -> Result<Self, Error> {
        let domain = Name::from_utf8(format!("{}.", options.domain.trim_end_matches('.')))
            .map_err(|why| Error::Domain { domain: options.domain.clone(), why: why.to_string() })?;
        let source = Arc::new(Cached::new(informers));
        let own: Vec<_> = options.listen.iter().map(SocketAddr::ip).collect();
        let mut listener = Listener::new(Handler {
            zone: Zone { domain: domain.to_lowercase() },
            source: source.clone(),
            forwarder: Forwarder::new(&options.resolv_conf, &own),
        });
        let mut addresses = Vec::new();
        for address in options.listen {
            let failed = |source| Error::Listen { address, source };
            let udp = UdpSocket::bind(address).await.map_err(failed)?;
            let bound = udp.local_addr().map_err(failed)?;
            let tcp = TcpListener::bind(bound).await.map_err(failed)?;
            listener.register_socket(udp);
            listener.register_listener(tcp, TCP_IDLE, TCP_RESPONSES_MAX);
            addresses.push(bound);
        }
        Ok(Self { listener, source, addresses })
    }

    /// Answers until shutdown. What the informers do not know yet is answered as not existing, so callers wait
    /// for `wait_synced` before they tell pods about the server.
    pub async fn run(mut self, shutdown: CancellationToken) {
        info!(addresses = ?self.addresses, "cluster DNS answers");
        shutdown.cancelled().await;
        if let Err(why) = self.listener.shutdown_gracefully().await {
            debug!(error = %why, "cluster DNS did not stop cleanly");
        }
    }

    /// Waits until services, endpoints and namespaces are known.
    pub async fn wait_synced(&self) {
        self.source.wait_synced().await;
    }
}

struct Handler {
    zone: Zone,
    source: Arc<Cached>,
    forwarder: Forwarder,
}

struct Reply {
    code: ResponseCode,
    authoritative: bool,
    answers: Vec<Record>,
    authorities: Vec<Record>,
    additionals: Vec<Record>,
}

impl Reply {
    fn error(code: ResponseCode) -> Self {
        Self { code, authoritative: false, answers: vec![], authorities: vec![], additionals: vec![] }
    }
}

impl Handler {
    async fn reply(&self, name: &Name, kind: RecordType) -> Reply {
        match self.zone.answer(self.source.as_ref() as &dyn Source, name, kind) {
            Some(answer) => self.inside(answer, kind).await,
            None => match self.forwarder.lookup(name, kind).await {
                Ok(answers) => Reply { answers, ..Reply::error(ResponseCode::NoError) },
                Err(code) => Reply::error(code),
            },
        }
    }

    async fn inside(&self, answer: Answer, kind: RecordType) -> Reply {
        let mut answers = answer.answers;
        if let Some(target) = answer.resolve {
            let next = match self.zone.answer(self.source.as_ref() as &dyn Source, &target, kind) {
                Some(inside) => Ok(inside.answers),
                None => self.forwarder.lookup(&target, kind).await,
            };
            // The alias itself is a valid answer; the client may know how to go on.
            answers.extend(next.unwrap_or_default());
        }
        let code = if answer.exists { ResponseCode::NoError } else { ResponseCode::NXDomain };
        let authorities = if answers.is_empty() { vec![self.zone.soa()] } else { Vec::new() };
        Reply { code, authoritative: true, answers, authorities, additionals: answer.additionals }
    }
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut handle: R,
    ) -> ResponseInfo {
        let reply = match request.request_info() {
            Ok(info) if info.metadata.op_code == OpCode::Query => {
                self.reply(&Name::from(info.query.name()), info.query.query_type()).await
            }
            Ok(_) => Reply::error(ResponseCode::NotImp),
            Err(_) => Reply::error(ResponseCode::FormErr),
        };
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = reply.code;
        metadata.authoritative = reply.authoritative;
        metadata.recursion_available = true;
        let response = MessageResponseBuilder::from_message_request(request).build(
            metadata,
            &reply.answers,
            &reply.authorities,
            std::iter::empty(),
            &reply.additionals,
        );
        match handle.send_response(response).await {
            Ok(info) => info,
            Err(why) => {
                debug!(error = %why, "DNS answer was not delivered");
                let mut failed = Metadata::response_from_request(&request.metadata);
                failed.response_code = ResponseCode::ServFail;
                ResponseInfo::from(Header { metadata: failed, counts: HeaderCounts::default() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use client::fake;
    use hickory_server::{
        net::runtime::TokioRuntimeProvider,
        resolver::{
            Resolver,
            config::{NameServerConfig, ResolverConfig},
        },
    };
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_service_created_while_running_is_found_over_the_wire() {
        let objects = Arc::new(fake::Objects::new());
        let shutdown = CancellationToken::new();
        let informers = Informers::new(objects.clone(), shutdown.clone());
        let options = Options {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            domain: "cluster.local".into(),
            resolv_conf: String::new(),
        };
        let server = Server::bind(options, &informers).await.unwrap();
        server.wait_synced().await;
        let address = server.addresses[0];
        let running = tokio::spawn(server.run(shutdown.clone()));

        let client = client::Client::new(objects);
        let service = serde_json::from_value(json!({"metadata": {"namespace": "default", "name": "web"},
            "spec": {"clusterIP": "10.96.0.9", "ports": [{"port": 80}]}}));
        client.create::<k8s_openapi::api::core::v1::Service>(&service.unwrap()).await.unwrap();

        let mut name_server = NameServerConfig::udp(address.ip());
        name_server.connections.iter_mut().for_each(|connection| connection.port = address.port());
        let config = ResolverConfig::from_parts(None, vec![], vec![name_server]);
        let name = Name::from_ascii("web.default.svc.cluster.local.").unwrap();
        let found = tokio::time::timeout(Duration::from_secs(20), async {
            loop {
                // A fresh resolver each time: negative answers are cached.
                let resolver = Resolver::builder_with_config(config.clone(), TokioRuntimeProvider::default())
                    .build()
                    .unwrap();
                if let Ok(found) = resolver.lookup(name.clone(), RecordType::A).await {
                    return found.answers()[0].data.to_string();
                }
                tokio::task::yield_now().await;
            }
        });
        assert_eq!(found.await.unwrap(), "10.96.0.9");
        shutdown.cancel();
        running.await.unwrap();
    }
}
