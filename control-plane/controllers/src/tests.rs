//! Whole controllers on an API server in memory, with a kubelet that only makes pods ready.

use std::sync::Arc;

use api::objects::Objects as _;
use client::{
    Client, Context, fake,
    typed::{Deletion, Propagation},
};
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet},
    batch::v1::Job,
    core::v1::{ConfigMap, Event, Namespace, Node, Pod, Service, ServiceAccount},
    discovery::v1::EndpointSlice,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{Options, pods, run};

struct Cluster {
    objects: fake::Objects,
    client: Client,
    shutdown: CancellationToken,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Cluster {
    async fn start() -> Self {
        let objects = fake::Objects::new();
        let client = Client::new(Arc::new(objects.clone()));
        let shutdown = CancellationToken::new();
        let context = Context::new(Arc::new(objects.clone()), "test", shutdown.clone());
        let options = Options { root_ca: "PEM".into(), ..Options::default() };
        let cluster = Self { objects, client, shutdown };
        cluster.create::<Namespace>(json!({"metadata": {"name": "ns"}})).await;
        tokio::spawn(run::lead(Arc::new(options), context));
        cluster
    }

    /// Binds pods, makes them ready, and finishes those that are deleted.
    fn with_kubelet(self) -> Self {
        let (mut revisions, client) = (self.objects.revisions(), self.client.clone());
        let work = async move {
            loop {
                for pod in client.list::<Pod>("", "").await.unwrap() {
                    keep(&client, pod).await;
                }
                revisions.changed().await.unwrap();
            }
        };
        let shutdown = self.shutdown.clone();
        tokio::spawn(async move { shutdown.run_until_cancelled(work).await });
        self
    }

    async fn create<K: client::Object>(&self, object: Value) -> K {
        self.client.create(&serde_json::from_value::<K>(object).unwrap()).await.unwrap()
    }

    async fn deployment(&self) -> Deployment {
        self.client.get::<Deployment>("ns", "web").await.unwrap()
    }

    async fn patch(&self, patch: Value) {
        self.client.merge::<Deployment>("ns", "web", &patch).await.unwrap();
    }

    async fn pods(&self) -> Vec<Pod> {
        self.client.list::<Pod>("ns", "").await.unwrap()
    }

    /// Waits until the Deployment's rollout is what `kubectl rollout status` calls complete, of this image.
    async fn rolled_out(&self, replicas: i32, image: &str) -> Deployment {
        self.wait("the rollout to finish", async |c| {
            let d = c.client.find::<Deployment>("ns", "web").await.unwrap()?;
            let status = d.status.clone()?;
            let settled = status.observed_generation == d.metadata.generation
                && [status.replicas, status.updated_replicas, status.available_replicas]
                    .iter()
                    .all(|n| n.unwrap_or(0) == replicas);
            let pods = c.pods().await;
            let right = |p: &Pod| p.spec.as_ref().unwrap().containers[0].image.as_deref() == Some(image);
            (settled && pods.len() == replicas as usize && pods.iter().all(right)).then_some(d)
        })
        .await
    }

    async fn wait<T>(&self, what: &str, mut check: impl AsyncFnMut(&Self) -> Option<T>) -> T {
        let found = self.objects.wait_for(async |_| check(self).await);
        let deadline = std::time::Duration::from_secs(600);
        tokio::time::timeout(deadline, found).await.unwrap_or_else(|_| panic!("waited for {what}"))
    }

    /// A task that ends as soon as something holds of the pods.
    fn watch_pods(&self, check: fn(&[Pod]) -> bool) -> tokio::task::JoinHandle<()> {
        let (mut revisions, client) = (self.objects.revisions(), self.client.clone());
        tokio::spawn(async move {
            while !check(&client.list::<Pod>("ns", "").await.unwrap()) {
                revisions.changed().await.unwrap();
            }
        })
    }

    async fn messages(&self, reason: &str) -> Vec<String> {
        let events = self.client.list::<Event>("ns", "").await.unwrap();
        let mut events: Vec<_> = events.into_iter().filter(|e| e.reason.as_deref() == Some(reason)).collect();
        events.sort_by_key(|e| client::refs::revision(&e.metadata));
        events.into_iter().filter_map(|e| e.message).collect()
    }
}

async fn keep(client: &Client, mut pod: Pod) {
    let (namespace, name) = (client::refs::namespace(&pod).to_owned(), client::refs::name(&pod).to_owned());
    if pod.metadata.deletion_timestamp.is_some() {
        let now = Deletion { grace_seconds: Some(0), ..Deletion::default() };
        let _ = client.delete::<Pod>(&namespace, &name, &now).await;
    } else if pods::node_name(&pod).is_empty() {
        let target = api::objects::Target::new(client::typed::resource_of::<Pod>(), &namespace, &name);
        let body = bytes::Bytes::from_static(br#"{"target": {"name": "node"}}"#);
        let _ = client.objects().create(&target.subresource("binding"), body, &Default::default()).await;
    } else if !pods::is_ready(&pod) && !pods::is_terminal(&pod) {
        let octet = client::refs::revision(&pod.metadata) % 250;
        pod.status = serde_json::from_value(json!({
            "phase": "Running", "podIP": format!("10.0.0.{octet}"),
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": client::clock::time()}]
        }))
        .unwrap();
        let _ = client.update_status(&pod).await;
    }
}

fn web(replicas: i32) -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "ns", "annotations": {"note": "x"}},
        "spec": {
            "replicas": replicas, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "one"}]}}
        }
    })
}

