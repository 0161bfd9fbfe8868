//! What every request passes, whatever it asks for and wherever it came from: admission to the server, the
//! identity of its sender, authorization, a time limit, metrics and audit (invariants C1 and C2).

use std::{net::SocketAddr, panic::AssertUnwindSafe, sync::Arc, time::Instant};

use api::Status;
use futures::FutureExt;
use http::{HeaderMap, Request, header};
use hyper::body::Incoming;
use registry::Registry;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    audit,
    authn::{Authenticator, Identity, Peer, impersonate, unauthorized},
    authz::{Authorizer, policy},
    connect::node::NodeClient,
    discovery, grpc,
    inflight::Inflight,
    limits,
    metrics::Metrics,
    options::Options,
    query::Query,
    reply::{self, Response},
    request::{self, Attributes},
    rest,
};

/// Everything a request may need, shared by all of them.
pub struct Gateway {
    /// The objects.
    pub registry: Registry,
    /// Who asks.
    pub authenticator: Authenticator,
    /// May they.
    pub authorizer: Authorizer,
    /// The way to node agents.
    pub nodes: NodeClient,
    /// Everything that runs beside the requests: connections, tunnels, watches of gRPC streams.
    pub tasks: TaskTracker,
    /// Counters.
    pub metrics: Metrics,
    /// Documents of the OpenAPI endpoints, made once per catalog.
    pub documents: discovery::openapi::Documents,
    /// How many sources of access rules are complete.
    pub rules_filled: watch::Sender<usize>,
    /// Shutdown began: watches end, connections take no new requests.
    pub closing: CancellationToken,
    /// The time to drain is over.
    pub closed: CancellationToken,
    /// Places of short requests.
    pub inflight: Inflight,
}

/// One request after authentication, as handlers see it.
pub struct Context {
    /// Everything shared.
    pub gateway: Arc<Gateway>,
    /// Who asks.
    pub who: Identity,
    /// What for.
    pub what: Attributes,
    /// The query, decoded.
    pub query: Query,
    /// The headers.
    pub headers: HeaderMap,
}

impl Gateway {
    /// Puts the parts together.
    pub fn new(
        registry: Registry,
        authenticator: Authenticator,
        authorizer: Authorizer,
        node_tls: Option<Arc<rustls::ClientConfig>>,
        options: &Options,
    ) -> Self {
        let tasks = TaskTracker::new();
        Self {
            registry,
            authenticator,
            authorizer,
            nodes: NodeClient::new(node_tls, tasks.clone()),
            tasks,
            metrics: Metrics::new(),
            documents: discovery::openapi::Documents::default(),
            rules_filled: watch::Sender::new(0),
            closing: CancellationToken::new(),
            closed: CancellationToken::new(),
            inflight: Inflight::new(options.reads_max, options.writes_max),
        }
    }

    /// Waits until the registry answers and the access rules are known.
    pub async fn ready(&self) -> Result<(), Status> {
        self.registry.ready().await?;
        let filled = self.rules_filled.subscribe().wait_for(|n| *n >= policy::FILLED).await.map(|_| ());
        filled.map_err(|_| Status::unavailable("the server stops"))
    }

    /// Whether [`Gateway::ready`] would return at once, as far as the access rules go.
    pub fn rules_known(&self) -> bool {
        *self.rules_filled.borrow() >= policy::FILLED
    }

    /// Answers one request. Never fails: every failure is an answer, a panic included.
    pub async fn handle(
        self: &Arc<Self>,
        peer: &Peer,
        remote: Option<SocketAddr>,
        request: Request<Incoming>,
    ) -> Response {
        let work = AssertUnwindSafe(self.answer(peer, remote, request)).catch_unwind();
        match work.await {
            Ok(response) => response,
            Err(_) => {
                tracing::error!("a request handler panicked");
                self.metrics.panics.inc();
                reply::status(&Status::internal("the server had an unexpected failure"))
            }
        }
    }

    async fn answer(
        self: &Arc<Self>,
        peer: &Peer,
        remote: Option<SocketAddr>,
        request: Request<Incoming>,
    ) -> Response {
        let who = match self.identify(peer, request.headers()) {
            Ok(who) => who,
            Err(status) => return reply::status(&status),
        };
        if is_grpc(request.headers()) {
            return grpc::serve(self, who, request).await;
        }
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let what = match request::parse(request.method(), request.uri().path(), &query) {
            Ok(what) => what,
            Err(_) => return reply::status(&Status::no_such_resource()),
        };
        let started = Instant::now();
        let context = Context { gateway: self.clone(), who, what, query, headers: request.headers().clone() };
        let response = self.guarded(&context, request).await.unwrap_or_else(|status| reply::status(&status));
        self.metrics.request(&self.registry, &context.what, response.status().as_u16(), started.elapsed());
        audit::record(
            &context.who,
            &context.what,
            &context.query,
            remote,
            response.status().as_u16(),
            started.elapsed(),
        );
        response
    }

    fn identify(&self, peer: &Peer, headers: &HeaderMap) -> Result<Identity, Status> {
        let sender = self.authenticator.authenticate(peer, headers)?;
        if sender.is_anonymous() { Ok(sender) } else { impersonate::apply(&self.authorizer, sender, headers) }
    }

    async fn guarded(&self, context: &Context, request: Request<Incoming>) -> Result<Response, Status> {
        let what = &context.what;
        if discovery::health::is_open(what) {
            return Box::pin(discovery::serve(context)).await;
        }
        if context.who.is_anonymous() {
            return Err(unauthorized());
        }
        let long = what.is_long_running();
        let _slot = if long { None } else { self.inflight.enter(&context.who, what.is_read_only())? };
        self.authorizer.require(&context.who, what)?;
        let work = async {
            if what.is_resource() {
                Box::pin(rest::dispatch(context, request)).await
            } else {
                Box::pin(discovery::serve(context)).await
            }
        };
        if long {
            return work.await;
        }
        match tokio::time::timeout(limits::REQUEST_TIMEOUT, work).await {
            Ok(answer) => answer,
            Err(_) => Err(Status::timeout("request did not complete within the allotted timeout")),
        }
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"application/grpc"))
}
