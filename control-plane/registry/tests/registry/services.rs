//! Services: addresses and ports are handed out once.

use std::collections::HashSet;

use registry::{Options, PatchBody, Registry};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

use crate::support::{World, at, service, with_options, world};

fn ports() -> Value {
    json!([{"port": 80}])
}

#[tokio::test]
async fn a_service_is_given_an_address_and_gives_it_back() {
    let world = world().await;
    let created = world
        .create("services", service("a", json!({"selector": {"app": "x"}, "ports": ports()})))
        .await
        .unwrap();
    let spec = &created["spec"];
    let ip = spec["clusterIP"].as_str().unwrap().to_owned();
    assert!(ip.starts_with("10."));
    assert_eq!(spec["clusterIPs"], json!([ip]));
    assert_eq!((&spec["ipFamilies"], &spec["ipFamilyPolicy"]), (&json!(["IPv4"]), &json!("SingleStack")));
    assert_eq!(spec["ports"][0], json!({"port": 80, "protocol": "TCP", "targetPort": 80}));
    assert_eq!(world.get("ipaddresses", &ip).await.unwrap()["spec"]["parentRef"]["name"], "a");
    let taken =
        world.create("services", service("b", json!({"clusterIP": ip, "ports": ports()}))).await.unwrap_err();
    assert!(taken.message.contains("provided IP is already allocated"), "{}", taken.message);
    world.delete("services", "a", Value::Null).await.unwrap();
    assert_eq!(world.get("ipaddresses", &ip).await.unwrap_err().code, 404);
    world.create("services", service("b", json!({"clusterIP": ip, "ports": ports()}))).await.unwrap();
}

#[tokio::test]
async fn two_servers_never_hand_out_one_address_twice() {
    // 13 usable addresses, and two servers whose caches know nothing of each other's latest write.
    let options = Options { service_cidrs: vec!["10.9.0.0/28".parse().unwrap()], ..Options::default() };
    let world = with_options(options.clone()).await;
    world.populate().await;
    let shutdown = CancellationToken::new();
    let other = Registry::start(Arc::new(world.kv.clone()), options, shutdown.clone()).await.unwrap();
    other.ready().await.unwrap();
    let creates = (0..14).map(|n| {
        let registry = if n % 2 == 0 { &world.registry } else { &other };
        let (caller, target) = (&world.caller, at("services", ""));
        let body = service(&format!("s{n}"), json!({"type": "NodePort", "ports": ports()}));
        async move { registry.create(caller, &target, body, &World::strict()).await }
    });
    let results = futures::future::join_all(creates).await;
    let objects: Vec<Value> = results
        .iter()
        .map(|r| serde_json::from_slice(&r.as_ref().expect("room for 14").json).unwrap())
        .collect();
    let addresses: HashSet<_> = objects.iter().map(|o| o["spec"]["clusterIP"].to_string()).collect();
    let node_ports: HashSet<_> =
        objects.iter().map(|o| o["spec"]["ports"][0]["nodePort"].to_string()).collect();
    assert_eq!((addresses.len(), node_ports.len()), (14, 14));
    let full = world.create("services", service("full", json!({"ports": ports()}))).await.unwrap_err();
    assert_eq!(full.message, "Internal error occurred: failed to allocate a serviceIP: range is full");
    shutdown.cancel();
}

#[tokio::test]
async fn types_change_and_keep_what_they_can() {
    let world = world().await;
    let created = world.create("services", service("a", json!({"ports": ports()}))).await.unwrap();
    let target = at("services", "a");
    let opened = world.patch(&target, PatchBody::Merge(json!({"spec": {"type": "NodePort"}}))).await.unwrap();
    let number = opened["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    assert!((30_000..=32_767).contains(&number));
    assert_eq!(opened["spec"]["clusterIP"], created["spec"]["clusterIP"]);
    // A client that does not know the node port keeps it.
    let same = world
        .update(
            "services",
            service("a", json!({"type": "NodePort", "ports": [{"port": 80, "targetPort": 8080}]})),
        )
        .await
        .unwrap();
    assert_eq!(same["spec"]["ports"][0]["nodePort"], number);
    let moved = world
        .patch(
            &target,
            PatchBody::Merge(json!({"spec": {"clusterIP": "10.96.9.9", "clusterIPs": ["10.96.9.9"]}})),
        )
        .await
        .unwrap_err();
    assert!(moved.message.contains("field is immutable"), "{}", moved.message);
    let taken = service("b", json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": number}]}));
    let taken = world.create("services", taken).await.unwrap_err();
    assert!(taken.message.contains("provided port is already allocated"), "{}", taken.message);
    let closed = world
        .patch(&target, PatchBody::Merge(json!({"spec": {"type": "ClusterIP", "ports": ports()}})))
        .await
        .unwrap();
    assert!(closed["spec"]["ports"][0]["nodePort"].is_null());
    world
        .create(
            "services",
            service("b", json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": number}]})),
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn headless_and_external_services_have_no_address() {
    let world = world().await;
    let headless = world
        .create("services", service("h", json!({"clusterIP": "None", "selector": {"a": "b"}})))
        .await
        .unwrap();
    assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
    let external = world
        .create("services", service("e", json!({"type": "ExternalName", "externalName": "example.com"})))
        .await
        .unwrap();
    assert!(external["spec"]["clusterIP"].is_null());
    let refused = world.create("services", service("1bad", json!({"ports": ports()}))).await.unwrap_err();
    assert!(refused.message.contains("a DNS-1035 label must consist of"), "{}", refused.message);
    let unnamed = world
        .create("services", service("u", json!({"ports": [{"port": 1}, {"port": 2}]})))
        .await
        .unwrap_err();
    assert!(unnamed.message.contains("spec.ports[0].name: Required value"), "{}", unnamed.message);
}

#[tokio::test]
async fn what_nobody_holds_is_given_back() {
    let world = world().await;
    let stray = json!({"metadata": {"name": "10.96.0.77", "labels": {"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}},
        "spec": {"parentRef": {"resource": "services", "namespace": "d", "name": "gone"}}});
    world.create("ipaddresses", stray).await.unwrap();
    let created = world.create("services", service("a", json!({"ports": ports()}))).await.unwrap();
    let ip = created["spec"]["clusterIP"].as_str().unwrap();
    world.delete("ipaddresses", ip, Value::Null).await.unwrap();
    world.registry.list(&crate::support::scope("ipaddresses"), &Default::default()).await.unwrap();
    world.registry.repair_claims().await.unwrap();
    assert_eq!(world.get("ipaddresses", "10.96.0.77").await.unwrap_err().code, 404);
    world.get("ipaddresses", ip).await.unwrap();
}
