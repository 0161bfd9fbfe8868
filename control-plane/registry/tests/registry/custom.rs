//! Definitions of custom resources, and their objects.

use std::time::Duration;

use api::{GroupVersionResource, Reason, objects::Target};
use registry::{Caller, Deleted, PatchBody, WatchOptions, WriteOptions};
use serde_json::{Value, json};

use crate::support::{World, event, world};

const NAME: &str = "boats.sea.example.com";

fn definitions(name: &str) -> Target {
    Target::new(
        GroupVersionResource::new("apiextensions.k8s.io", "v1", "customresourcedefinitions"),
        "",
        name,
    )
}

fn boats(version: &str, name: &str) -> Target {
    Target::new(GroupVersionResource::new("sea.example.com", version, "boats"), "d", name)
}

fn definition() -> Value {
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "size": {"type": "integer", "default": 3, "minimum": 1},
            "crew": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        }},
        "status": {"type": "object", "properties": {"afloat": {"type": "boolean"}}},
    }}});
    let version = |name: &str, storage: bool| {
        json!({"name": name, "served": true, "storage": storage,
        "schema": schema, "subresources": {"status": {}}})
    };
    json!({"metadata": {"name": NAME}, "spec": {"group": "sea.example.com", "scope": "Namespaced",
        "names": {"plural": "boats", "kind": "Boat", "shortNames": ["bo"]},
        "versions": [version("v1", true), version("v1beta1", false)]}})
}

/// Waits until a condition of the definition has this status, and answers the definition.
async fn wait_for(world: &World, name: &str, kind: &str, status: &str) -> Value {
    let scope = definitions("").scope;
    let mut stream = world.registry.watch(&scope, &WatchOptions::default()).await.unwrap();
    loop {
        let seen = event(&mut stream).await.object.expect("no bookmarks were asked for");
        let seen: Value = serde_json::from_slice(&seen.json).unwrap();
        let conditions = seen["status"]["conditions"].as_array().cloned().unwrap_or_default();
        if seen["metadata"]["name"] == name
            && conditions.iter().any(|c| c["type"] == kind && c["status"] == status)
        {
            return seen;
        }
    }
}

