use api::{
    Reason,
    objects::{Objects as _, Scope, Target, WatchEvent, WatchOptions},
};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use serde_json::{Value, json};

use super::*;
use crate::{
    Client,
    typed::{Deletion, Propagation, resource_of},
};

fn client() -> (Objects, Client) {
    let objects = Objects::new();
    let client = Client::new(Arc::new(objects.clone()));
    (objects, client)
}

fn pod(value: Value) -> Pod {
    serde_json::from_value(value).unwrap()
}

#[tokio::test]
async fn a_stale_resource_version_and_a_foreign_uid_are_conflicts() {
    let (_, client) = client();
    let old = client.create(&pod(json!({"metadata": {"name": "a", "namespace": "ns"}}))).await.unwrap();
    client.merge::<Pod>("ns", "a", &json!({"metadata": {"labels": {"x": "y"}}})).await.unwrap();
    assert!(client.update(&old).await.unwrap_err().is_conflict());
    assert!(client.delete::<Pod>("ns", "a", &Deletion::of_uid("other")).await.unwrap_err().is_conflict());
    assert!(client.create(&old).await.unwrap_err().is_already_exists());
}

#[tokio::test]
async fn status_and_spec_are_written_apart_and_generation_counts_specs() {
    let (_, client) = client();
    let made =
        client.create(&pod(json!({"metadata": {"generateName": "a-", "namespace": "ns"}}))).await.unwrap();
    let name = made.metadata.name.clone().unwrap();
    assert!(name.starts_with("a-") && name.len() == 7);
    let mut changed = made.clone();
    changed.status = Some(serde_json::from_value(json!({"phase": "Running"})).unwrap());
    changed.spec = Some(serde_json::from_value(json!({"nodeName": "n", "containers": []})).unwrap());
    let with_status = client.update_status(&changed).await.unwrap();
    assert_eq!((with_status.spec.as_ref(), with_status.metadata.generation), (None, Some(1)));
    changed.metadata.resource_version = None;
    changed.status = None;
    let with_spec = client.update(&changed).await.unwrap();
    assert_eq!(with_spec.status.unwrap().phase.as_deref(), Some("Running"));
    assert_eq!(with_spec.metadata.generation, Some(2));
}

#[tokio::test]
async fn deletion_waits_for_finalizers_and_for_bound_pods() {
    let (_, client) = client();
    client.create(&pod(json!({"metadata": {"name": "a", "namespace": "ns"}}))).await.unwrap();
    let foreground = Deletion { propagation: Some(Propagation::Foreground), ..Deletion::default() };
    client.delete::<Pod>("ns", "a", &foreground).await.unwrap();
    let held = client.get::<Pod>("ns", "a").await.unwrap();
    assert!(held.metadata.deletion_timestamp.is_some());
    client.merge::<Pod>("ns", "a", &json!({"metadata": {"finalizers": null}})).await.unwrap();
    assert!(client.find::<Pod>("ns", "a").await.unwrap().is_none());

    client.create(&pod(json!({"metadata": {"name": "b", "namespace": "ns"}}))).await.unwrap();
    let binding = Target::new(resource_of::<Pod>(), "ns", "b").subresource("binding");
    let body = bytes::Bytes::from_static(br#"{"target":{"name":"n"}}"#);
    client.objects().create(&binding, body, &Default::default()).await.unwrap();
    client.delete::<Pod>("ns", "b", &Deletion::default()).await.unwrap();
    assert!(client.get::<Pod>("ns", "b").await.unwrap().metadata.deletion_timestamp.is_some());
    let now = Deletion { grace_seconds: Some(0), ..Deletion::default() };
    client.delete::<Pod>("ns", "b", &now).await.unwrap();
    assert!(client.find::<Pod>("ns", "b").await.unwrap().is_none());
}

#[tokio::test]
async fn a_namespace_ends_when_it_is_finalized_and_takes_nothing_new_meanwhile() {
    let (_, client) = client();
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": "ns"}})).unwrap();
    client.create(&namespace).await.unwrap();
    client.delete::<Namespace>("", "ns", &Deletion::default()).await.unwrap();
    let mut ending = client.get::<Namespace>("", "ns").await.unwrap();
    assert_eq!(ending.status.as_ref().unwrap().phase.as_deref(), Some("Terminating"));
    let refused =
        client.create(&pod(json!({"metadata": {"name": "a", "namespace": "ns"}}))).await.unwrap_err();
    assert!(refused.is(Reason::Forbidden) && refused.is_namespace_terminating());
    ending.spec.as_mut().unwrap().finalizers = None;
    client.replace(&ending, "finalize").await.unwrap();
    assert!(client.find::<Namespace>("", "ns").await.unwrap().is_none());
}

#[tokio::test]
async fn a_watch_resumes_and_selectors_turn_changes_into_arrivals_and_departures() {
    let (objects, client) = client();
    let first = json!({"metadata": {"name": "first", "namespace": "ns"}});
    client.create(&serde_json::from_value::<Pod>(first).unwrap()).await.unwrap();
    let start = objects.revision();
    let map = json!({"metadata": {"name": "a", "namespace": "ns", "labels": {"k": "1"}}});
    client.create(&serde_json::from_value::<ConfigMap>(map).unwrap()).await.unwrap();
    client.merge::<ConfigMap>("ns", "a", &json!({"metadata": {"labels": {"k": "2"}}})).await.unwrap();
    client.delete::<ConfigMap>("ns", "a", &Deletion::default()).await.unwrap();
    let scope = Scope { resource: resource_of::<ConfigMap>(), namespace: String::new() };
    for (selector, expect) in [("k=1", "AD"), ("k=2", "AD"), ("", "AMD"), ("k", "AMD"), ("!k", "")] {
        let options = WatchOptions {
            resource_version: start.to_string(),
            label_selector: selector.into(),
            bookmarks: true,
            ..WatchOptions::default()
        };
        let mut events = objects.watch(&scope, &options).await.unwrap();
        let mut trace = String::new();
        while trace.len() < expect.len() {
            trace.push(match events.next().await.unwrap().unwrap() {
                WatchEvent::Added(_) => 'A',
                WatchEvent::Modified(_) => 'M',
                WatchEvent::Deleted(_) => 'D',
                WatchEvent::Bookmark { .. } => 'B',
            });
        }
        assert_eq!(trace, expect, "{selector}");
    }
    objects.compact();
    let old = WatchOptions { resource_version: "1".into(), ..WatchOptions::default() };
    assert!(objects.watch(&scope, &old).await.is_err_and(|s| s.is(Reason::Expired)));
}
