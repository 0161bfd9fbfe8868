//! Pods: defaults, what may change, binding, eviction.

use api::Reason;
use registry::PatchBody;
use serde_json::{Value, json};

use crate::support::{World, at, pod, world};

async fn bind(world: &World, name: &str, node: &str) -> Result<Value, api::Status> {
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": {"kind": "Node", "name": node}});
    world.create_at(&at("pods", name).subresource("binding"), binding).await
}

#[tokio::test]
async fn a_pod_is_completed_as_users_know_it() {
    let world = world().await;
    let mut object = pod("p");
    object["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "1", "memory": "64Mi"}});
    object["spec"]["containers"][0]["image"] = json!("nginx");
    let pod = world.create("pods", object).await.unwrap();
    let spec = &pod["spec"];
    for (field, value) in [
        ("restartPolicy", json!("Always")),
        ("dnsPolicy", json!("ClusterFirst")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("schedulerName", json!("default-scheduler")),
        ("enableServiceLinks", json!(true)),
        ("serviceAccountName", json!("default")),
        ("priority", json!(0)),
        ("preemptionPolicy", json!("PreemptLowerPriority")),
    ] {
        assert_eq!(spec[field], value, "{field}");
    }
    let container = &spec["containers"][0];
    assert_eq!(container["imagePullPolicy"], "Always");
    assert_eq!(container["resources"]["requests"], json!({"cpu": "1", "memory": "64Mi"}));
    assert_eq!(container["terminationMessagePath"], "/dev/termination-log");
    assert_eq!(container["volumeMounts"][0]["mountPath"], "/var/run/secrets/kubernetes.io/serviceaccount");
    assert_eq!(spec["volumes"][0]["name"], container["volumeMounts"][0]["name"]);
    assert_eq!(spec["volumes"][0]["projected"]["sources"].as_array().unwrap().len(), 3);
    assert_eq!(spec["tolerations"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&pod["status"]["phase"], &pod["status"]["qosClass"]),
        (&json!("Pending"), &json!("Guaranteed"))
    );
}

#[tokio::test]
async fn only_a_few_fields_of_a_pod_may_change() {
    let world = world().await;
    world.create("pods", pod("p")).await.unwrap();
    let target = at("pods", "p");
    let image = PatchBody::Strategic(json!({"spec": {"containers": [{"name": "c", "image": "nginx:2"}]}}));
    let changed = world.patch(&target, image).await.unwrap();
    assert_eq!(changed["spec"]["containers"][0]["image"], "nginx:2");
    let refused =
        world.patch(&target, PatchBody::Merge(json!({"spec": {"hostname": "h"}}))).await.unwrap_err();
    assert_eq!(refused.code, 422);
    assert!(
        refused.message.starts_with(
            "Pod \"p\" is invalid: spec: Forbidden: pod updates may not change fields other than"
        ),
        "{}",
        refused.message
    );
    let toleration = PatchBody::Json(
        json!([{"op": "add", "path": "/spec/tolerations/-", "value": {"key": "k", "operator": "Exists"}}]),
    );
    world.patch(&target, toleration).await.unwrap();
    let removed =
        world.patch(&target, PatchBody::Merge(json!({"spec": {"tolerations": []}}))).await.unwrap_err();
    assert!(removed.message.contains("existing toleration can not be modified"), "{}", removed.message);
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let world = world().await;
    world.create("pods", pod("p")).await.unwrap();
    assert_eq!(bind(&world, "p", "n1").await.unwrap()["status"], "Success");
    let bound = world.get("pods", "p").await.unwrap();
    assert_eq!(bound["spec"]["nodeName"], "n1");
    assert_eq!(bound["status"]["conditions"][0]["type"], "PodScheduled");
    assert_eq!(bound["status"]["conditions"][0]["status"], "True");
    let again = bind(&world, "p", "n2").await.unwrap_err();
    assert_eq!(again.reason, Some(Reason::Conflict));
    assert_eq!(
        again.message,
        "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n1\""
    );
    assert_eq!(bind(&world, "none", "n1").await.unwrap_err().code, 404);
}

#[tokio::test]
async fn an_eviction_spends_the_disruption_budget() {
    let world = world().await;
    for name in ["a", "b"] {
        world.create("pods", pod(name)).await.unwrap();
        bind(&world, name, "n1").await.unwrap();
        let running = PatchBody::Merge(json!({"status": {"phase": "Running"}}));
        world.patch(&at("pods", name).subresource("status"), running).await.unwrap();
    }
    let budget = json!({"metadata": {"name": "pdb"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}});
    world.create("poddisruptionbudgets", budget).await.unwrap();
    let allowed = PatchBody::Merge(json!({"status": {"disruptionsAllowed": 1, "observedGeneration": 1}}));
    world.patch(&at("poddisruptionbudgets", "pdb").subresource("status"), allowed).await.unwrap();
    let evict = |name: &'static str| {
        let world = &world;
        async move {
            world
                .create_at(&at("pods", name).subresource("eviction"), json!({"metadata": {"name": name}}))
                .await
        }
    };
    evict("a").await.unwrap();
    assert!(world.get("pods", "a").await.unwrap()["metadata"]["deletionTimestamp"].is_string());
    let refused = evict("b").await.unwrap_err();
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (429, "Cannot evict pod as it would violate the pod's disruption budget.")
    );
}

