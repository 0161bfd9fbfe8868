//! Consistent lists, pages, selectors.

use api::Reason;
use registry::ListOptions;
use serde_json::json;

use crate::support::{World, config_map, names, pod, world};

async fn filled(count: usize) -> World {
    let world = world().await;
    for n in 0..count {
        world
            .create("configmaps", config_map(&format!("c{n}"), json!({"n": (n % 2).to_string()})))
            .await
            .unwrap();
    }
    world
}

#[tokio::test]
async fn a_list_contains_every_write_acknowledged_before_it() {
    let world = world().await;
    for n in 0..20 {
        let created = world.create("configmaps", config_map(&format!("c{n}"), json!({}))).await.unwrap();
        let listed = world.list("configmaps", ListOptions::default()).await.unwrap();
        assert_eq!(listed.items.len(), n + 1);
        assert!(
            listed.revision
                >= created["metadata"]["resourceVersion"].as_str().unwrap().parse::<i64>().unwrap()
        );
    }
}

#[tokio::test]
async fn pages_come_from_one_moment() {
    let world = filled(5).await;
    let first = world.list("configmaps", ListOptions { limit: 2, ..Default::default() }).await.unwrap();
    assert_eq!((names(&first), first.remaining), (vec!["c0", "c1"], Some(3)));
    world.create("configmaps", config_map("c2b", json!({}))).await.unwrap();
    world.delete("configmaps", "c4", json!({})).await.unwrap();
    let mut seen = Vec::new();
    let mut token = first.continue_token;
    while !token.is_empty() {
        let options = ListOptions { limit: 2, continue_token: token, ..Default::default() };
        let page = world.list("configmaps", options).await.unwrap();
        assert_eq!(page.revision, first.revision);
        seen.extend(names(&page).into_iter().map(str::to_owned));
        token = page.continue_token;
    }
    assert_eq!(seen, ["c2", "c3", "c4"]);
}

#[tokio::test]
async fn a_page_whose_snapshot_is_gone_comes_from_the_store_or_is_expired() {
    use store_client::Kv as _;
    let world = filled(4).await;
    let first = world.list("configmaps", ListOptions { limit: 1, ..Default::default() }).await.unwrap();
    // More paginated lists than snapshots are kept.
    for n in 0..20 {
        world.create("configmaps", config_map(&format!("x{n}"), json!({}))).await.unwrap();
        world.list("configmaps", ListOptions { limit: 1, ..Default::default() }).await.unwrap();
    }
    let options = ListOptions { limit: 2, continue_token: first.continue_token, ..Default::default() };
    let second = world.list("configmaps", options.clone()).await.unwrap();
    assert_eq!(names(&second), ["c1", "c2"]);
    world.kv.compact(world.kv.revision()).await.unwrap();
    let expired = world.list("configmaps", options).await.unwrap_err();
    assert_eq!((expired.reason, expired.code), (Some(Reason::Expired), 410));
}

#[tokio::test]
async fn selectors_choose() {
    let world = filled(4).await;
    let odd = ListOptions { label_selector: "n=1".into(), ..Default::default() };
    assert_eq!(names(&world.list("configmaps", odd).await.unwrap()), ["c1", "c3"]);
    let one = ListOptions { field_selector: "metadata.name=c2".into(), ..Default::default() };
    assert_eq!(names(&world.list("configmaps", one).await.unwrap()), ["c2"]);
    let unknown = ListOptions { field_selector: "spec.foo=1".into(), ..Default::default() };
    let refused = world.list("configmaps", unknown).await.unwrap_err();
    assert_eq!((refused.code, refused.message.as_str()), (400, "field label not supported: spec.foo"));
    world.create("pods", pod("p")).await.unwrap();
    let pending =
        ListOptions { field_selector: "status.phase=Pending,spec.nodeName=".into(), ..Default::default() };
    assert_eq!(names(&world.list("pods", pending).await.unwrap()), ["p"]);
}

#[tokio::test]
async fn bad_positions_are_refused() {
    let world = filled(1).await;
    for (options, code) in [
        (ListOptions { continue_token: "%%%".into(), ..Default::default() }, 400),
        (ListOptions { resource_version: "abc".into(), ..Default::default() }, 422),
        (ListOptions { resource_version_match: "Exact".into(), ..Default::default() }, 422),
    ] {
        assert_eq!(world.list("configmaps", options.clone()).await.unwrap_err().code, code, "{options:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_revision_from_the_future_times_out() {
    let world = filled(1).await;
    let options = ListOptions { resource_version: "99999".into(), ..Default::default() };
    let status = world.list("configmaps", options).await.unwrap_err();
    assert_eq!((status.reason, status.code), (Some(Reason::Timeout), 504));
}