async fn with_boats() -> World {
    let world = world().await;
    world.create_at(&definitions(""), definition()).await.unwrap();
    let settled = wait_for(&world, NAME, "Established", "True").await;
    assert_eq!(settled["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(settled["status"]["acceptedNames"]["listKind"], "BoatList");
    world
}

#[tokio::test]
async fn an_established_definition_serves_its_resource() {
    let world = with_boats().await;
    let boat = json!({"metadata": {"name": "a"}, "spec": {"crew": ["x"]}, "status": {"afloat": true}});
    let boat = world.create_at(&boats("v1", ""), boat).await.unwrap();
    assert_eq!(boat["spec"]["size"], 3, "defaults are those of the schema");
    assert_eq!((&boat["metadata"]["generation"], boat.get("status")), (&json!(1), None));
    let other = world.registry.get(&boats("v1beta1", "a"), "").await.unwrap();
    let other: Value = serde_json::from_slice(&other).unwrap();
    assert_eq!(other["apiVersion"], "sea.example.com/v1beta1");

    let wrong = json!({"metadata": {"name": "b"}, "spec": {"size": 0}});
    assert!(world.create_at(&boats("v1", ""), wrong).await.unwrap_err().is(Reason::Invalid));
    let unknown = json!({"metadata": {"name": "b"}, "spec": {"mast": 1}});
    assert!(world.create_at(&boats("v1", ""), unknown).await.unwrap_err().is(Reason::BadRequest));
}

#[tokio::test]
async fn what_is_not_enforced_is_said() {
    let world = world().await;
    let mut object = definition();
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
    object.pointer_mut(spec).unwrap()["x-kubernetes-validations"] = json!([{"rule": "self.size > 1"}]);
    let written =
        world.registry.create(&world.caller, &definitions(""), object, &World::strict()).await.unwrap();
    assert!(
        written.warnings.iter().any(|w| w.contains("x-kubernetes-validations")),
        "{:?}",
        written.warnings
    );
}

#[tokio::test]
async fn custom_resources_take_every_patch_but_the_strategic_one() {
    let world = with_boats().await;
    let (target, merge) = (boats("v1", "a"), json!({"spec": {"size": 5}}));
    let apply = |name: &str| PatchBody::Apply {
        object: json!({"apiVersion": "sea.example.com/v1", "kind": "Boat", "metadata": {"name": "a"},
            "spec": {"crew": [name]}}),
        force: false,
    };
    world.patch(&target, apply("x")).await.unwrap();
    let other = WriteOptions { field_manager: "other".into(), ..World::strict() };
    world.registry.patch(&world.caller, &target, apply("y"), &other).await.unwrap();
    let boat = world.patch(&target, PatchBody::Merge(merge.clone())).await.unwrap();
    let crew = boat["spec"]["crew"].as_array().unwrap();
    assert!(
        crew.contains(&json!("x")) && crew.contains(&json!("y")),
        "a set is owned item by item: {crew:?}"
    );
    assert_eq!(boat["spec"]["size"], 5);
    let refused = world.patch(&target, PatchBody::Strategic(merge)).await.unwrap_err();
    assert!(refused.is(Reason::UnsupportedMediaType));
    let status = Target { subresource: "status".into(), ..target };
    let afloat = json!({"spec": {"size": 9}, "status": {"afloat": true}});
    let boat = world.patch(&status, PatchBody::Merge(afloat)).await.unwrap();
    assert_eq!((&boat["spec"]["size"], &boat["status"]["afloat"]), (&json!(5), &json!(true)));
}

#[tokio::test]
async fn a_definition_goes_with_its_objects() {
    let world = with_boats().await;
    world.create_at(&boats("v1", ""), json!({"metadata": {"name": "a"}})).await.unwrap();
    let (caller, options) = (Caller::default(), WriteOptions::default());
    let deleted = world.registry.delete(&caller, &definitions(NAME), Value::Null, &options).await.unwrap();
    assert!(matches!(deleted, Deleted::Terminating(_)), "its objects go first");
    tokio::time::timeout(Duration::from_secs(30), async {
        while world.registry.catalog().get(&boats("v1", "").scope.resource).is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("it is withdrawn in time");
    assert!(world.registry.get(&definitions(NAME), "").await.unwrap_err().is(Reason::NotFound));
    world.create_at(&definitions(""), definition()).await.unwrap();
    wait_for(&world, NAME, "Established", "True").await;
    assert!(world.registry.get(&boats("v1", "a"), "").await.unwrap_err().is(Reason::NotFound));
}

#[tokio::test]
async fn names_belong_to_the_first_who_takes_them() {
    let world = with_boats().await;
    let mut second = definition();
    second["metadata"]["name"] = json!("rafts.sea.example.com");
    second["spec"]["names"] = json!({"plural": "rafts", "kind": "Raft", "shortNames": ["bo"]});
    world.create_at(&definitions(""), second).await.unwrap();
    wait_for(&world, "rafts.sea.example.com", "NamesAccepted", "False").await;
    wait_for(&world, "rafts.sea.example.com", "Established", "False").await;
    wait_for(&world, NAME, "Established", "True").await;
}

#[tokio::test]
async fn a_definition_that_makes_no_sense_is_refused() {
    let world = world().await;
    let wrong: [fn(&mut Value); 5] = [
        |d| d["metadata"]["name"] = json!("boats.example.com"),
        |d| d["spec"]["versions"][0]["storage"] = json!(false),
        |d| d["spec"]["versions"][1]["name"] = json!("v1"),
        |d| d["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["type"] = json!("string"),
        |d| d["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["a"] = json!({}),
    ];
    for (at, change) in wrong.into_iter().enumerate() {
        let mut object = definition();
        change(&mut object);
        let refused = world.create_at(&definitions(""), object).await;
        assert!(refused.is_err_and(|why| why.is(Reason::Invalid)), "case {at}");
    }
}
