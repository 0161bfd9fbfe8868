//! The remote verbs against the in-memory ones, with a real gRPC connection between them.

use std::{pin::Pin, sync::Arc};

use api::objects::Objects as _;
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use proto::objects::objects_server::{Objects as Service, ObjectsServer};
use serde_json::json;
use tonic::{Request, Response, Streaming, transport::Endpoint};

use super::*;
use crate::{
    Client, fake,
    typed::{Deletion, resource_of},
};

struct Server(fake::Objects);

type Answer<T> = Result<Response<T>, tonic::Status>;

fn refused(status: Status) -> tonic::Status {
    let mut metadata = tonic::metadata::MetadataMap::new();
    let body = serde_json::to_vec(&status).unwrap();
    metadata.insert_bin("kontiki-status-bin", tonic::metadata::MetadataValue::from_bytes(&body));
    tonic::Status::with_metadata(tonic::Code::FailedPrecondition, status.message, metadata)
}

fn target(resource: Option<wire::Resource>, namespace: String, name: String, subresource: String) -> Target {
    let resource = resource.unwrap();
    let resource = api::GroupVersionResource::new(&resource.group, &resource.version, &resource.resource);
    Target::new(resource, &namespace, &name).subresource(&subresource)
}

fn options(manager: String) -> WriteOptions {
    WriteOptions { field_manager: manager, ..WriteOptions::default() }
}

fn object(outcome: Result<Bytes, Status>) -> Answer<wire::Object> {
    outcome.map(|body| Response::new(wire::Object { body })).map_err(refused)
}

#[tonic::async_trait]
impl Service for Server {
    type ListStream = Pin<Box<dyn Stream<Item = Result<wire::ListChunk, tonic::Status>> + Send>>;
    type WatchStream = Pin<Box<dyn Stream<Item = Result<wire::WatchResponse, tonic::Status>> + Send>>;

    async fn get(&self, request: Request<wire::GetRequest>) -> Answer<wire::Object> {
        let r = request.into_inner();
        object(self.0.get(&target(r.resource, r.namespace, r.name, r.subresource)).await)
    }

    async fn list(&self, request: Request<wire::ListRequest>) -> Answer<Self::ListStream> {
        let r = request.into_inner();
        let scope = target(r.resource, r.namespace, String::new(), String::new()).scope;
        let options = ListOptions { label_selector: r.label_selector, ..ListOptions::default() };
        let list = self.0.list(&scope, &options).await.map_err(refused)?;
        let first = wire::ListChunk { resource_version: list.resource_version, ..Default::default() };
        let chunk = |item| wire::ListChunk { items: vec![item], ..Default::default() };
        let chunks = std::iter::once(first).chain(list.items.into_iter().map(chunk)).map(Ok);
        Ok(Response::new(futures::stream::iter(chunks.collect::<Vec<_>>()).boxed()))
    }

    async fn watch(&self, request: Request<Streaming<wire::WatchRequest>>) -> Answer<Self::WatchStream> {
        let mut requests = request.into_inner();
        let first = requests.message().await?.unwrap();
        let Some(wire::watch_request::Action::Start(start)) = first.action else { panic!("a watch starts") };
        let scope = target(start.resource, start.namespace, String::new(), String::new()).scope;
        let options = WatchOptions { resource_version: start.resource_version, ..WatchOptions::default() };
        let watch_id = first.watch_id;
        let events = match self.0.watch(&scope, &options).await {
            Ok(events) => events,
            Err(status) => futures::stream::iter([Err(status)]).boxed(),
        };
        let responses = events.map(move |event| {
            let (kind, object) = match event {
                Ok(api::objects::WatchEvent::Added(body)) => (wire::watch_event::Type::Added, body),
                Ok(api::objects::WatchEvent::Modified(body)) => (wire::watch_event::Type::Modified, body),
                Ok(api::objects::WatchEvent::Deleted(body)) => (wire::watch_event::Type::Deleted, body),
                Ok(api::objects::WatchEvent::Bookmark { .. }) => {
                    (wire::watch_event::Type::Bookmark, Bytes::new())
                }
                Err(status) => {
                    let status = Bytes::from(serde_json::to_vec(&status).unwrap());
                    return Ok(wire::WatchResponse { watch_id, events: vec![], ended: true, status });
                }
            };
            let event = wire::WatchEvent { r#type: kind.into(), object, ..Default::default() };
            Ok(wire::WatchResponse { watch_id, events: vec![event], ..Default::default() })
        });
        Ok(Response::new(responses.boxed()))
    }

    async fn create(&self, request: Request<wire::CreateRequest>) -> Answer<wire::Object> {
        let r = request.into_inner();
        let target = target(r.resource, r.namespace, r.name, r.subresource);
        object(self.0.create(&target, r.body, &options(r.field_manager)).await)
    }

    async fn update(&self, request: Request<wire::UpdateRequest>) -> Answer<wire::Object> {
        let r = request.into_inner();
        let target = target(r.resource, r.namespace, r.name, r.subresource);
        object(self.0.update(&target, r.body, &options(r.field_manager)).await)
    }

    async fn patch(&self, request: Request<wire::PatchRequest>) -> Answer<wire::Object> {
        let r = request.into_inner();
        assert_eq!(r.r#type(), wire::patch_request::Type::Merge);
        let target = target(r.resource, r.namespace, r.name, r.subresource);
        object(self.0.patch(&target, PatchType::Merge, r.body, &options(r.field_manager)).await)
    }

    async fn delete(&self, request: Request<wire::DeleteRequest>) -> Answer<wire::Object> {
        let r = request.into_inner();
        let target = target(r.resource, r.namespace, r.name, String::new());
        object(self.0.delete(&target, r.options, &WriteOptions::default()).await)
    }

    async fn delete_collection(
        &self,
        request: Request<wire::DeleteCollectionRequest>,
    ) -> Answer<wire::Object> {
        let r = request.into_inner();
        let scope = target(r.resource, r.namespace, String::new(), String::new()).scope;
        let all = ListOptions::default();
        let outcome = self.0.delete_collection(&scope, &all, r.options, &WriteOptions::default()).await;
        object(outcome.map(|()| Bytes::new()))
    }

    async fn batch(&self, request: Request<wire::BatchRequest>) -> Answer<wire::BatchResponse> {
        let mut outcomes = Vec::new();
        for write in request.into_inner().writes {
            let Some(wire::write::Request::Create(r)) = write.request else { panic!("only creations here") };
            let target = target(r.resource, r.namespace, r.name, r.subresource);
            let result = match self.0.create(&target, r.body, &options(r.field_manager)).await {
                Ok(body) => wire::outcome::Result::Object(body),
                Err(status) => wire::outcome::Result::Status(serde_json::to_vec(&status).unwrap().into()),
            };
            outcomes.push(wire::Outcome { result: Some(result) });
        }
        Ok(Response::new(wire::BatchResponse { outcomes }))
    }
}

/// A server on a free port of this machine, and its address.
async fn serve(objects: &fake::Objects) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let service = ObjectsServer::new(Server(objects.clone()));
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    address
}

fn config(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "namespace": "ns"}})).unwrap()
}

