//! Logs and tunnels, through the API server to a node agent.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod harness;

use harness::{ANN, Client, Cluster, wait_for};
use http::Method;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A pod `p` with two containers, bound to a node whose agent answers.
async fn pod(cluster: &Cluster) -> Client {
    let port = harness::node::start(&cluster.authority).await;
    let mut admin = cluster.admin().await;
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}});
    admin.post("/api/v1/nodes", &node).await;
    let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}});
    let merge = "application/merge-patch+json";
    let patched = admin.send(Method::PATCH, "/api/v1/nodes/n1/status", merge, status.to_string()).await;
    assert_eq!(patched.code, 200, "{:?}", patched.body);
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    admin.post("/api/v1/namespaces/default/serviceaccounts", &account).await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"nodeName": "n1",
        "containers": [{"name": "c", "image": "i"}, {"name": "broken", "image": "i"}]}});
    let created = admin.post("/api/v1/namespaces/default/pods", &pod).await;
    assert_eq!(created.code, 201, "{:?}", created.body);
    admin
}

const POD: &str = "/api/v1/namespaces/default/pods/p";

#[tokio::test]
async fn logs_come_from_the_agent_with_its_errors() {
    let cluster = Cluster::start().await;
    let mut admin = pod(&cluster).await;
    let logs = admin.get(&format!("{POD}/log?container=c&tailLines=3&follow=true")).await;
    assert_eq!(logs.body, "asked for /containerLogs/default/p/c?follow=true&tailLines=3\n");
    let waiting = admin.get(&format!("{POD}/log?container=broken")).await;
    assert_eq!(waiting.code, 400);
    assert_eq!(waiting.message(), "container \"broken\" in pod \"p\" is waiting to start: ContainerCreating");
    let which = admin.get(&format!("{POD}/log")).await.message();
    assert_eq!(which, "a container name must be specified for pod p, choose one of: [c broken]");
    assert_eq!(admin.get("/api/v1/namespaces/default/pods/none/log").await.code, 404);
}

#[tokio::test]
async fn an_upgrade_becomes_an_opaque_tunnel() {
    let cluster = Cluster::start().await;
    let admin = pod(&cluster).await;
    let mut client = admin
        .with("connection", "Upgrade")
        .with("upgrade", "websocket")
        .with("sec-websocket-version", "13")
        .with("sec-websocket-key", "x")
        .with("sec-websocket-protocol", "v5.channel.k8s.io");
    let path = format!("{POD}/exec?container=c&command=ls&command=-l&stdout=true&stdin=true");
    let response = client.open(Method::GET, &path, "", "").await;
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["sec-websocket-protocol"], "v5.channel.k8s.io");
    let mut tunnel = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    tunnel.write_all(b"hello\0\xff").await.unwrap();
    let expect = b"/exec/default/p/c?input=1&output=1&command=ls&command=-l\nhello\0\xff";
    let mut got = vec![0; expect.len()];
    tokio::time::timeout(harness::DEADLINE, tunnel.read_exact(&mut got)).await.expect("in time").unwrap();
    assert_eq!(got, expect);
}

#[tokio::test]
async fn running_a_command_needs_the_right_to_create_even_by_get() {
    let cluster = Cluster::start().await;
    let mut admin = pod(&cluster).await;
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r"},
        "rules": [{"apiGroups": [""], "resources": ["pods/exec", "pods/log"], "verbs": ["get"]}]});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "r"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ann"}]});
    assert_eq!(admin.post(&format!("{rbac}/roles"), &role).await.code, 201);
    assert_eq!(admin.post(&format!("{rbac}/rolebindings"), &binding).await.code, 201);
    let ann = cluster.without_certificate().await.with("authorization", &format!("Bearer {ANN}"));
    let ann = tokio::sync::Mutex::new(ann);
    let log = format!("{POD}/log?container=c");
    wait_for("the binding to count", || async { ann.lock().await.get(&log).await.code == 200 }).await;
    let mut ann = ann.into_inner().with("connection", "Upgrade").with("upgrade", "websocket");
    let refused = ann.get(&format!("{POD}/exec?container=c&command=ls&stdout=true")).await;
    assert_eq!(refused.code, 403);
    assert!(refused.message().contains("cannot create resource \"pods/exec\""), "{}", refused.message());
}
