//! `kontiki.objects.v1`: the verbs for plugins, on the same port, with the same identities and rules as REST.
//!
//! Every call is authorized by itself; a batch is authorized write by write, and each watch of a multiplexed stream
//! when it starts. Failures carry the Kubernetes `Status` as JSON in the binary metadata `kontiki-status-bin`.

mod convert;
mod read;
mod service;
mod watch;
mod write;

use std::{sync::Arc, time::Instant};

use api::Status;
use http::Request;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use proto::objects::objects_server::ObjectsServer;
use tower::ServiceExt;

use crate::{
    audit,
    authn::{Identity, unauthorized},
    gateway::Gateway,
    inflight::Slot,
    limits,
    query::Query,
    reply::{BoxError, Response},
    request::Attributes,
};

/// Answers one gRPC request of an authenticated sender.
pub async fn serve(gateway: &Arc<Gateway>, who: Identity, request: Request<Incoming>) -> Response {
    if who.is_anonymous() {
        let (parts, body) = convert::failure(&unauthorized()).into_http::<tonic::body::Body>().into_parts();
        return Response::from_parts(parts, body.map_err(BoxError::from).boxed_unsync());
    }
    let service = ObjectsServer::new(service::Objects { call: Call { gateway: gateway.clone(), who } })
        .max_decoding_message_size(limits::GRPC_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(limits::GRPC_MESSAGE_BYTES_MAX);
    match service.oneshot(request).await {
        Ok(response) => response.map(|body| body.map_err(BoxError::from).boxed_unsync()),
        Err(never) => match never {},
    }
}

/// What every call needs: the server, and who calls.
#[derive(Clone)]
pub(crate) struct Call {
    gateway: Arc<Gateway>,
    who: Identity,
}

impl Call {
    /// Authorizes an action and takes a place for it.
    fn admit(&self, what: &Attributes) -> Result<Option<Slot>, Status> {
        self.gateway.authorizer.require(&self.who, what)?;
        self.gateway.inflight.enter(&self.who, what.is_read_only())
    }

    /// Performs a short action that was admitted, within the time limit, and counts and records its outcome.
    async fn perform<T>(
        &self,
        what: &Attributes,
        action: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let started = Instant::now();
        let outcome = match self.admit(what) {
            Err(status) => Err(status),
            Ok(_slot) => match tokio::time::timeout(limits::REQUEST_TIMEOUT, action).await {
                Ok(outcome) => outcome,
                Err(_) => Err(Status::timeout("request did not complete within the allotted timeout")),
            },
        };
        let code = outcome.as_ref().err().map_or(200, |status| status.code);
        self.gateway.metrics.request(&self.gateway.registry, what, code, started.elapsed());
        audit::record(&self.who, what, &Query::default(), None, code, started.elapsed());
        outcome
    }
}
