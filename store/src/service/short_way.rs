//! The way to the service that most calls are for, past the router.
//!
//! A router holds services of many types in boxes, and copies and opens several of them for each call; and each layer and service has the
//! bodies of requests and answers in a box of its own. For a put that is a twentieth of all it costs. Calls of etcd's KV are told
//! by their path, and go to the service as it is.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::TryFutureExt;
use futures::future::{BoxFuture, Either, MapOk};
use http::{Request, Response};
use proto::etcd::etcdserverpb::kv_server::{KvServer, SERVICE_NAME};
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
}

type Answer<B> = Result<Response<B>, Infallible>;
type ShortAnswer =
    MapOk<BoxFuture<'static, Answer<Counted<Body>>>, fn(Response<Counted<Body>>) -> Response<Body>>;

impl Service<Request<Body>> for Ways {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<ShortAnswer, <Routes as Service<Request<Body>>>::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The service for keys is always ready.
        Service::<Request<Body>>::poll_ready(&mut self.routes, context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match &mut self.keys {
            Some(keys) if is_for_keys(request.uri().path()) => {
                Either::Left(keys.call(request).map_ok(|answer| answer.map(Body::new)))
            }
            _ => Either::Right(self.routes.call(request)),
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