#[tokio::test]
async fn a_workload_selects_its_own_template_and_keeps_its_selector() {
    let world = world().await;
    let mut wrong = crate::support::deployment("web");
    wrong["spec"]["template"]["metadata"]["labels"] = json!({"app": "other"});
    let refused = world.create("deployments", wrong).await.unwrap_err();
    assert!(refused.message.contains("`selector` does not match template `labels`"), "{}", refused.message);
    world.create("deployments", crate::support::deployment("web")).await.unwrap();
    let patch = json!({"spec": {"selector": {"matchLabels": {"app": "b"}}, "template": {"metadata": {"labels": {"app": "b"}}}}});
    let refused = world.patch(&at("deployments", "web"), PatchBody::Merge(patch)).await.unwrap_err();
    assert!(refused.message.ends_with("field is immutable"), "{}", refused.message);
}

#[tokio::test]
async fn a_job_selects_by_its_own_uid() {
    let world = world().await;
    let job = json!({"metadata": {"name": "j"}, "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}});
    let created = world.create("jobs", job).await.unwrap();
    let uid = &created["metadata"]["uid"];
    assert_eq!(&created["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"], uid);
    assert_eq!(&created["spec"]["template"]["metadata"]["labels"]["controller-uid"], uid);
    assert_eq!((&created["spec"]["completions"], &created["spec"]["backoffLimit"]), (&json!(1), &json!(6)));
}

#[tokio::test]
async fn ephemeral_containers_are_added_and_stay() {
    let world = world().await;
    world.create("pods", pod("p")).await.unwrap();
    let target = at("pods", "p").subresource("ephemeralcontainers");
    let debugger = json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox"}]}});
    let added = world.patch(&target, PatchBody::Strategic(debugger)).await.unwrap();
    assert_eq!(added["spec"]["ephemeralContainers"][0]["imagePullPolicy"], "Always");
    let none = PatchBody::Merge(json!({"spec": {"ephemeralContainers": []}}));
    assert_eq!(world.patch(&target, none).await.unwrap_err().code, 422);
}

#[tokio::test]
async fn a_node_registers_with_its_status_and_a_status_write_keeps_labels() {
    let world = world().await;
    let node =
        json!({"metadata": {"name": "n1", "labels": {"zone": "a"}}, "status": {"capacity": {"cpu": "2"}}});
    assert_eq!(world.create("nodes", node).await.unwrap()["status"]["capacity"]["cpu"], "2");
    let status = json!({"metadata": {"name": "n1"}, "status": {"capacity": {"cpu": "4"}}});
    let written = world.update_at(&at("nodes", "n1").subresource("status"), status).await.unwrap();
    assert_eq!(
        (&written["metadata"]["labels"]["zone"], &written["status"]["allocatable"]["cpu"]),
        (&json!("a"), &json!("4"))
    );
}
