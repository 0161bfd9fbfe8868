//! Patches and server-side apply.

use api::Reason;
use registry::{PatchBody, WriteOptions};
use serde_json::{Value, json};

use crate::support::{World, at, config_map, deployment, world};

#[tokio::test]
async fn a_strategic_patch_changes_one_container_and_counts_a_generation() {
    let world = world().await;
    world.create("deployments", deployment("web")).await.unwrap();
    let patch =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "nginx:2.0"}]}}}});
    let patched = world.patch(&at("deployments", "web"), PatchBody::Strategic(patch)).await.unwrap();
    let containers = &patched["spec"]["template"]["spec"]["containers"];
    assert_eq!((&containers[0]["image"], &containers[1]["image"]), (&json!("nginx:2.0"), &json!("side:1")));
    assert_eq!(patched["metadata"]["generation"], 2);
}

#[tokio::test]
async fn patches_race_and_all_of_them_arrive() {
    let world = world().await;
    world.create("configmaps", config_map("a", json!({}))).await.unwrap();
    let target = at("configmaps", "a");
    let patches = (0..20).map(|n| {
        let (world, target) = (&world, &target);
        async move { world.patch(target, PatchBody::Merge(json!({"data": {format!("k{n}"): "v"}}))).await }
    });
    let results = futures::future::join_all(patches).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(world.get("configmaps", "a").await.unwrap()["data"].as_object().unwrap().len(), 21);
}

#[tokio::test]
async fn a_patch_that_names_a_stale_resource_version_is_a_conflict() {
    let world = world().await;
    let first = world.create("configmaps", config_map("a", json!({}))).await.unwrap();
    world.patch(&at("configmaps", "a"), PatchBody::Merge(json!({"data": {"k": "2"}}))).await.unwrap();
    let stale =
        json!({"metadata": {"resourceVersion": first["metadata"]["resourceVersion"]}, "data": {"k": "3"}});
    assert_eq!(
        world.patch(&at("configmaps", "a"), PatchBody::Merge(stale)).await.unwrap_err().reason,
        Some(Reason::Conflict)
    );
}

async fn apply(
    world: &World,
    manager: &str,
    object: Value,
    force: bool,
) -> Result<(Value, bool), api::Status> {
    let options = WriteOptions { field_manager: manager.into(), ..World::strict() };
    let target = at("configmaps", "a");
    let written =
        world.registry.patch(&world.caller, &target, PatchBody::Apply { object, force }, &options).await?;
    Ok((serde_json::from_slice(&written.json).unwrap(), written.created))
}

#[tokio::test]
async fn an_apply_creates_owns_and_conflicts() {
    let world = world().await;
    let wanted = |value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": value}});
    let (first, created) = apply(&world, "one", wanted("1"), false).await.unwrap();
    assert!(created);
    assert_eq!(first["metadata"]["managedFields"][0]["operation"], "Apply");
    let revision = world.kv.revision();
    let (_, created) = apply(&world, "one", wanted("1"), false).await.unwrap();
    assert!(!created);
    assert_eq!(world.kv.revision(), revision, "applying the same again writes nothing");
    let refused = apply(&world, "two", wanted("2"), false).await.unwrap_err();
    assert_eq!(refused.reason, Some(Reason::Conflict));
    let (taken, _) = apply(&world, "two", wanted("2"), true).await.unwrap();
    assert_eq!(taken["data"]["k"], "2");
    let nobody = WriteOptions::default();
    let patch = PatchBody::Apply { object: wanted("3"), force: true };
    assert_eq!(
        world.registry.patch(&world.caller, &at("configmaps", "a"), patch, &nobody).await.unwrap_err().code,
        422
    );
}
