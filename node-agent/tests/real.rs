//! The agent against the real runtime: containers, cgroups, mounts and a network, as root, in a network
//! namespace of its own. The API is in memory. Without root it says so and passes.
//!
//! The program is its own harness, because it also becomes the pods' shims.

#![expect(clippy::unwrap_used, reason = "a test without a harness is not known as one")]

mod support;

use std::{process::ExitCode, time::Duration};

use k8s_openapi::api::core::v1::{ConfigMap, Event, Node, Pod, Secret};
use serde_json::json;
use support::{Stage, ready, row};

const NAME: &str = "pods_live_on_real_containers";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.peek().is_some_and(|first| first == "shim") {
        return runtime::shim::main(arguments.skip(1));
    }
    let arguments: Vec<String> = arguments.map(|a| a.to_string_lossy().into_owned()).collect();
    let has = |word: &str| arguments.iter().any(|a| a == word);
    if has("--list") {
        if !has("--ignored") {
            println!("{NAME}: test");
        }
        return ExitCode::SUCCESS;
    }
    if has("--ignored") {
        return ExitCode::SUCCESS;
    }
    Stage::play("agent", async |stage| {
        a_node_becomes_ready(stage).await;
        a_pod_serves(stage).await;
        logs_and_exec_reach_it(stage).await;
        a_crash_is_restarted(stage).await;
        a_restarted_agent_adopts_it(stage).await;
        a_changed_config_map_arrives(stage).await;
        a_deleted_pod_leaves_nothing(stage).await;
    });
    println!("test {NAME} ... ok");
    ExitCode::SUCCESS
}

async fn a_node_becomes_ready(stage: &mut Stage) {
    let find = async |stage: &Stage| stage.client.find::<Node>("", "n1").await.unwrap();
    stage.wait_for("registered", find).await;
    let cidr = json!({"spec": {"podCIDR": "10.88.0.0/24", "podCIDRs": ["10.88.0.0/24"]}});
    stage.client.merge::<Node>("", "n1", &cidr).await.unwrap();
    stage.agent.as_mut().unwrap().handle.ready().await;
    let node = stage.client.get::<Node>("", "n1").await.unwrap();
    let info = node.status.unwrap().node_info.unwrap();
    assert!(info.container_runtime_version.contains("://"), "{}", info.container_runtime_version);
}

