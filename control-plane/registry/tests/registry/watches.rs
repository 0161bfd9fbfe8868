//! Watches: order, selectors, the past, bookmarks, slow readers.

use std::time::Duration;

use api::Reason;
use futures::StreamExt as _;
use registry::{EventKind, ListOptions, PatchBody, WatchOptions};
use serde_json::json;

use crate::support::{at, config_map, event, next, pod, world};

fn label(selector: &str) -> WatchOptions {
    WatchOptions { label_selector: selector.into(), ..Default::default() }
}

#[tokio::test]
async fn changes_of_matching_turn_into_added_and_deleted() {
    let world = world().await;
    let mut watch = world.watch("configmaps", label("on=yes")).await.unwrap();
    world.create("configmaps", config_map("a", json!({"on": "no"}))).await.unwrap();
    let set =
        |value: &str| PatchBody::Merge(json!({"metadata": {"labels": {"on": value}}, "data": {"n": value}}));
    world.patch(&at("configmaps", "a"), set("yes")).await.unwrap();
    world.patch(&at("configmaps", "a"), PatchBody::Merge(json!({"data": {"n": "2"}}))).await.unwrap();
    let left = world.patch(&at("configmaps", "a"), set("no")).await.unwrap();
    let (kind, _, _) = next(&mut watch).await;
    assert_eq!(kind, EventKind::Added);
    assert_eq!(next(&mut watch).await.0, EventKind::Modified);
    let gone = event(&mut watch).await;
    assert_eq!(gone.kind, EventKind::Deleted);
    let object: serde_json::Value = serde_json::from_slice(&gone.object.unwrap().json).unwrap();
    assert_eq!(object["metadata"]["labels"]["on"], "yes", "the last state that matched");
    assert_eq!(object["metadata"]["resourceVersion"], left["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn a_deletion_carries_the_revision_of_the_deletion() {
    let world = world().await;
    world.create("configmaps", config_map("a", json!({}))).await.unwrap();
    let listed = world.list("configmaps", ListOptions::default()).await.unwrap();
    let options = WatchOptions { resource_version: listed.revision.to_string(), ..Default::default() };
    let mut watch = world.watch("configmaps", options).await.unwrap();
    world.delete("configmaps", "a", json!({})).await.unwrap();
    let gone = event(&mut watch).await;
    assert_eq!((gone.kind, gone.revision), (EventKind::Deleted, world.kv.revision().0));
    let object: serde_json::Value = serde_json::from_slice(&gone.object.unwrap().json).unwrap();
    assert_eq!(object["metadata"]["resourceVersion"], world.kv.revision().0.to_string());
}

#[tokio::test]
async fn a_watch_resumes_from_the_past_without_a_gap() {
    let world = world().await;
    let start = world.list("configmaps", ListOptions::default()).await.unwrap().revision;
    for n in 0..3 {
        world.create("configmaps", config_map(&format!("c{n}"), json!({}))).await.unwrap();
    }
    let options = WatchOptions { resource_version: start.to_string(), ..Default::default() };
    let mut watch = world.watch("configmaps", options).await.unwrap();
    world.create("configmaps", config_map("c3", json!({}))).await.unwrap();
    let mut last = start;
    for n in 0..4 {
        let (kind, name, revision) = next(&mut watch).await;
        assert_eq!((kind, name), (EventKind::Added, format!("c{n}")));
        assert!(revision > last);
        last = revision;
    }
}

#[tokio::test]
async fn a_past_that_is_not_kept_is_expired() {
    let world = world().await;
    world.list("configmaps", ListOptions::default()).await.unwrap();
    let options = WatchOptions { resource_version: "1".into(), ..Default::default() };
    let status = world.watch("configmaps", options).await.err().unwrap();
    assert_eq!((status.reason, status.code), (Some(Reason::Expired), 410));
    assert!(status.message.starts_with("too old resource version: 1 ("), "{}", status.message);
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark() {
    let world = world().await;
    for name in ["a", "b"] {
        world.create("configmaps", config_map(name, json!({}))).await.unwrap();
    }
    let options = WatchOptions { send_initial_events: true, bookmarks: true, ..Default::default() };
    let mut watch = world.watch("configmaps", options).await.unwrap();
    assert_eq!(next(&mut watch).await.1, "a");
    assert_eq!(next(&mut watch).await.1, "b");
    let (kind, _, revision) = next(&mut watch).await;
    assert_eq!((kind, revision), (EventKind::InitialEventsEnd, world.kv.revision().0));
    world.create("configmaps", config_map("c", json!({}))).await.unwrap();
    assert_eq!(next(&mut watch).await.1, "c");
}

#[tokio::test(start_paused = true)]
async fn bookmarks_move_on_although_nothing_matches() {
    let world = world().await;
    let options = WatchOptions { bookmarks: true, ..label("none=such") };
    let mut watch = world.watch("configmaps", options).await.unwrap();
    world.create("configmaps", config_map("a", json!({}))).await.unwrap();
    let (kind, _, revision) = next(&mut watch).await;
    assert_eq!((kind, revision), (EventKind::Bookmark, world.kv.revision().0));
}

#[tokio::test]
async fn a_watch_by_node_hears_of_pods_that_come_to_the_node_and_only_of_those() {
    let world = world().await;
    let options = WatchOptions { field_selector: "spec.nodeName=n1".into(), ..Default::default() };
    let mut watch = world.watch("pods", options).await.unwrap();
    for (name, node) in [("p2", "n2"), ("p1", "n1")] {
        world.create("pods", pod(name)).await.unwrap();
        let binding = json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": node}});
        world.create_at(&at("pods", name).subresource("binding"), binding).await.unwrap();
    }
    assert_eq!(next(&mut watch).await.1, "p1");
}

#[tokio::test]
async fn a_watcher_that_does_not_keep_up_is_cut_off() {
    let world = world().await;
    let mut watch = world.watch("configmaps", WatchOptions::default()).await.unwrap();
    world.create("configmaps", config_map("a", json!({}))).await.unwrap();
    for n in 0..registry::limits::WATCHER_QUEUE_MAX + 10 {
        let patch = PatchBody::Merge(json!({"data": {"n": n.to_string()}}));
        world.patch(&at("configmaps", "a"), patch).await.unwrap();
    }
    // The cache has seen everything; the reader has read nothing.
    world.get("configmaps", "a").await.unwrap();
    let mut count = 0;
    let end = loop {
        match tokio::time::timeout(Duration::from_secs(30), watch.next()).await.expect("an end in time") {
            Some(Ok(_)) => count += 1,
            Some(Err(status)) => break status,
            None => panic!("the stream must say why it ends"),
        }
    };
    assert_eq!(end.reason, Some(Reason::Expired));
    assert!(count >= registry::limits::WATCHER_QUEUE_MAX);
    assert!(watch.next().await.is_none());
}
