//! The way to the service that most calls are for, past the router.
//!
//! A router holds services of many types in boxes, and copies and opens several of them for each call; and each layer and service has the
//! bodies of requests and answers in a box of its own. For a put that is a twentieth of all it costs. Calls of etcd's KV are told
//! by their path, and go to the service as it is.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use proto::etcd::etcdserverpb::kv_server::{KvServer, SERVICE_NAME};
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service;

use super::Api;
use super::observe::{Counted, Observed};

/// Routes, and the short way past them.
#[derive(Clone)]
pub struct Ways {
    routes: Routes,
    keys: Option<Observed<KvServer<Api>>>,
}

impl Ways {
    /// Without a short way.
    pub fn new(routes: Routes) -> Self {
        Self { routes: routes.prepare(), keys: None }
    }

    /// With the service for keys, observed as it is on the routes.
    pub(super) fn with_keys(self, keys: Observed<KvServer<Api>>) -> Self {
        Self { keys: Some(keys), ..self }
    }

    /// Answers a request. All that is behind a way is ready at any time: queues, and limits to them, come later.
    pub fn call<B>(&self, request: Request<B>) -> Answering
    where
        B: http_body::Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    {
        match &self.keys {
            Some(keys) if is_for_keys(request.uri().path()) => Answering::Short(keys.clone().call(request)),
            _ => Answering::Routed(Box::pin(self.routes.clone().call(request))),
        }
    }
}

/// An answer to come.
pub enum Answering {
    Short(BoxFuture<'static, Result<Response<Counted<Body>>, Infallible>>),
    Routed(BoxFuture<'static, Result<Response<Body>, Infallible>>),
}

impl Future for Answering {
    type Output = Result<Response<Answered>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Short(answer) => {
                answer.as_mut().poll(context).map_ok(|answer| answer.map(Answered::Counted))
            }
            Self::Routed(answer) => {
                answer.as_mut().poll(context).map_ok(|answer| answer.map(Answered::Other))
            }
        }
    }
}

/// The body of an answer.
pub enum Answered {
    Counted(Counted<Body>),
    Other(Body),
}

impl From<Body> for Answered {
    fn from(body: Body) -> Self {
        Self::Other(body)
    }
}

impl http_body::Body for Answered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.get_mut() {
            Self::Counted(body) => Pin::new(body).poll_frame(context),
            Self::Other(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Counted(body) => body.is_end_stream(),
            Self::Other(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Counted(body) => body.size_hint(),
            Self::Other(body) => body.size_hint(),
        }
    }
}

fn is_for_keys(path: &str) -> bool {
    path.strip_prefix('/')
        .and_then(|path| path.strip_prefix(SERVICE_NAME))
        .is_some_and(|method| method.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_calls_of_kv_go_the_short_way() {
        assert!(is_for_keys("/etcdserverpb.KV/Put") && is_for_keys("/etcdserverpb.KV/Unheard"));
        for other in
            ["/etcdserverpb.KV", "/etcdserverpb.KVS/Put", "etcdserverpb.KV/Put", "/v3/kv/put", "/", ""]
        {
            assert!(!is_for_keys(other), "{other}");
        }
    }
}