#[tokio::test]
async fn every_verb_arrives_and_every_answer_comes_back() {
    let objects = fake::Objects::new();
    let channel = Endpoint::from_shared(serve(&objects).await).unwrap().connect_lazy();
    let client = Client::new(Arc::new(Remote::from_channel(channel)));
    let made = client.create_many(&[config("a"), config("b"), config("a")]).await.unwrap();
    assert!(made[0].is_ok() && made[1].is_ok() && made[2].as_ref().unwrap_err().is_already_exists());
    assert_eq!(client.list::<ConfigMap>("ns", "").await.unwrap().len(), 2);
    let scope = Scope { resource: resource_of::<ConfigMap>(), namespace: String::new() };
    let from = |rv: &str| WatchOptions { resource_version: rv.into(), ..WatchOptions::default() };
    let mut events = client.objects().watch(&scope, &from("1")).await.unwrap();
    assert!(matches!(events.next().await, Some(Ok(api::objects::WatchEvent::Added(_)))));
    let mut a = client.get::<ConfigMap>("ns", "a").await.unwrap();
    a.data = Some([("k".to_owned(), "v".to_owned())].into());
    client.update(&a).await.unwrap();
    assert!(client.update(&a).await.unwrap_err().is_conflict());
    client.merge::<ConfigMap>("ns", "b", &json!({"data": {"k": "w"}})).await.unwrap();
    client.delete::<ConfigMap>("ns", "b", &Deletion::default()).await.unwrap();
    let mut trace = String::new();
    for _ in 0..3 {
        trace.push(match events.next().await.unwrap().unwrap() {
            api::objects::WatchEvent::Modified(_) => 'M',
            api::objects::WatchEvent::Deleted(_) => 'D',
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(trace, "MMD");
    assert!(client.get::<ConfigMap>("ns", "b").await.unwrap_err().is_not_found());
    let write = WriteOptions::default();
    client.objects().delete_collection(&scope, &ListOptions::default(), Bytes::new(), &write).await.unwrap();
    assert!(client.list::<ConfigMap>("", "").await.unwrap().is_empty());
    objects.compact();
    let mut expired = client.objects().watch(&scope, &from("1")).await.unwrap();
    assert!(expired.next().await.unwrap().unwrap_err().is(api::Reason::Expired));
    assert!(expired.next().await.is_none());
}

#[tokio::test]
async fn calls_move_on_from_a_dead_server_and_unsent_writes_too() {
    let objects = fake::Objects::new();
    let dead = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let channels = [dead, serve(&objects).await].map(|a| Endpoint::from_shared(a).unwrap().connect_lazy());
    let remote = Remote { endpoints: Arc::new(Endpoints::of_channels(channels.to_vec())) };
    let client = Client::new(Arc::new(remote));
    client.create(&config("a")).await.unwrap();
    assert_eq!(client.list::<ConfigMap>("ns", "").await.unwrap().len(), 1);
}