fn image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}})
}

#[tokio::test(start_paused = true)]
async fn a_deployment_becomes_ready_pods_and_says_so() {
    let cluster = Cluster::start().await.with_kubelet();
    cluster.create::<Deployment>(web(3)).await;
    let deployment = cluster.rolled_out(3, "one").await;
    let conditions = deployment.status.unwrap().conditions.unwrap();
    let shown: Vec<_> = conditions
        .iter()
        .map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_deref().unwrap()))
        .collect();
    assert!(shown.contains(&("Available", "True", "MinimumReplicasAvailable")), "{shown:?}");
    let progressed = cluster
        .wait("progress", async |c| {
            let conditions = c.deployment().await.status?.conditions?;
            conditions.into_iter().find(|c| c.reason.as_deref() == Some("NewReplicaSetAvailable"))
        })
        .await;
    let sets = cluster.client.list::<ReplicaSet>("ns", "").await.unwrap();
    let name = sets[0].metadata.name.clone().unwrap();
    assert_eq!(progressed.message.unwrap(), format!("ReplicaSet {name:?} has successfully progressed."));
    let annotations = sets[0].metadata.annotations.clone().unwrap();
    assert_eq!(annotations["deployment.kubernetes.io/revision"], "1");
    assert_eq!(
        (annotations["note"].as_str(), annotations["deployment.kubernetes.io/max-replicas"].as_str()),
        ("x", "4")
    );
    assert_eq!(
        cluster.messages("ScalingReplicaSet").await,
        [format!("Scaled up replica set {name} from 0 to 3")]
    );
}

#[tokio::test(start_paused = true)]
async fn an_update_rolls_within_its_bounds_and_can_be_undone() {
    let cluster = Cluster::start().await.with_kubelet();
    cluster.create::<Deployment>(web(4)).await;
    cluster.rolled_out(4, "one").await;
    let watcher = cluster.watch_pods(|pods| {
        let active = pods.iter().filter(|p| pods::is_active(p));
        let ready = active.clone().filter(|p| pods::is_ready(p)).count();
        active.count() > 5 || ready < 3
    });
    cluster.patch(image("two")).await;
    cluster.rolled_out(4, "two").await;
    assert!(!watcher.is_finished(), "more than 5 pods or fewer than 3 ready ones");
    watcher.abort();
    let revision = |d: &Deployment| {
        d.metadata.annotations.as_ref().unwrap()["deployment.kubernetes.io/revision"].clone()
    };
    assert_eq!(revision(&cluster.deployment().await), "2");

    cluster.patch(image("one")).await;
    cluster.rolled_out(4, "one").await;
    assert_eq!(revision(&cluster.deployment().await), "3");
    let sets = cluster.client.list::<ReplicaSet>("ns", "").await.unwrap();
    let mut revisions: Vec<String> = sets
        .iter()
        .map(|s| s.metadata.annotations.as_ref().unwrap()["deployment.kubernetes.io/revision"].clone())
        .collect();
    revisions.sort();
    assert_eq!(revisions, ["2", "3"]);
}

