//! `kontiki.objects.v1`, in memory and over TLS.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod harness;

use api::Status;
use harness::{Cluster, DEADLINE};
use proto::objects::{
    self as wire, objects_client::ObjectsClient, outcome, watch_event::Type, watch_request::Action,
    write::Request as OneWrite,
};
use registry::Caller;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

fn config_maps() -> Option<wire::Resource> {
    Some(wire::Resource { group: String::new(), version: "v1".into(), resource: "configmaps".into() })
}

fn create(name: &str) -> wire::CreateRequest {
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    wire::CreateRequest {
        resource: config_maps(),
        namespace: "default".into(),
        body: body.to_string().into(),
        ..wire::CreateRequest::default()
    }
}

fn get(name: &str) -> wire::GetRequest {
    wire::GetRequest {
        resource: config_maps(),
        namespace: "default".into(),
        name: name.into(),
        ..wire::GetRequest::default()
    }
}

fn masters(cluster: &Cluster) -> ObjectsClient<Channel> {
    let caller = Caller { user: "admin".into(), uid: String::new(), groups: vec!["system:masters".into()] };
    ObjectsClient::new(cluster.handle.local_channel(caller))
}

fn status(failure: &tonic::Status) -> Status {
    let bytes = failure.metadata().get_bin("kontiki-status-bin").expect("a Status").to_bytes().unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[tokio::test]
async fn the_verbs_work_in_memory() {
    let cluster = Cluster::start().await;
    let mut client = masters(&cluster);
    let created: Value =
        serde_json::from_slice(&client.create(create("a")).await.unwrap().get_ref().body).unwrap();
    let again = client.create(create("a")).await.unwrap_err();
    assert_eq!(status(&again).message, "configmaps \"a\" already exists");
    let got: Value = serde_json::from_slice(&client.get(get("a")).await.unwrap().get_ref().body).unwrap();
    assert_eq!(got["metadata"]["uid"], created["metadata"]["uid"]);
    let patch = wire::PatchRequest {
        resource: config_maps(),
        namespace: "default".into(),
        name: "a".into(),
        r#type: wire::patch_request::Type::Merge.into(),
        body: r#"{"data":{"k":"v"}}"#.into(),
        ..wire::PatchRequest::default()
    };
    let patched: Value = serde_json::from_slice(&client.patch(patch).await.unwrap().get_ref().body).unwrap();
    assert_eq!(patched["data"]["k"], "v");
    let list = wire::ListRequest { resource: config_maps(), ..wire::ListRequest::default() };
    let mut chunks = client.list(list).await.unwrap().into_inner();
    let first = chunks.message().await.unwrap().unwrap();
    assert!(!first.resource_version.is_empty());
    let names: Vec<Value> = first.items.iter().map(|i| serde_json::from_slice::<Value>(i).unwrap()).collect();
    assert!(names.iter().any(|o| o["metadata"]["name"] == "a"));
}

#[tokio::test]
async fn a_batch_answers_each_write_in_order() {
    let cluster = Cluster::start().await;
    let mut client = masters(&cluster);
    let writes = ["a", "b", "a"].map(|name| wire::Write { request: Some(OneWrite::Create(create(name))) });
    let answer = client.batch(wire::BatchRequest { writes: writes.to_vec() }).await.unwrap().into_inner();
    let outcomes: Vec<bool> =
        answer.outcomes.iter().map(|o| matches!(o.result, Some(outcome::Result::Object(_)))).collect();
    assert_eq!(outcomes.len(), 3);
    assert!(outcomes[1]);
    assert_eq!(outcomes.iter().filter(|ok| **ok).count(), 2, "one of the two equal names is refused");
}

#[tokio::test]
async fn many_watches_share_one_stream() {
    let cluster = Cluster::start().await;
    let mut client = masters(&cluster);
    client.create(create("old")).await.unwrap();
    let (requests, stream) = mpsc::channel(8);
    let start = |id, selector: &str| wire::WatchRequest {
        watch_id: id,
        action: Some(Action::Start(wire::WatchStart {
            resource: config_maps(),
            namespace: "default".into(),
            field_selector: selector.into(),
            send_initial_events: true,
            bookmarks: true,
            ..wire::WatchStart::default()
        })),
    };
    requests.send(start(1, "metadata.name=old")).await.unwrap();
    requests.send(start(2, "metadata.name=new")).await.unwrap();
    let mut answers = client.watch(ReceiverStream::new(stream)).await.unwrap().into_inner();
    let mut seen: Vec<(u64, Type, bool)> = Vec::new();
    let mut created = false;
    while !seen.contains(&(2, Type::Added, false)) {
        let answer =
            tokio::time::timeout(DEADLINE, answers.message()).await.expect("in time").unwrap().unwrap();
        seen.extend(answer.events.iter().map(|e| (answer.watch_id, e.r#type(), e.initial_events_end)));
        let both = [1, 2].iter().all(|id| seen.contains(&(*id, Type::Bookmark, true)));
        if both && !std::mem::replace(&mut created, true) {
            client.create(create("new")).await.unwrap();
        }
    }
    assert!(seen.contains(&(1, Type::Added, false)));
    requests
        .send(wire::WatchRequest { watch_id: 1, action: Some(Action::Stop(wire::WatchStop {})) })
        .await
        .unwrap();
    loop {
        let answer =
            tokio::time::timeout(DEADLINE, answers.message()).await.expect("in time").unwrap().unwrap();
        if answer.ended {
            assert_eq!((answer.watch_id, answer.status.len()), (1, 0));
            break;
        }
    }
    requests.send(start(2, "")).await.unwrap();
    let refused = tokio::time::timeout(DEADLINE, answers.message()).await.expect("in time").unwrap().unwrap();
    assert!(refused.ended && !refused.status.is_empty(), "an id is used once at a time");
}

#[tokio::test]
async fn a_local_channel_is_authorized_like_any_other() {
    let cluster = Cluster::start().await;
    let caller = Caller { user: "plugin".into(), uid: String::new(), groups: Vec::new() };
    let mut client = ObjectsClient::new(cluster.handle.local_channel(caller));
    let refused = client.create(create("a")).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    assert!(
        status(&refused)
            .message
            .starts_with(r#"configmaps is forbidden: User "plugin" cannot create resource"#)
    );
}

#[tokio::test]
async fn a_client_certificate_is_the_identity_over_tls() {
    let cluster = Cluster::start().await;
    let issued = cluster.authority.issue_client("system:node:n1", &["system:nodes"]).unwrap();
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(cluster.authority.certificate()))
        .identity(Identity::from_pem(issued.certificate, issued.key))
        .domain_name("localhost");
    let endpoint =
        Endpoint::from_shared(format!("https://{}", cluster.address)).unwrap().tls_config(tls).unwrap();
    let mut client = ObjectsClient::new(endpoint.connect().await.unwrap());
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}});
    let request = |node: &Value| wire::CreateRequest {
        resource: Some(wire::Resource {
            group: String::new(),
            version: "v1".into(),
            resource: "nodes".into(),
        }),
        body: node.to_string().into(),
        ..wire::CreateRequest::default()
    };
    client.create(request(&node)).await.unwrap();
    let mut other = node.clone();
    other["metadata"]["name"] = "n2".into();
    let refused = client.create(request(&other)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{refused}");
}

#[tokio::test]
async fn without_credentials_there_is_no_answer() {
    let cluster = Cluster::start().await;
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(cluster.authority.certificate()))
        .domain_name("localhost");
    let endpoint =
        Endpoint::from_shared(format!("https://{}", cluster.address)).unwrap().tls_config(tls).unwrap();
    let mut client = ObjectsClient::new(endpoint.connect().await.unwrap());
    assert_eq!(client.get(get("a")).await.unwrap_err().code(), tonic::Code::Unauthenticated);
}
