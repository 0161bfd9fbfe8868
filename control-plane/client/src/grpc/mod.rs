//! The verbs over gRPC (`kontiki.objects.v1`).
//!
//! Knows endpoints, failover and how statuses travel; must not know what the objects mean. One connection per
//! API server is kept open lazily; calls stick to one server until it fails, then move to the next. Reads are
//! tried once on every server; a write is tried elsewhere only if it was certainly never sent.

mod convert;
mod endpoints;
mod status;
mod stream;
#[cfg(test)]
mod tests;

use std::{future::Future, sync::Arc};

use api::{
    Status,
    objects::{
        List, ListOptions, Objects, PatchType, Scope, Target, WatchOptions, WatchStream, Write, WriteOptions,
    },
};
use async_trait::async_trait;
use bytes::Bytes;
use proto::objects::{self as wire, objects_client::ObjectsClient};
use tonic::transport::Channel;

use self::endpoints::Endpoints;
pub use self::endpoints::{ClientTls, ConnectError};
use crate::limits;

/// The verbs on a remote API server. Cheap to clone.
#[derive(Clone)]
pub struct Remote {
    endpoints: Arc<Endpoints>,
}

impl Remote {
    /// Talks to the API servers at these `https://host:port` addresses. Connections open on first use, so an
    /// unreachable server is not an error here.
    pub fn connect(endpoints: &[String], tls: &ClientTls) -> Result<Self, ConnectError> {
        Ok(Self { endpoints: Arc::new(Endpoints::connect(endpoints, tls)?) })
    }

    /// Talks over one channel, such as the in-memory one of a single process.
    pub fn from_channel(channel: Channel) -> Self {
        Self { endpoints: Arc::new(Endpoints::of_channel(channel)) }
    }

    /// Talks to other servers, or with a renewed certificate, from the next call on.
    pub fn replace(&self, endpoints: &[String], tls: &ClientTls) -> Result<(), ConnectError> {
        self.endpoints.replace(endpoints, tls)
    }

    async fn call<T, F, Fut>(&self, repeatable: Repeatable, call: F) -> Result<T, Status>
    where
        F: Fn(ObjectsClient<Channel>) -> Fut + Send + Sync,
        Fut: Future<Output = Result<tonic::Response<T>, tonic::Status>> + Send,
        T: Send,
    {
        let mut tries_left = self.endpoints.len().max(2);
        loop {
            tries_left -= 1;
            let (index, channel) = self.endpoints.current();
            let failure = match tokio::time::timeout(limits::CALL_TIMEOUT, call(client(channel))).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(failure)) => failure,
                Err(_) => {
                    self.endpoints.failed(index);
                    return Err(Status::timeout("the API server did not answer in time"));
                }
            };
            let verdict = status::judge(&failure);
            if verdict.move_on {
                self.endpoints.failed(index);
            }
            let again = match repeatable {
                Repeatable::Always => verdict.move_on,
                Repeatable::IfNeverSent => verdict.never_sent,
            };
            if !again || tries_left == 0 {
                return Err(verdict.status);
            }
        }
    }
}

/// Whether a call that failed in transport may be made again.
#[derive(Clone, Copy)]
enum Repeatable {
    Always,
    IfNeverSent,
}

fn client(channel: Channel) -> ObjectsClient<Channel> {
    ObjectsClient::new(channel)
        .max_decoding_message_size(limits::MESSAGE_RECEIVE_BYTES_MAX)
        .max_encoding_message_size(limits::MESSAGE_SEND_BYTES_MAX)
}

#[async_trait]
impl Objects for Remote {
    async fn get(&self, target: &Target) -> Result<Bytes, Status> {
        let request = convert::get(target);
        let send = |mut client: ObjectsClient<Channel>| {
            let request = request.clone();
            async move { client.get(request).await }
        };
        Ok(self.call(Repeatable::Always, send).await?.body)
    }

    async fn list(&self, scope: &Scope, options: &ListOptions) -> Result<List, Status> {
        let request = convert::list(scope, options);
        let send = |mut client: ObjectsClient<Channel>| {
            let request = request.clone();
            async move {
                let response = client.list(request).await?;
                Ok(tonic::Response::new(stream::gather(response.into_inner()).await?))
            }
        };
        self.call(Repeatable::Always, send).await
    }

    async fn watch(&self, scope: &Scope, options: &WatchOptions) -> Result<WatchStream, Status> {
        let start = convert::watch(scope, options);
        let send = |mut client: ObjectsClient<Channel>| {
            let (requests, outgoing) = stream::requests(start.clone());
            async move {
                let response = client.watch(outgoing).await?;
                Ok(tonic::Response::new((requests, response.into_inner())))
            }
        };
        let (requests, incoming) = self.call(Repeatable::Always, send).await?;
        Ok(stream::events(requests, incoming))
    }

    async fn create(&self, target: &Target, body: Bytes, options: &WriteOptions) -> Result<Bytes, Status> {
        let request = convert::create(target, body, options);
        let send = |mut client: ObjectsClient<Channel>| {
            let request = request.clone();
            async move { client.create(request).await }
        };
        Ok(self.call(Repeatable::IfNeverSent, send).await?.body)
    }

    async fn update(&self, target: &Target, body: Bytes, options: &WriteOptions) -> Result<Bytes, Status> {
        let request = convert::update(target, body, options);
        let send = |mut client: ObjectsClient<Channel>| {
            let request = request.clone();
            async move { client.update(request).await }
        };
        Ok(self.call(Repeatable::IfNeverSent, send).await?.body)
    }

    async fn patch(
        &self,
        target: &Target,
        kind: PatchType,
        body: Bytes,
        options: &WriteOptions,
    ) -> Result<Bytes, Status> {
        let request = convert::patch(target, kind, body, options);
        let send = |mut client: ObjectsClient<Channel>| {
            let request = request.clone();
            async move { client.patch(request).await }
        };
        Ok(self.call(Repeatable::IfNeverSent, send).await?.body)
    }

    async fn delete(&self, target: &Target, body: Bytes, options: &WriteOptions) -> Result<Bytes, Status> {
        let request = convert::delete(target, body, options);
        let send = |mut client: ObjectsClient<Channel>| {
            let request = request.clone();
            async move { client.delete(request).await }
        };
        Ok(self.call(Repeatable::IfNeverSent, send).await?.body)
    }

    async fn delete_collection(
        &self,
        scope: &Scope,
        selectors: &ListOptions,
        body: Bytes,
        options: &WriteOptions,
    ) -> Result<(), Status> {
        let request = convert::delete_collection(scope, selectors, body, options);
        let send = |mut client: ObjectsClient<Channel>| {
            let request = request.clone();
            async move { client.delete_collection(request).await }
        };
        self.call(Repeatable::IfNeverSent, send).await.map(|_| ())
    }

    async fn batch(
        &self,
        writes: Vec<Write>,
        options: &WriteOptions,
    ) -> Result<Vec<Result<Bytes, Status>>, Status> {
        let writes = writes.into_iter().map(|write| convert::write(write, options)).collect();
        let request = wire::BatchRequest { writes };
        let send = |mut client: ObjectsClient<Channel>| {
            let request = request.clone();
            async move { client.batch(request).await }
        };
        let response = self.call(Repeatable::IfNeverSent, send).await?;
        Ok(response.outcomes.into_iter().map(convert::outcome).collect())
    }
}
