//! Create, get, update, dry run, conflicts, status, scale.

use api::{Reason, objects::Fence};
use registry::{PatchBody, WriteOptions};
use serde_json::json;

use crate::support::{World, at, bare, config_map, deployment, world};

#[tokio::test]
async fn a_created_object_has_an_identity_and_is_read_back_as_answered() {
    let world = world().await;
    let created = world.create("configmaps", config_map("a", json!({"x": "y"}))).await.unwrap();
    let metadata = &created["metadata"];
    assert_eq!(metadata["namespace"], "d");
    assert_eq!(metadata["uid"].as_str().unwrap().len(), 36);
    assert!(metadata["creationTimestamp"].as_str().unwrap().ends_with('Z'));
    assert!(metadata["resourceVersion"].as_str().unwrap().parse::<i64>().unwrap() > 1);
    assert_eq!(metadata["managedFields"][0]["manager"], "test");
    assert_eq!(world.get("configmaps", "a").await.unwrap(), created);
}

#[tokio::test]
async fn a_name_is_taken_once_and_generated_names_are_free() {
    let world = world().await;
    world.create("configmaps", config_map("a", json!({}))).await.unwrap();
    let again = world.create("configmaps", config_map("a", json!({}))).await.unwrap_err();
    assert_eq!((again.reason, again.code), (Some(Reason::AlreadyExists), 409));
    assert_eq!(again.message, "configmaps \"a\" already exists");
    let generated = json!({"metadata": {"generateName": "g-"}});
    let one = world.create("configmaps", generated.clone()).await.unwrap();
    let two = world.create("configmaps", generated).await.unwrap();
    assert!(one["metadata"]["name"].as_str().unwrap().starts_with("g-"));
    assert_ne!(one["metadata"]["name"], two["metadata"]["name"]);
}

#[tokio::test]
async fn a_stale_resource_version_is_a_conflict_and_a_missing_one_is_not() {
    let world = world().await;
    let first = world.create("configmaps", config_map("a", json!({}))).await.unwrap();
    let mut change = first.clone();
    change["data"]["k"] = json!("2");
    let second = world.update("configmaps", change.clone()).await.unwrap();
    assert_ne!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let stale = world.update("configmaps", change.clone()).await.unwrap_err();
    assert_eq!(stale.reason, Some(Reason::Conflict));
    assert_eq!(
        stale.message,
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again"
    );
    change["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    change["data"]["k"] = json!("3");
    assert_eq!(world.update("configmaps", change).await.unwrap()["data"]["k"], "3");
    assert_eq!(world.update("configmaps", config_map("none", json!({}))).await.unwrap_err().code, 404);
}

#[tokio::test]
async fn a_write_that_changes_nothing_stores_nothing() {
    let world = world().await;
    let first = world.create("configmaps", config_map("a", json!({}))).await.unwrap();
    let revision = world.kv.revision();
    assert_eq!(world.update("configmaps", first.clone()).await.unwrap(), first);
    assert_eq!(
        world.patch(&at("configmaps", "a"), PatchBody::Merge(json!({"data": {"k": "v"}}))).await.unwrap(),
        first
    );
    assert_eq!(world.kv.revision(), revision);
}

#[tokio::test]
async fn a_dry_run_answers_as_if_and_stores_nothing() {
    let world = world().await;
    world.create("configmaps", config_map("old", json!({}))).await.unwrap();
    let revision = world.kv.revision();
    let dry = WriteOptions { dry_run: true, ..World::strict() };
    let (caller, registry) = (&world.caller, &world.registry);
    let created =
        registry.create(caller, &at("configmaps", ""), config_map("a", json!({})), &dry).await.unwrap();
    let created: serde_json::Value = serde_json::from_slice(&created.json).unwrap();
    assert!(created["metadata"]["uid"].is_string() && created["metadata"]["resourceVersion"].is_null());
    let taken =
        registry.create(caller, &at("configmaps", ""), config_map("old", json!({})), &dry).await.unwrap_err();
    assert_eq!(taken.reason, Some(Reason::AlreadyExists));
    let patch = PatchBody::Merge(json!({"data": {"k": "dry"}}));
    let patched = registry.patch(caller, &at("configmaps", "old"), patch, &dry).await.unwrap();
    assert!(std::str::from_utf8(&patched.json).unwrap().contains("dry"));
    registry.delete(caller, &at("configmaps", "old"), json!({}), &dry).await.unwrap();
    assert_eq!(world.kv.revision(), revision);
    assert_eq!(world.get("configmaps", "old").await.unwrap()["data"]["k"], "v");
}

#[tokio::test]
async fn status_and_spec_are_written_apart_and_generation_counts_the_spec() {
    let world = world().await;
    let mut object = deployment("web");
    object["status"] = json!({"replicas": 9});
    let created = world.create("deployments", object).await.unwrap();
    assert_eq!(
        (&created["status"]["replicas"], &created["metadata"]["generation"]),
        (&json!(null), &json!(1))
    );
    assert_eq!(created["spec"]["strategy"]["rollingUpdate"]["maxSurge"], "25%");
    assert_eq!(created["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"], "IfNotPresent");

    let mut both = created.clone();
    both["spec"]["replicas"] = json!(5);
    both["status"] = json!({"replicas": 5, "observedGeneration": 1});
    let status =
        world.update_at(&at("deployments", "web").subresource("status"), both.clone()).await.unwrap();
    assert_eq!((&status["spec"]["replicas"], &status["status"]["replicas"]), (&json!(2), &json!(5)));
    assert_eq!(status["metadata"]["generation"], 1);
    both["metadata"]["resourceVersion"] = status["metadata"]["resourceVersion"].clone();
    both["status"] = json!({"replicas": 77});
    let main = world.update("deployments", both).await.unwrap();
    assert_eq!((&main["spec"]["replicas"], &main["status"]["replicas"]), (&json!(5), &json!(5)));
    assert_eq!(main["metadata"]["generation"], 2);
}

#[tokio::test]
async fn scale_is_a_view_of_replicas() {
    let world = world().await;
    world.create("deployments", deployment("web")).await.unwrap();
    let target = at("deployments", "web").subresource("scale");
    let scale: serde_json::Value =
        serde_json::from_slice(&world.registry.get(&target, "").await.unwrap()).unwrap();
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(2)));
    assert_eq!(scale["status"]["selector"], "app=web");
    let patched = world.patch(&target, PatchBody::Merge(json!({"spec": {"replicas": 7}}))).await.unwrap();
    assert_eq!((&patched["kind"], &patched["spec"]["replicas"]), (&json!("Scale"), &json!(7)));
    let mut put = patched.clone();
    put["spec"]["replicas"] = json!(3);
    world.update_at(&target, put.clone()).await.unwrap();
    assert_eq!(world.update_at(&target, put).await.unwrap_err().reason, Some(Reason::Conflict));
    assert_eq!(world.get("deployments", "web").await.unwrap()["spec"]["replicas"], 3);
}