async fn a_pod_serves(stage: &mut Stage) {
    let map = json!({"metadata": {"name": "settings", "namespace": "default"}, "data": {"colour": "blue"}});
    stage.client.create::<ConfigMap>(&serde_json::from_value(map).unwrap()).await.unwrap();
    let secret = json!({"metadata": {"name": "login", "namespace": "default"}, "data": {"word": "b3Blbg=="}});
    stage.client.create::<Secret>(&serde_json::from_value(secret).unwrap()).await.unwrap();
    let spec = json!({
        "nodeName": "n1",
        "terminationGracePeriodSeconds": 5,
        "securityContext": {"fsGroup": 2000},
        "initContainers": [{
            "name": "setup", "image": "kontiki-hello:1", "command": ["sh", "-c", "echo ready > /scratch/made"],
            "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
        }],
        "containers": [{
            "name": "web", "image": "kontiki-hello:1",
            "ports": [{"name": "http", "containerPort": 8080}],
            "env": [
                {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}}},
                {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            ],
            "resources": {"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"memory": "64Mi", "cpu": "1"}},
            "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1},
            "livenessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 5},
            "volumeMounts": [
                {"name": "scratch", "mountPath": "/scratch"},
                {"name": "settings", "mountPath": "/etc/settings"},
                {"name": "login", "mountPath": "/etc/login", "readOnly": true},
                {"name": "fields", "mountPath": "/etc/fields"},
            ],
        }],
        "volumes": [
            {"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}},
            {"name": "settings", "configMap": {"name": "settings"}},
            {"name": "login", "secret": {"secretName": "login", "defaultMode": 0o400}},
            {"name": "fields", "downwardAPI": {"items": [
                {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        ],
    });
    stage.create_pod("web", spec).await;
    let pod = stage.wait_for_pod("web", "ready", ready).await;
    let ip = pod.status.as_ref().unwrap().pod_ip.clone().unwrap();
    assert!(ip.starts_with("10.88.0."), "{ip}");
    let page = stage.get_page(&ip).await;
    assert!(page.contains("hostname: web"), "{page}");
    let shown = stage
        .exec(
            "web",
            "web",
            "cat /scratch/made /etc/settings/colour /etc/login/word /etc/fields/name; \
        echo; echo $COLOUR $NODE; cat /etc/hosts; cat /etc/resolv.conf",
        )
        .await;
    for part in
        ["ready\n", "blueopenweb\n", "blue n1\n", &format!("{ip}\tweb\n"), "search default.svc.cluster.local"]
    {
        assert!(shown.contains(part), "{part:?} in {shown}");
    }
}

async fn logs_and_exec_reach_it(stage: &mut Stage) {
    let (code, log) = stage.fetch("/containerLogs/default/web/web?tailLines=100", &[]).await;
    assert_eq!(code, 200);
    assert!(log.contains("listening on port 8080"), "{log}");
    let (code, text) = stage.fetch("/containerLogs/default/web/none", &[]).await;
    assert_eq!(code, 404, "{text}");
    let upgrade = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", "v5.channel.k8s.io"),
    ];
    let (code, bytes) =
        stage.fetch("/exec/default/web/web?command=echo&command=hello&output=1", &upgrade).await;
    assert_eq!(code, 101);
    assert!(bytes.contains("hello\n"), "{bytes:?}");
    let (code, summary) = stage.fetch("/stats/summary", &[]).await;
    assert_eq!(code, 200);
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["pods"][0]["podRef"]["name"], "web");
    assert!(summary["pods"][0]["memory"]["workingSetBytes"].as_u64().unwrap() > 0);
    assert_eq!(stage.fetch_anonymously("/pods").await, 401);
}

async fn a_crash_is_restarted(stage: &mut Stage) {
    stage.exec("web", "web", "kill -TERM 1").await;
    let again = |pod: &Pod| ready(pod) && row(pod, "web").is_some_and(|s| s.restart_count == 1);
    let pod = stage.wait_for_pod("web", "restarted", again).await;
    let last = row(&pod, "web").unwrap().last_state.clone().unwrap().terminated.unwrap();
    assert_eq!(last.reason.as_deref(), Some("Completed"), "{last:?}");
    let (code, log) = stage.fetch("/containerLogs/default/web/web?previous=true", &[]).await;
    assert_eq!((code, log.contains("stopping")), (200, true), "{log}");
}

async fn a_restarted_agent_adopts_it(stage: &mut Stage) {
    let before = stage.client.get::<Pod>("default", "web").await.unwrap();
    stage.stop_agent().await;
    let ip = before.status.as_ref().unwrap().pod_ip.clone().unwrap();
    assert!(stage.get_page(&ip).await.contains("version: 1"), "it serves without an agent");
    stage.start_agent();
    stage.agent.as_mut().unwrap().handle.ready().await;
    // Whatever the new agent would do to the pod it does before it answers for it.
    let (code, _) = stage.fetch("/containerLogs/default/web/web?tailLines=1", &[]).await;
    assert_eq!(code, 200);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = stage.client.get::<Pod>("default", "web").await.unwrap();
    assert_eq!(row(&before, "web"), row(&after, "web"));
    assert!(ready(&after));
}

async fn a_changed_config_map_arrives(stage: &mut Stage) {
    stage
        .client
        .merge::<ConfigMap>("default", "settings", &json!({"data": {"colour": "red"}}))
        .await
        .unwrap();
    let red = async |stage: &Stage| {
        (stage.exec("web", "web", "cat /etc/settings/colour").await == "red").then_some(())
    };
    stage.wait_for("red", red).await;
}

async fn a_deleted_pod_leaves_nothing(stage: &mut Stage) {
    stage.client.delete::<Pod>("default", "web", &client::typed::Deletion::default()).await.unwrap();
    let gone = async |stage: &Stage| {
        stage.client.find::<Pod>("default", "web").await.unwrap().is_none().then_some(())
    };
    stage.wait_for("gone from the API", gone).await;
    let empty = async |stage: &Stage| stage.is_empty().await.then_some(());
    stage.wait_for("gone from the node", empty).await;
    let events = stage.client.list::<Event>("default", "").await.unwrap();
    for reason in ["Pulled", "Created", "Started", "Killing"] {
        assert!(events.iter().any(|e| e.reason.as_deref() == Some(reason)), "{reason}");
    }
}
