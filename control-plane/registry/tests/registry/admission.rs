//! Namespaces, service accounts, priorities, ranges, nodes.

use api::{Reason, objects::Target};
use registry::{Caller, PatchBody, WriteOptions};
use serde_json::json;

use crate::support::{World, at, config_map, gvr, pod, world};

#[tokio::test]
async fn a_namespace_must_exist() {
    let world = world().await;
    let target = Target::new(gvr("configmaps"), "nowhere", "");
    let refused = world.create_at(&target, config_map("a", json!({}))).await.unwrap_err();
    assert_eq!((refused.code, refused.message.as_str()), (404, "namespaces \"nowhere\" not found"));
}

#[tokio::test(start_paused = true)]
async fn a_service_account_must_exist() {
    let world = world().await;
    let mut object = pod("p");
    object["spec"]["serviceAccountName"] = json!("robot");
    let refused = world.create("pods", object).await.unwrap_err();
    assert_eq!(refused.reason, Some(Reason::Forbidden));
    assert_eq!(
        refused.message,
        "pods \"p\" is forbidden: error looking up service account d/robot: serviceaccount \"robot\" not found"
    );
}

#[tokio::test]
async fn a_token_is_not_mounted_where_it_is_not_wanted() {
    let world = world().await;
    let mut object = pod("p");
    object["spec"]["automountServiceAccountToken"] = json!(false);
    let created = world.create("pods", object).await.unwrap();
    assert!(
        created["spec"]["volumes"].is_null() && created["spec"]["containers"][0]["volumeMounts"].is_null()
    );
}

#[tokio::test]
async fn priorities_come_from_classes() {
    let world = world().await;
    registry::bootstrap::ensure(&world.registry).await.unwrap();
    let mut object = pod("p");
    object["spec"]["priorityClassName"] = json!("system-node-critical");
    assert_eq!(world.create("pods", object.clone()).await.unwrap()["spec"]["priority"], 2_000_001_000);
    object["metadata"]["name"] = json!("q");
    object["spec"]["priorityClassName"] = json!("none");
    let refused = world.create("pods", object).await.unwrap_err();
    assert_eq!(refused.message, "pods \"q\" is forbidden: no PriorityClass with name none was found");
}

#[tokio::test]
async fn a_limit_range_gives_defaults_and_bounds() {
    let world = world().await;
    let range = json!({"metadata": {"name": "r"}, "spec": {"limits": [{"type": "Container",
        "default": {"memory": "64Mi"}, "defaultRequest": {"memory": "32Mi"}, "max": {"memory": "128Mi"}}]}});
    world.create("limitranges", range).await.unwrap();
    world.get("limitranges", "r").await.unwrap();
    let created = world.create("pods", pod("p")).await.unwrap();
    let resources = &created["spec"]["containers"][0]["resources"];
    assert_eq!(*resources, json!({"limits": {"memory": "64Mi"}, "requests": {"memory": "32Mi"}}));
    let mut big = pod("big");
    big["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "1Gi"}});
    let refused = world.create("pods", big).await.unwrap_err();
    assert_eq!(
        refused.message,
        "pods \"big\" is forbidden: maximum memory usage per Container is 128Mi, but limit is 1Gi"
    );
}

#[tokio::test]
async fn a_node_writes_only_what_is_its_own() {
    let world = world().await;
    let node =
        Caller { user: "system:node:n1".into(), uid: String::new(), groups: vec!["system:nodes".into()] };
    let options = World::strict();
    let create = |name: &'static str| {
        let (world, node, options) = (&world, &node, &options);
        async move {
            world.registry.create(node, &at("nodes", ""), json!({"metadata": {"name": name}}), options).await
        }
    };
    let own = create("n1").await.unwrap();
    assert!(std::str::from_utf8(&own.json).unwrap().contains("node.kubernetes.io/not-ready"));
    let refused = create("n2").await.unwrap_err();
    assert_eq!(
        refused.message,
        "nodes \"n2\" is forbidden: node \"n1\" is not allowed to modify node \"n2\""
    );
    world.create("pods", pod("p")).await.unwrap();
    let running = || PatchBody::Merge(json!({"status": {"phase": "Running"}}));
    let status = at("pods", "p").subresource("status");
    let refused =
        world.registry.patch(&node, &status, running(), &WriteOptions::default()).await.unwrap_err();
    assert!(refused.message.contains("can only update pod status for pods with spec.nodeName set to itself"));
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}});
    world.create_at(&at("pods", "p").subresource("binding"), binding).await.unwrap();
    world.registry.patch(&node, &status, running(), &WriteOptions::default()).await.unwrap();
}
