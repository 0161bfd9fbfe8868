//! Finalizers, propagation, grace, preconditions, collections, namespaces.

use api::{Reason, objects::Target};
use registry::{Deleted, ListOptions, PatchBody, WriteOptions};
use serde_json::{Value, json};

use crate::support::{at, config_map, gvr, names, pod, scope, world};

fn terminating(deleted: Deleted) -> Value {
    match deleted {
        Deleted::Terminating(bytes) => serde_json::from_slice(&bytes).unwrap(),
        Deleted::Gone(status) => panic!("gone: {status:?}"),
    }
}

fn is_gone(deleted: &Deleted) -> bool {
    matches!(deleted, Deleted::Gone(status) if status.code == 200 && status.status == "Success")
}

#[tokio::test]
async fn without_finalizers_an_object_goes_at_once() {
    let world = world().await;
    world.create("configmaps", config_map("a", json!({}))).await.unwrap();
    assert!(is_gone(&world.delete("configmaps", "a", Value::Null).await.unwrap()));
    let missing = world.delete("configmaps", "a", Value::Null).await.unwrap_err();
    assert_eq!((missing.code, missing.message.as_str()), (404, "configmaps \"a\" not found"));
}

#[tokio::test]
async fn finalizers_keep_an_object_until_the_last_one_goes() {
    let world = world().await;
    let mut object = config_map("a", json!({}));
    object["metadata"]["finalizers"] = json!(["x.io/one"]);
    world.create("configmaps", object).await.unwrap();
    let marked = terminating(world.delete("configmaps", "a", Value::Null).await.unwrap());
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    let more = PatchBody::Merge(json!({"metadata": {"finalizers": ["x.io/one", "x.io/two"]}}));
    let refused = world.patch(&at("configmaps", "a"), more).await.unwrap_err();
    assert!(
        refused.message.contains("no new finalizers can be added if the object is being deleted"),
        "{}",
        refused.message
    );
    world
        .patch(&at("configmaps", "a"), PatchBody::Merge(json!({"metadata": {"finalizers": null}})))
        .await
        .unwrap();
    assert_eq!(world.get("configmaps", "a").await.unwrap_err().code, 404);
}

#[tokio::test]
async fn propagation_is_written_as_a_finalizer() {
    let world = world().await;
    for (policy, expected) in [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")] {
        world.create("configmaps", config_map("a", json!({}))).await.unwrap();
        let marked =
            terminating(world.delete("configmaps", "a", json!({"propagationPolicy": policy})).await.unwrap());
        assert_eq!(marked["metadata"]["finalizers"], json!([expected]));
        assert!(is_gone(
            &world.delete("configmaps", "a", json!({"propagationPolicy": "Background"})).await.unwrap()
        ));
    }
    world.create("configmaps", config_map("a", json!({}))).await.unwrap();
    assert_eq!(
        world.delete("configmaps", "a", json!({"propagationPolicy": "No"})).await.unwrap_err().code,
        422
    );
}

#[tokio::test]
async fn preconditions_protect_a_namesake() {
    let world = world().await;
    world.create("configmaps", config_map("a", json!({}))).await.unwrap();
    for preconditions in [json!({"uid": "other"}), json!({"resourceVersion": "1"})] {
        let refused =
            world.delete("configmaps", "a", json!({"preconditions": preconditions})).await.unwrap_err();
        assert_eq!(refused.reason, Some(Reason::Conflict));
    }
}

#[tokio::test]
async fn a_running_pod_gets_its_grace_period_and_an_unscheduled_one_goes() {
    let world = world().await;
    world.create("pods", pod("waiting")).await.unwrap();
    assert!(is_gone(&world.delete("pods", "waiting", Value::Null).await.unwrap()));
    world.create("pods", pod("p")).await.unwrap();
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}});
    world.create_at(&at("pods", "p").subresource("binding"), binding).await.unwrap();
    let marked = terminating(world.delete("pods", "p", Value::Null).await.unwrap());
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    let longer = terminating(world.delete("pods", "p", json!({"gracePeriodSeconds": 60})).await.unwrap());
    assert_eq!(longer["metadata"]["deletionGracePeriodSeconds"], 30, "never longer");
    let shorter = terminating(world.delete("pods", "p", json!({"gracePeriodSeconds": 5})).await.unwrap());
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 5);
    assert!(is_gone(&world.delete("pods", "p", json!({"gracePeriodSeconds": 0})).await.unwrap()));
}

#[tokio::test]
async fn a_namespace_stays_until_it_is_finalized() {
    let world = world().await;
    let marked = terminating(world.delete("namespaces", "d", Value::Null).await.unwrap());
    assert_eq!(
        (&marked["status"]["phase"], &marked["spec"]["finalizers"]),
        (&json!("Terminating"), &json!(["kubernetes"]))
    );
    let refused = world.create("configmaps", config_map("a", json!({}))).await.unwrap_err();
    assert_eq!(refused.reason, Some(Reason::Forbidden));
    assert_eq!(
        refused.message,
        "configmaps \"a\" is forbidden: unable to create new content in namespace d because it is being terminated"
    );
    let mut finalized = marked.clone();
    finalized["spec"]["finalizers"] = json!([]);
    world.update_at(&at("namespaces", "d").subresource("finalize"), finalized).await.unwrap();
    assert_eq!(world.get("namespaces", "d").await.unwrap_err().code, 404);
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector() {
    let world = world().await;
    for n in 0..150 {
        world
            .create("configmaps", config_map(&format!("c{n:03}"), json!({"n": (n % 3).to_string()})))
            .await
            .unwrap();
    }
    let options = ListOptions { label_selector: "n in (0,1)".into(), ..Default::default() };
    let scope = scope("configmaps");
    let deleted = world
        .registry
        .delete_collection(&world.caller, &scope, &options, Value::Null, &WriteOptions::default())
        .await
        .unwrap();
    assert_eq!(deleted.items.len(), 100);
    assert_eq!(names(&world.list("configmaps", ListOptions::default()).await.unwrap()).len(), 50);
}

#[tokio::test]
async fn system_namespaces_stay() {
    let world = world().await;
    let target = Target::new(gvr("namespaces"), "", "default");
    let namespace = json!({"metadata": {"name": "default"}});
    world.create_at(&target, namespace).await.unwrap();
    let refused = world.delete("namespaces", "default", Value::Null).await.unwrap_err();
    assert_eq!(refused.message, "namespaces \"default\" is forbidden: this namespace may not be deleted");
}