#[tokio::test(start_paused = true)]
async fn a_recreate_update_ends_the_old_pods_first() {
    let cluster = Cluster::start().await.with_kubelet();
    let mut recreate = web(2);
    recreate["spec"]["strategy"] = json!({"type": "Recreate"});
    cluster.create::<Deployment>(recreate).await;
    cluster.rolled_out(2, "one").await;
    let mixed = cluster.watch_pods(|pods| {
        let images = pods.iter().map(|p| p.spec.as_ref().unwrap().containers[0].image.clone());
        images.collect::<std::collections::BTreeSet<_>>().len() > 1
    });
    cluster.patch(image("two")).await;
    cluster.rolled_out(2, "two").await;
    assert!(!mixed.is_finished(), "pods of both revisions at once");
}

#[tokio::test(start_paused = true)]
async fn scaling_pausing_and_resuming_do_what_they_say() {
    let cluster = Cluster::start().await.with_kubelet();
    cluster.create::<Deployment>(web(1)).await;
    cluster.rolled_out(1, "one").await;
    cluster.patch(json!({"spec": {"replicas": 5}})).await;
    cluster.rolled_out(5, "one").await;
    let mut paused = image("two");
    paused["spec"]["paused"] = json!(true);
    paused["spec"]["replicas"] = json!(2);
    cluster.patch(paused).await;
    cluster
        .wait("the paused deployment to shrink", async |c| {
            let pods = c.pods().await;
            let old = |p: &Pod| p.spec.as_ref().unwrap().containers[0].image.as_deref() == Some("one");
            (pods.len() == 2 && pods.iter().all(old)).then_some(())
        })
        .await;
    cluster.patch(json!({"spec": {"paused": false}})).await;
    cluster.rolled_out(2, "two").await;
}

