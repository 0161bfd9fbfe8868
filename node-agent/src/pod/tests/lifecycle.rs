use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

use super::{Node, is_ready, phase, restarts, row, waiting};
use crate::{
    cri::{Error, Kind},
    pod::tests::Pod,
};

#[tokio::test(start_paused = true)]
async fn a_pod_starts_and_becomes_ready() {
    let node = Node::start().await;
    node.create(json!({"containers": [{"name": "web", "image": "web:1"}]})).await;
    let pod = node.wait_for_pod("ready", is_ready).await;
    assert_eq!(phase(&pod), "Running");
    let status = pod.status.clone().unwrap();
    assert!(status.pod_ip.unwrap().starts_with("10.0.0."));
    assert_eq!(status.host_ip.as_deref(), Some("192.0.2.1"));
    assert_eq!(status.qos_class.as_deref(), Some("BestEffort"));
    let web = row(&pod, "web").unwrap();
    assert!(web.container_id.as_deref().unwrap().starts_with("fake://container-"));
    assert_eq!((web.restart_count, web.started, web.ready), (0, Some(true), true));
    for (reason, text) in [
        ("Pulling", "Pulling image \"web:1\""),
        ("Pulled", "Successfully pulled image \"web:1\" in "),
        ("Created", "Created container: web"),
        ("Started", "Started container web"),
    ] {
        let event = node.wait_for_event(reason, text).await;
        assert_eq!(event.involved_object.field_path.as_deref(), Some("spec.containers{web}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_crashing_container_is_restarted_after_growing_waits() {
    let node = Node::start().await;
    node.runtime.script_exit("web", &[1, 1, 1]);
    let begun = tokio::time::Instant::now();
    node.create(json!({"containers": [{"name": "web", "image": "web:1"}]})).await;
    let pod = node.wait_for_pod("backing off", |p| waiting(p, "web") == "CrashLoopBackOff").await;
    assert_eq!(phase(&pod), "Running");
    let last = row(&pod, "web").unwrap().last_state.clone().unwrap().terminated.unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (1, Some("Error")));
    let message = row(&pod, "web").unwrap().state.clone().unwrap().waiting.unwrap().message.unwrap();
    assert!(message.starts_with("back-off 10s restarting failed container=web pod=p_default("), "{message}");
    node.wait_for_event("BackOff", "Back-off restarting failed container web in pod p_default(").await;
    let pod = node.wait_for_pod("stays up", |p| is_ready(p) && restarts(p, "web") == 3).await;
    // At once, then after 10 s, then after 20 s.
    let waited = begun.elapsed().as_secs();
    assert!((30..40).contains(&waited), "{waited}");
    assert_eq!(row(&pod, "web").unwrap().last_state.clone().unwrap().terminated.unwrap().exit_code, 1);
    node.wait_until("old containers are collected", || node.runtime.counts() == (1, 2)).await;
}

#[tokio::test(start_paused = true)]
async fn init_containers_run_in_turn_and_sidecars_stay() {
    let node = Node::start().await;
    let spec = json!({
        "initContainers": [
            {"name": "first", "image": "setup:1"},
            {"name": "side", "image": "side:1", "restartPolicy": "Always"},
            {"name": "second", "image": "setup:1"},
        ],
        "containers": [{"name": "web", "image": "web:1"}],
    });
    node.create(spec).await;
    let pod =
        node.wait_for_pod("first runs", |p| row(p, "first").is_some_and(|s| s.container_id.is_some())).await;
    assert_eq!(phase(&pod), "Pending");
    assert_eq!(waiting(&pod, "web"), "PodInitializing");
    let initialized = |p: &Pod| {
        let conditions = p.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
        conditions.iter().any(|c| c.type_ == "Initialized" && c.status == "True")
    };
    assert!(!initialized(&pod));
    assert_eq!(node.runtime.running(), ["first"]);
    node.runtime.exit("first", 0);
    node.wait_until("second runs", || node.runtime.running() == ["side", "second"]).await;
    node.runtime.exit("second", 0);
    let pod = node.wait_for_pod("ready", is_ready).await;
    assert!(initialized(&pod));
    assert_eq!(node.runtime.running(), ["side", "web"]);
    assert!(row(&pod, "first").unwrap().ready);
}

#[tokio::test(start_paused = true)]
async fn a_failed_init_container_fails_a_pod_that_never_restarts() {
    let node = Node::start().await;
    node.runtime.script_exit("setup", &[3]);
    let spec = json!({
        "restartPolicy": "Never",
        "initContainers": [{"name": "setup", "image": "setup:1"}],
        "containers": [{"name": "web", "image": "web:1"}],
    });
    node.create(spec).await;
    let pod = node.wait_for_pod("failed", |p| phase(p) == "Failed").await;
    assert_eq!(row(&pod, "setup").unwrap().state.clone().unwrap().terminated.unwrap().exit_code, 3);
    node.wait_until("its sandbox stops", || node.count("stop_sandbox") > 0).await;
    assert_eq!(node.count("create_container web"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_job_succeeds_once() {
    let node = Node::start().await;
    node.runtime.script_exit("web", &[1, 0]);
    node.create(json!({"restartPolicy": "OnFailure", "containers": [{"name": "web", "image": "web:1"}]}))
        .await;
    let pod = node.wait_for_pod("succeeded", |p| phase(p) == "Succeeded").await;
    assert_eq!(restarts(&pod, "web"), 1);
    let end = row(&pod, "web").unwrap().state.clone().unwrap().terminated.unwrap();
    assert_eq!(end.reason.as_deref(), Some("Completed"));
    assert_eq!(node.count("start_container"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_pod_gets_its_grace_and_leaves_nothing() {
    let node = Node::start().await;
    let spec = json!({
        "terminationGracePeriodSeconds": 7,
        "containers": [{"name": "web", "image": "web:1",
            "lifecycle": {"preStop": {"exec": {"command": ["drain"]}}}}],
        "volumes": [{"name": "scratch", "emptyDir": {"medium": "Memory"}}],
    });
    node.create(spec).await;
    let pod = node.wait_for_pod("ready", is_ready).await;
    let pod_dir = node.dir.path().join("pods").join(pod.metadata.uid.as_deref().unwrap());
    assert!(pod_dir.exists());
    node.client.delete::<Pod>("default", "p", &client::typed::Deletion::default()).await.unwrap();
    node.wait_for_no_pod().await;
    node.wait_until("the runtime is empty", || node.runtime.counts() == (0, 0)).await;
    node.wait_until("the directory is gone", || !pod_dir.exists()).await;
    let calls = node.runtime.calls();
    let at = |call: &str| {
        calls.iter().position(|c| c.starts_with(call)).unwrap_or_else(|| panic!("{call}: {calls:?}"))
    };
    assert!(at("exec_sync web drain") < at("stop_container web"));
    assert!(at("stop_container web") < at("stop_sandbox"));
    assert!(at("stop_sandbox") < at("remove_sandbox"));
    assert!(calls.iter().any(|c| c == "stop_container web 7" || c == "stop_container web 30"), "{calls:?}");
    node.wait_for_event("Killing", "Stopping container web").await;
}

#[tokio::test(start_paused = true)]
async fn a_restarted_agent_adopts_what_runs() {
    let mut node = Node::start().await;
    node.runtime.script_exit("web", &[1]);
    let spec = json!({"containers": [{"name": "web", "image": "web:1",
        "readinessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 5}}]});
    node.create(spec).await;
    let before = node.wait_for_pod("ready", |p| is_ready(p) && restarts(p, "web") == 1).await;
    node.stop_agent().await;
    let calls = node.runtime.calls().len();
    node.start_agent();
    node.wait_until("it is probed again", || node.runtime.calls().len() > calls + 2).await;
    let after = node.pod().await.unwrap();
    assert_eq!(before.status, after.status, "adoption shows in nothing");
    let later = &node.runtime.calls()[calls..];
    assert!(later.iter().all(|c| c.starts_with("exec_sync")), "{later:?}");
    // What was deleted while the agent was away goes, and only then.
    node.stop_agent().await;
    let deletion = client::typed::Deletion { grace_seconds: Some(0), ..client::typed::Deletion::default() };
    node.client.delete::<Pod>("default", "p", &deletion).await.unwrap();
    assert_eq!(node.runtime.running(), ["web"]);
    node.start_agent();
    node.wait_until("the orphan is gone", || node.runtime.counts() == (0, 0)).await;
}

#[tokio::test(start_paused = true)]
async fn probes_gate_readiness_and_restart_what_hangs() {
    let node = Node::start().await;
    node.runtime.script_exec("web", 1);
    let exec = |more: serde_json::Value| {
        let mut probe = json!({"exec": {"command": ["check"]}, "periodSeconds": 1, "failureThreshold": 2});
        probe.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        probe
    };
    let spec = json!({"containers": [{"name": "web", "image": "web:1",
        "readinessProbe": exec(json!({"periodSeconds": 5})),
        "livenessProbe": exec(json!({"initialDelaySeconds": 30, "terminationGracePeriodSeconds": 3})),
    }]});
    node.create(spec).await;
    let pod = node.wait_for_pod("runs", |p| phase(p) == "Running").await;
    assert!(!is_ready(&pod));
    node.wait_for_event("Unhealthy", "Readiness probe failed: ").await;
    node.runtime.script_exec("web", 0);
    node.wait_for_pod("ready", is_ready).await;
    node.runtime.script_exec("web", 1);
    node.wait_for_event("Unhealthy", "Liveness probe failed: ").await;
    node.wait_for_event("Killing", "Container web failed liveness probe, will be restarted").await;
    node.wait_until("it is killed", || node.runtime.calls().contains(&"stop_container web 3".to_owned()))
        .await;
    node.runtime.script_exec("web", 0);
    node.wait_for_pod("ready again", |p| is_ready(p) && restarts(p, "web") >= 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_config_map_shows_in_its_files() {
    let node = Node::start().await;
    let map = |text: &str| -> ConfigMap {
        serde_json::from_value(json!({"metadata": {"name": "settings", "namespace": "default"},
            "data": {"colour": text}}))
        .unwrap()
    };
    let spec = json!({
        "containers": [{"name": "web", "image": "web:1",
            "volumeMounts": [{"name": "settings", "mountPath": "/etc/settings"}]}],
        "volumes": [{"name": "settings", "configMap": {"name": "settings"}}],
    });
    node.create(spec).await;
    node.wait_for_event(
        "FailedMount",
        "MountVolume.SetUp failed for volume \"settings\" : configmap \"settings\" not found",
    )
    .await;
    node.client.create(&map("blue")).await.unwrap();
    node.wait_for_pod("ready", is_ready).await;
    let config = node.runtime.config("web").unwrap();
    let mount = config.mounts.iter().find(|m| m.container_path == "/etc/settings").unwrap();
    assert!(mount.readonly);
    let file = std::path::Path::new(&mount.host_path).join("colour");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "blue");
    node.client.merge::<ConfigMap>("default", "settings", &json!({"data": {"colour": "red"}})).await.unwrap();
    node.wait_until("red", || std::fs::read_to_string(&file).is_ok_and(|text| text == "red")).await;
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_not_there_is_tried_again() {
    let node = Node::start().await;
    node.create(json!({"containers": [{"name": "web", "image": "nowhere:1"}]})).await;
    let pod = node.wait_for_pod("pull failed", |p| waiting(p, "web") == "ErrImagePull").await;
    assert_eq!(phase(&pod), "Pending");
    node.wait_for_pod("backing off", |p| waiting(p, "web") == "ImagePullBackOff").await;
    node.wait_for_event("Failed", "Failed to pull image \"nowhere:1\": ").await;
    node.wait_for_event("Failed", "Error: ErrImagePull").await;
    node.wait_for_event("BackOff", "Back-off pulling image \"nowhere:1\"").await;
    node.wait_until("tried again", || node.count("pull_image") >= 3).await;
}

#[tokio::test(start_paused = true)]
async fn bad_configuration_waits_with_a_reason() {
    let node = Node::start().await;
    let env = json!([{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "k"}}}]);
    let spec = json!({"containers": [
        {"name": "web", "image": "web:1", "env": env},
        {"name": "bad", "image": "Bad Name"},
        {"name": "never", "image": "web:2", "imagePullPolicy": "Never"},
    ]});
    node.create(spec).await;
    node.wait_for_pod("all wait", |p| {
        waiting(p, "web") == "CreateContainerConfigError"
            && waiting(p, "bad") == "InvalidImageName"
            && waiting(p, "never") == "ErrImageNeverPull"
    })
    .await;
    node.wait_for_event("Failed", "Error: configmap \"none\" not found").await;
    node.wait_for_event("Failed", "Error: InvalidImageName").await;
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_cannot_be_made_is_tried_again() {
    let node = Node::start().await;
    node.runtime.refuse("run_sandbox", 2, Error::new(Kind::Failed, "no network"));
    node.create(json!({"containers": [{"name": "web", "image": "web:1"}]})).await;
    node.wait_for_event("FailedCreatePodSandBox", "Failed to create pod sandbox: no network").await;
    node.wait_for_pod("ready", is_ready).await;
    assert_eq!(node.count("run_sandbox"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_a_pod() {
    let node = Node::start().await;
    node.create(json!({"activeDeadlineSeconds": 20, "containers": [{"name": "web", "image": "web:1"}]}))
        .await;
    node.wait_for_pod("ready", is_ready).await;
    let pod = node.wait_for_pod("failed", |p| phase(p) == "Failed").await;
    assert_eq!(pod.status.unwrap().reason.as_deref(), Some("DeadlineExceeded"));
    node.wait_until("nothing runs", || node.runtime.running().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_image_restarts_its_container() {
    let node = Node::start().await;
    node.create(json!({"containers": [{"name": "web", "image": "web:1"}]})).await;
    node.wait_for_pod("ready", is_ready).await;
    let patch = json!({"spec": {"containers": [{"name": "web", "image": "web:2"}]}});
    node.client.merge::<Pod>("default", "p", &patch).await.unwrap();
    node.wait_for_event("Killing", "Container web definition changed, will be restarted").await;
    node.wait_for_pod("restarted", |p| is_ready(p) && restarts(p, "web") == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_sandbox_is_replaced() {
    let node = Node::start().await;
    node.create(json!({"containers": [{"name": "web", "image": "web:1"}]})).await;
    node.wait_for_pod("ready", is_ready).await;
    crate::cri::Runtime::stop_sandbox(&*node.runtime, "sandbox-0001").await.unwrap();
    node.wait_for_pod("restarted", |p| is_ready(p) && restarts(p, "web") == 1).await;
    assert_eq!(node.count("run_sandbox"), 2);
}