#[tokio::test]
async fn every_stored_kind_can_be_listed_and_its_row_is_complete() {
    let world = bare().await;
    let catalog = world.registry.catalog();
    assert!(catalog.rows().len() > 60);
    for row in catalog.rows() {
        assert!(row.schema.is_some(), "{row:?} has no schema");
        if row.place.is_some() {
            let scope = api::objects::Scope { resource: row.gvr(), namespace: String::new() };
            assert!(
                world
                    .registry
                    .list(&scope, &registry::ListOptions::default())
                    .await
                    .unwrap()
                    .items
                    .is_empty()
            );
        }
    }
}

#[tokio::test]
async fn a_fenced_write_needs_the_lease() {
    let world = world().await;
    let lease = |holder: &str, transitions: i64| json!({"metadata": {"name": "leader"}, "spec": {"holderIdentity": holder, "leaseTransitions": transitions}});
    let held = world.create("leases", lease("a", 1)).await.unwrap();
    let fence = Fence { namespace: "d".into(), name: "leader".into(), holder: "a".into(), transitions: 1 };
    let options = WriteOptions { fence: Some(fence), ..World::strict() };
    let create = |name: &'static str| {
        let (world, options) = (&world, &options);
        async move {
            world
                .registry
                .create(&world.caller, &at("configmaps", ""), config_map(name, json!({})), options)
                .await
        }
    };
    create("one").await.unwrap();
    let mut next = lease("b", 2);
    next["metadata"]["resourceVersion"] = held["metadata"]["resourceVersion"].clone();
    world.update("leases", next).await.unwrap();
    let refused = create("two").await.unwrap_err();
    assert_eq!(refused.reason, Some(Reason::Conflict));
    assert_eq!(world.get("configmaps", "two").await.unwrap_err().code, 404);
}

#[tokio::test]
async fn bootstrap_gives_every_cluster_its_objects_and_can_be_repeated() {
    let world = bare().await;
    for _ in 0..2 {
        registry::bootstrap::ensure(&world.registry).await.unwrap();
        registry::bootstrap::publish_servers(&world.registry, &["192.0.2.1:6443".parse().unwrap()])
            .await
            .unwrap();
    }
    let revision = world.kv.revision();
    registry::bootstrap::publish_servers(&world.registry, &["192.0.2.1:6443".parse().unwrap()])
        .await
        .unwrap();
    assert_eq!(world.kv.revision(), revision, "nothing changed, so nothing is written");
    let target = api::objects::Target::new(crate::support::gvr("services"), "default", "kubernetes");
    let service: serde_json::Value =
        serde_json::from_slice(&world.registry.get(&target, "").await.unwrap()).unwrap();
    assert_eq!(service["spec"]["clusterIP"], "10.96.0.1");
    let roles = api::GroupVersionResource::new("rbac.authorization.k8s.io", "v1", "clusterroles");
    let cached = world.registry.cached(&roles).unwrap();
    assert!(cached.get("", "cluster-admin").is_some() && cached.get("", "system:node").is_some());
}

#[tokio::test]
async fn events_are_one_thing_in_two_vocabularies_and_expire() {
    let world = world().await;
    let event = json!({"metadata": {"name": "e"}, "reason": "Started", "message": "m", "type": "Normal",
        "involvedObject": {"kind": "Pod", "namespace": "d", "name": "p"}});
    world.create("events", event).await.unwrap();
    let other = api::GroupVersionResource::new("events.k8s.io", "v1", "events");
    let target = api::objects::Target::new(other, "d", "e");
    let seen: serde_json::Value =
        serde_json::from_slice(&world.registry.get(&target, "").await.unwrap()).unwrap();
    assert_eq!((&seen["apiVersion"], &seen["note"]), (&json!("events.k8s.io/v1"), &json!("m")));
    assert_eq!(seen["regarding"]["name"], "p");
    assert!(seen.get("message").is_none());
    let options =
        registry::ListOptions { field_selector: "involvedObject.name=p".into(), ..Default::default() };
    assert_eq!(world.list("events", options).await.unwrap().items.len(), 1);
}