#[tokio::test(start_paused = true)]
async fn old_revisions_beyond_the_limit_are_removed() {
    let cluster = Cluster::start().await.with_kubelet();
    let mut spec = web(1);
    spec["spec"]["revisionHistoryLimit"] = json!(1);
    cluster.create::<Deployment>(spec).await;
    cluster.rolled_out(1, "one").await;
    for name in ["two", "three", "four"] {
        cluster.patch(image(name)).await;
        cluster.rolled_out(1, name).await;
    }
    cluster
        .wait("two replica sets", async |c| {
            (c.client.list::<ReplicaSet>("ns", "").await.unwrap().len() == 2).then_some(())
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_pod_is_replaced_and_a_relabeled_one_released() {
    let cluster = Cluster::start().await.with_kubelet();
    cluster.create::<Deployment>(web(2)).await;
    cluster.rolled_out(2, "one").await;
    let first = cluster.pods().await[0].metadata.name.clone().unwrap();
    cluster.client.delete::<Pod>("ns", &first, &Deletion::default()).await.unwrap();
    cluster
        .wait("a new pod", async |c| {
            let pods = c.pods().await;
            (pods.len() == 2
                && pods.iter().all(|p| p.metadata.name.as_ref() != Some(&first) && pods::is_ready(p)))
            .then_some(())
        })
        .await;
    let second = cluster.pods().await[0].metadata.name.clone().unwrap();
    cluster
        .client
        .merge::<Pod>("ns", &second, &json!({"metadata": {"labels": {"app": "debug"}}}))
        .await
        .unwrap();
    cluster
        .wait("the pod to be released and replaced", async |c| {
            let pods = c.pods().await;
            let freed = pods.iter().find(|p| p.metadata.name.as_ref() == Some(&second))?;
            (pods.len() == 3 && client::refs::controller_of(&freed.metadata).is_none()).then_some(())
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_failing_creation_is_reported_and_overcome() {
    let cluster = Cluster::start().await;
    cluster
        .create::<ReplicaSet>(json!({
            "metadata": {"name": "set", "namespace": "ns"},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"a": "b"}},
                     "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}}}
        }))
        .await;
    cluster.objects.fail_writes(6, api::Status::failure(api::Reason::Forbidden, "exceeded quota"));
    cluster.wait("three pods", async |c| (c.pods().await.len() == 3).then_some(())).await;
    let status = cluster
        .wait("a clean status", async |c| {
            let status = c.client.get::<ReplicaSet>("ns", "set").await.unwrap().status?;
            (status.replicas == 3 && status.conditions.is_none()).then_some(status)
        })
        .await;
    assert_eq!(status.fully_labeled_replicas, Some(3));
}

#[tokio::test(start_paused = true)]
async fn deleting_an_owner_deletes_what_it_owns() {
    for propagation in [Propagation::Background, Propagation::Foreground] {
        let cluster = Cluster::start().await.with_kubelet();
        cluster.create::<Deployment>(web(2)).await;
        cluster.rolled_out(2, "one").await;
        let deletion = Deletion { propagation: Some(propagation), ..Deletion::default() };
        cluster.client.delete::<Deployment>("ns", "web", &deletion).await.unwrap();
        cluster
            .wait("everything to go", async |c| {
                let sets = c.client.list::<ReplicaSet>("ns", "").await.unwrap();
                let deployment = c.client.find::<Deployment>("ns", "web").await.unwrap();
                (deployment.is_none() && sets.is_empty() && c.pods().await.is_empty()).then_some(())
            })
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn orphaned_children_stay_and_are_adopted_again() {
    let cluster = Cluster::start().await.with_kubelet();
    cluster.create::<Deployment>(web(2)).await;
    cluster.rolled_out(2, "one").await;
    let deletion = Deletion { propagation: Some(Propagation::Orphan), ..Deletion::default() };
    cluster.client.delete::<Deployment>("ns", "web", &deletion).await.unwrap();
    cluster
        .wait("the deployment to go", async |c| {
            c.client.find::<Deployment>("ns", "web").await.unwrap().is_none().then_some(())
        })
        .await;
    let sets = cluster.client.list::<ReplicaSet>("ns", "").await.unwrap();
    assert!(sets.len() == 1 && client::refs::controller_of(&sets[0].metadata).is_none());
    let pods: Vec<_> = cluster.pods().await.into_iter().map(|p| p.metadata.uid).collect();
    cluster.create::<Deployment>(web(2)).await;
    cluster.rolled_out(2, "one").await;
    let after: Vec<_> = cluster.pods().await.into_iter().map(|p| p.metadata.uid).collect();
    assert_eq!(pods, after);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_gets_its_account_and_ends_with_all_its_content() {
    let cluster = Cluster::start().await.with_kubelet();
    cluster
        .wait("account and certificate", async |c| {
            c.client.find::<ServiceAccount>("ns", "default").await.unwrap()?;
            let bundle = c.client.find::<ConfigMap>("ns", "kube-root-ca.crt").await.unwrap()?;
            (bundle.data?["ca.crt"] == "PEM").then_some(())
        })
        .await;
    cluster.create::<Deployment>(web(2)).await;
    cluster.rolled_out(2, "one").await;
    cluster.client.delete::<Namespace>("", "ns", &Deletion::default()).await.unwrap();
    cluster
        .wait("the namespace to go", async |c| {
            c.client.find::<Namespace>("", "ns").await.unwrap().is_none().then_some(())
        })
        .await;
    assert!(cluster.pods().await.is_empty());
    assert!(cluster.client.list::<Deployment>("ns", "").await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_service_follows_its_pods() {
    let cluster = Cluster::start().await.with_kubelet();
    cluster.create::<Service>(json!({
        "metadata": {"name": "web", "namespace": "ns"},
        "spec": {"clusterIP": "10.96.0.9", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}
    }))
    .await;
    cluster.create::<Deployment>(web(3)).await;
    let ready = |slices: &[EndpointSlice]| {
        let endpoints = slices.iter().flat_map(|s| s.endpoints.iter().flatten());
        endpoints.filter(|e| e.conditions.as_ref().unwrap().ready == Some(true)).count()
    };
    for replicas in [3, 1] {
        cluster.patch(json!({"spec": {"replicas": replicas}})).await;
        cluster
            .wait("the slices to follow", async |c| {
                let slices =
                    c.client.list::<EndpointSlice>("ns", "kubernetes.io/service-name=web").await.unwrap();
                let endpoints =
                    c.client.find::<k8s_openapi::api::core::v1::Endpoints>("ns", "web").await.unwrap()?;
                let legacy =
                    endpoints.subsets.iter().flatten().flat_map(|s| s.addresses.iter().flatten()).count();
                (ready(&slices) == replicas && legacy == replicas && slices.len() == 1).then_some(())
            })
            .await;
    }
    cluster.client.delete::<Service>("ns", "web", &Deletion::default()).await.unwrap();
    cluster
        .wait("the slices to go", async |c| {
            c.client.list::<EndpointSlice>("ns", "").await.unwrap().is_empty().then_some(())
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_is_tainted_and_its_pods_leave() {
    let cluster = Cluster::start().await;
    let ready = json!([{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}]);
    for name in ["lost", "well"] {
        cluster.create::<Node>(json!({"metadata": {"name": name}, "status": {"conditions": ready}})).await;
    }
    let client = cluster.client.clone();
    let heart = tokio::spawn(async move {
        for second in 0.. {
            let beat = format!("2026-01-01T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60);
            let patch = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": beat}]}});
            let kind = api::objects::PatchType::Merge;
            client.patch::<Node>("", "well", "status", kind, &patch).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_secs(10)).await;
        }
    });
    for (name, tolerations) in [("leaves", json!([])), ("stays", json!([{"operator": "Exists"}]))] {
        cluster
            .create::<Pod>(json!({
                "metadata": {"name": name, "namespace": "ns"},
                "spec": {"nodeName": "lost", "containers": [], "tolerations": tolerations},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
            }))
            .await;
    }
    cluster
        .wait("the pod to leave", async |c| {
            let leaves = c.client.get::<Pod>("ns", "leaves").await.unwrap();
            let stays = c.client.get::<Pod>("ns", "stays").await.unwrap();
            let node = c.client.get::<Node>("", "lost").await.unwrap();
            let cidr = node.spec.as_ref()?.pod_cidr.clone()?;
            let taints = node.spec?.taints?.len();
            assert!(stays.metadata.deletion_timestamp.is_none());
            (leaves.metadata.deletion_timestamp.is_some()
                && !pods::is_ready(&stays)
                && taints == 2
                && cidr.starts_with("10.244."))
            .then_some(())
        })
        .await;
    let well = cluster.client.get::<Node>("", "well").await.unwrap().spec.unwrap();
    assert!(well.taints.unwrap_or_default().is_empty() && well.pod_cidr.is_some());
    heart.abort();
}

#[tokio::test(start_paused = true)]
async fn a_job_counts_its_pods_and_completes() {
    let cluster = Cluster::start().await.with_kubelet();
    cluster.create::<Job>(json!({
        "metadata": {"name": "work", "namespace": "ns"},
        "spec": {"completions": 4, "parallelism": 2, "template": {"spec": {"containers": [], "restartPolicy": "Never"}}}
    }))
    .await;
    let client = cluster.client.clone();
    let mut revisions = cluster.objects.revisions();
    let finisher = tokio::spawn(async move {
        loop {
            for pod in client.list::<Pod>("ns", "").await.unwrap() {
                if pods::phase(&pod) == "Running" {
                    let mut done = pod.clone();
                    done.status.as_mut().unwrap().phase = Some("Succeeded".to_owned());
                    let _ = client.update_status(&done).await;
                }
            }
            revisions.changed().await.unwrap();
        }
    });
    cluster
        .wait("the job to complete", async |c| {
            let status = c.client.find::<Job>("ns", "work").await.unwrap()?.status?;
            let complete = status.conditions?.iter().any(|x| x.type_ == "Complete" && x.status == "True");
            (complete && status.succeeded == Some(4) && c.pods().await.len() == 4).then_some(())
        })
        .await;
    finisher.abort();
    cluster
        .client
        .merge::<Job>("ns", "work", &json!({"spec": {"ttlSecondsAfterFinished": 0}}))
        .await
        .unwrap();
    cluster
        .wait("the job and its pods to expire", async |c| {
            (c.client.find::<Job>("ns", "work").await.unwrap().is_none() && c.pods().await.is_empty())
                .then_some(())
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_stateful_set_rolls_its_numbered_pods_and_keeps_its_claims() {
    let cluster = Cluster::start().await.with_kubelet();
    cluster.create::<StatefulSet>(json!({
        "metadata": {"name": "db", "namespace": "ns"},
        "spec": {"replicas": 3, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
                 "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}],
                 "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": "one"}]}}}
    }))
    .await;
    for image_name in ["one", "two"] {
        cluster.client.merge::<StatefulSet>("ns", "db", &image(image_name)).await.unwrap();
        cluster
            .wait("all pods to have the image", async |c| {
                let status = c.client.get::<StatefulSet>("ns", "db").await.unwrap().status?;
                let pods = c.pods().await;
                let right =
                    |p: &Pod| p.spec.as_ref().unwrap().containers[0].image.as_deref() == Some(image_name);
                let names: Vec<_> = pods.iter().map(client::refs::name).collect();
                (status.current_revision == status.update_revision
                    && status.ready_replicas == Some(3)
                    && names == ["db-0", "db-1", "db-2"]
                    && pods.iter().all(right))
                .then_some(())
            })
            .await;
    }
    let claims =
        cluster.client.list::<k8s_openapi::api::core::v1::PersistentVolumeClaim>("ns", "").await.unwrap();
    assert_eq!(
        claims.iter().map(client::refs::name).collect::<Vec<_>>(),
        ["data-db-0", "data-db-1", "data-db-2"]
    );
    assert_eq!(cluster.client.list::<ControllerRevision>("ns", "").await.unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_daemon_set_covers_nodes_as_they_come_and_go() {
    let cluster = Cluster::start().await;
    cluster.create::<DaemonSet>(json!({
        "metadata": {"name": "agent", "namespace": "ns"},
        "spec": {"selector": {"matchLabels": {"app": "a"}},
                 "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "one"}]}}}
    }))
    .await;
    for name in ["one", "two"] {
        cluster.create::<Node>(json!({"metadata": {"name": name}})).await;
    }
    let covered = async |c: &Cluster| {
        let mut nodes = Vec::new();
        for pod in c.pods().await {
            let affinity = pod.spec.clone()?.affinity?.node_affinity?;
            let term =
                affinity.required_during_scheduling_ignored_during_execution?.node_selector_terms.remove(0);
            nodes.push(term.match_fields?.remove(0).values?.remove(0));
        }
        nodes.sort();
        (nodes == ["one", "two"]).then_some(())
    };
    cluster.wait("a pod for each node", covered).await;
    cluster.client.delete::<Node>("", "two", &Deletion::default()).await.unwrap();
    cluster.wait("the pod of the lost node to go", async |c| (c.pods().await.len() == 1).then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn a_write_refused_for_a_lost_fence_changes_nothing() {
    let objects = fake::Objects::new();
    let fence = api::objects::Fence {
        namespace: "kube-system".into(),
        name: "x".into(),
        holder: "me".into(),
        transitions: 1,
    };
    let client = Client::new(Arc::new(objects.clone())).fenced(Some(fence));
    let refused = client
        .create(&serde_json::from_value::<Namespace>(json!({"metadata": {"name": "n"}})).unwrap())
        .await;
    assert!(refused.unwrap_err().is_conflict());
    assert_eq!(objects.revision(), 0);
    let all =
        api::objects::Scope { resource: client::typed::resource_of::<Namespace>(), namespace: String::new() };
    assert!(objects.list(&all, &Default::default()).await.unwrap().items.is_empty());
}
