//! The generated service trait, each method one line: the work is in the modules beside.

use std::pin::Pin;

use futures::Stream;
use proto::objects::{self as wire, objects_server};
use tonic::{Request, Response, Status, Streaming};

use super::{Call, convert::failure, read, watch, write};

/// The service for one caller.
pub struct Objects {
    pub(super) call: Call,
}

type Answer<T> = Result<Response<T>, Status>;
type Chunks<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn object(outcome: Result<bytes::Bytes, api::Status>) -> Answer<wire::Object> {
    outcome.map(|body| Response::new(wire::Object { body })).map_err(|s| failure(&s))
}

#[tonic::async_trait]
impl objects_server::Objects for Objects {
    type ListStream = Chunks<wire::ListChunk>;
    type WatchStream = Chunks<wire::WatchResponse>;

    async fn get(&self, request: Request<wire::GetRequest>) -> Answer<wire::Object> {
        object(read::get(&self.call, request.into_inner()).await)
    }

    async fn list(&self, request: Request<wire::ListRequest>) -> Answer<Self::ListStream> {
        let chunks = read::list(&self.call, request.into_inner()).await.map_err(|s| failure(&s))?;
        Ok(Response::new(Box::pin(futures::stream::iter(chunks))))
    }

    async fn watch(&self, request: Request<Streaming<wire::WatchRequest>>) -> Answer<Self::WatchStream> {
        Ok(Response::new(Box::pin(watch::multiplex(self.call.clone(), request.into_inner()))))
    }

    async fn create(&self, request: Request<wire::CreateRequest>) -> Answer<wire::Object> {
        object(write::create(&self.call, request.into_inner()).await)
    }

    async fn update(&self, request: Request<wire::UpdateRequest>) -> Answer<wire::Object> {
        object(write::update(&self.call, request.into_inner()).await)
    }

    async fn patch(&self, request: Request<wire::PatchRequest>) -> Answer<wire::Object> {
        object(write::patch(&self.call, request.into_inner()).await)
    }

    async fn delete(&self, request: Request<wire::DeleteRequest>) -> Answer<wire::Object> {
        object(write::delete(&self.call, request.into_inner()).await)
    }

    async fn delete_collection(
        &self,
        request: Request<wire::DeleteCollectionRequest>,
    ) -> Answer<wire::Object> {
        object(write::delete_collection(&self.call, request.into_inner()).await)
    }

    async fn batch(&self, request: Request<wire::BatchRequest>) -> Answer<wire::BatchResponse> {
        write::batch(&self.call, request.into_inner()).await.map(Response::new).map_err(|s| failure(&s))
    }
}
