//! The loop: follows pods and nodes, runs cycles, binds in batches.

use std::{collections::HashMap, sync::Arc, time::Duration};

use api::{
    GroupVersionResource, Reason, Status,
    objects::{Objects, Target, Write},
};
use async_trait::async_trait;
use bytes::Bytes;
use client::{
    Client, Context, Informer, ObjectKey, Plugin,
    events::{EventType, Recorder},
    refs,
};
use futures::{StreamExt, stream::FuturesUnordered};
use k8s_openapi::api::core::v1::{Namespace, Node as KubeNode, ObjectReference, Pod as KubePod};
use serde_json::json;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::{cluster::Cluster, cycle::Scheduler, pod::Pod, queue::Queue};

/// How the scheduler behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Pods are ours when `spec.schedulerName` is this, or empty.
    pub scheduler_name: String,
    /// Most pods placed before their bindings are sent together.
    pub batch_pods_max: usize,
    /// Most batches on their way at once; beyond that placing waits.
    pub batches_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { scheduler_name: "default-scheduler".to_owned(), batch_pods_max: 128, batches_max: 4 }
    }
}

/// The plugin.
#[derive(Default)]
pub struct Scheduling {
    options: Options,
}

impl Scheduling {
    /// With these options.
    pub fn new(options: Options) -> Self {
        Self { options }
    }
}

#[async_trait]
impl Plugin for Scheduling {
    fn name(&self) -> &'static str {
        "kube-scheduler"
    }

    async fn run(self, context: Context) {
        let pods = context.informers.get::<KubePod>();
        let nodes = context.informers.get::<KubeNode>();
        let namespaces = context.informers.get::<Namespace>();
        let (mut pod_changes, mut node_changes) = (pods.changes(), nodes.changes());
        let mut namespace_changes = namespaces.changes();
        tokio::select! {
            () = context.shutdown.cancelled() => return,
            () = context.informers.wait_synced() => {}
        }
        info!("scheduler follows pods and nodes");
        let mut work = Work::new(self.options, &context, pods, nodes, namespaces);
        let mut bindings = FuturesUnordered::new();
        loop {
            let wake = work.queue.tick(Instant::now());
            while bindings.len() < work.options.batches_max {
                let placed = work.place_some();
                if placed.is_empty() {
                    break;
                }
                bindings.push(bind(context.client("kube-scheduler"), placed));
            }
            let ready = work.queue.is_ready() && bindings.len() < work.options.batches_max;
            tokio::select! {
                biased;
                () = context.shutdown.cancelled() => return,
                Some(outcomes) = bindings.next() => work.bound(outcomes),
                changed = node_changes.next_batch() => changed.iter().for_each(|key| work.node_changed(key)),
                changed = pod_changes.next_batch() => changed.iter().for_each(|key| work.pod_changed(key)),
                changed = namespace_changes.next_batch() => changed.iter().for_each(|key| work.namespace_changed(key)),
                () = until(wake) => {}
                () = std::future::ready(()), if ready => tokio::task::yield_now().await,
            }
        }
    }
}

async fn until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// A pod that was given a node, and what the API said to it.
struct Placed {
    pod: Pod,
    node: String,
}

struct Work {
    options: Options,
    cluster: Cluster,
    scheduler: Scheduler,
    queue: Queue,
    /// Pods by UID, as last read; those that wait for a node.
    waiting: HashMap<String, Pod>,
    /// UID of each known pod by key, since a deletion delivers only the key.
    uids: HashMap<ObjectKey, String>,
    pods: Informer<KubePod>,
    nodes: Informer<KubeNode>,
    namespaces: Informer<Namespace>,
    events: Recorder,
    objects: Arc<dyn Objects>,
    /// Reports of pods that fit nowhere, on their way to the API; bounded by a semaphore.
    reports: Arc<tokio::sync::Semaphore>,
    client: Client,
    tasks: tokio_util::task::TaskTracker,
}

/// Most reports of unschedulable pods on their way at once; further ones are sent when the pod is tried again.
const REPORTS_MAX: usize = 64;

impl Work {
    fn new(
        options: Options,
        context: &Context,
        pods: Informer<KubePod>,
        nodes: Informer<KubeNode>,
        namespaces: Informer<Namespace>,
    ) -> Self {
        let (events, writer) =
            Recorder::new(Client::new(Arc::clone(&context.objects)), &options.scheduler_name, "");
        let tasks = tokio_util::task::TaskTracker::new();
        tasks.spawn(writer.run(context.shutdown.clone()));
        let mut work = Self {
            events,
            options,
            cluster: Cluster::default(),
            scheduler: Scheduler::default(),
            queue: Queue::default(),
            waiting: HashMap::new(),
            uids: HashMap::new(),
            pods,
            nodes,
            namespaces,
            objects: Arc::clone(&context.objects),
            reports: Arc::new(tokio::sync::Semaphore::new(REPORTS_MAX)),
            client: context.client("kube-scheduler"),
            tasks,
        };
        for node in work.nodes.list() {
            work.cluster.put_node(&node);
        }
        for namespace in work.namespaces.list() {
            work.namespace_changed(&ObjectKey::of(&namespace.metadata));
        }
        for pod in work.pods.list() {
            work.pod_changed(&ObjectKey::of(&pod.metadata));
        }
        work
    }

    fn node_changed(&mut self, key: &ObjectKey) {
        let helped = match self.nodes.get(key) {
            Some(node) => self.cluster.put_node(&node),
            None => {
                self.cluster.remove_node(&key.name);
                false
            }
        };
        if helped {
            self.queue.help(Instant::now());
        }
    }

    fn namespace_changed(&mut self, key: &ObjectKey) {
        match self.namespaces.get(key) {
            Some(namespace) => {
                let labels = namespace.metadata.labels.clone().unwrap_or_default();
                self.cluster.namespaces.insert(key.name.clone(), labels);
            }
            None => {
                self.cluster.namespaces.remove(&key.name);
            }
        }
    }

    fn pod_changed(&mut self, key: &ObjectKey) {
        let pod = self.pods.get(key).and_then(|pod| Pod::read(&pod));
        let before = self.uids.get(key).cloned();
        if let Some(before) = before.filter(|before| pod.as_ref().is_none_or(|pod| pod.uid != *before)) {
            self.forget(&before);
        }
        let Some(pod) = pod else {
            self.uids.remove(key);
            return;
        };
        self.uids.insert(key.clone(), pod.uid.clone());
        if !pod.node.is_empty() {
            self.waiting.remove(&pod.uid);
            self.queue.remove(&pod.uid);
            if pod.finished {
                self.release(&pod.uid);
            } else {
                let node = pod.node.clone();
                self.cluster.place(&pod, &node);
            }
        } else if self.is_ours(&pod) {
            // Our own report that a pod fits nowhere changes the pod, but nothing that could make it fit.
            let judged = |known: &Pod| (known.requirements.class, known.priority);
            if self.waiting.get(&pod.uid).map(judged) != Some(judged(&pod)) {
                self.queue.add(&pod.uid, pod.priority);
            }
            self.waiting.insert(pod.uid.clone(), pod);
        } else {
            self.waiting.remove(&pod.uid);
            self.queue.remove(&pod.uid);
        }
    }

    fn is_ours(&self, pod: &Pod) -> bool {
        let named = pod.scheduler.is_empty() || pod.scheduler == self.options.scheduler_name;
        named && !pod.terminating && !pod.finished && !pod.gated
    }

    fn forget(&mut self, uid: &str) {
        self.waiting.remove(uid);
        self.queue.remove(uid);
        self.release(uid);
    }

    fn release(&mut self, uid: &str) {
        if self.cluster.displace(uid) {
            self.queue.help(Instant::now());
        }
    }

    /// Runs cycles until the queue is empty or a batch is full.
    fn place_some(&mut self) -> Vec<Placed> {
        let mut placed = Vec::new();
        while placed.len() < self.options.batch_pods_max {
            let Some(uid) = self.queue.pop() else { break };
            let Some(pod) = self.waiting.get(&uid).cloned() else {
                self.queue.remove(&uid);
                continue;
            };
            match self.scheduler.choose(&pod.requirements, &self.cluster) {
                Ok(slot) => {
                    let node = self.cluster.nodes[slot].name.clone();
                    self.cluster.place(&pod, &node);
                    placed.push(Placed { pod, node });
                }
                Err(why) => {
                    debug!(pod = %pod.key(), %why, "pod fits nowhere");
                    self.queue.park(&uid, Instant::now());
                    self.report(&pod, &why.to_string());
                }
            }
        }
        placed
    }

    fn report(&self, pod: &Pod, why: &str) {
        self.events.event(&reference(pod), EventType::Warning, "FailedScheduling", why);
        let Some(cached) = self.pods.find(&pod.namespace, &pod.name) else { return };
        let known = cached.status.iter().flat_map(|s| s.conditions.iter().flatten());
        if known
            .into_iter()
            .any(|c| c.type_ == "PodScheduled" && c.status == "False" && c.message.as_deref() == Some(why))
        {
            return;
        }
        let Ok(permit) = Arc::clone(&self.reports).try_acquire_owned() else { return };
        let condition = json!({"status": {"conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why,
            "lastTransitionTime": k8s_openapi::jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        }]}, "metadata": {"uid": pod.uid}});
        let target = Target::new(resource(), &pod.namespace, &pod.name).subresource("status");
        let (objects, options, key) =
            (Arc::clone(&self.objects), self.client.write_options().clone(), pod.key());
        self.tasks.spawn(async move {
            let _permit = permit;
            let body = Bytes::from(condition.to_string());
            let patched = objects.patch(&target, api::objects::PatchType::Strategic, body, &options).await;
            if let Err(why) = patched
                && !why.is(Reason::NotFound)
                && !why.is(Reason::Conflict)
            {
                warn!(pod = %key, %why, "cannot report that the pod fits nowhere");
            }
        });
    }

    fn bound(&mut self, outcomes: Vec<(Placed, Result<(), Status>)>) {
        for (placed, outcome) in outcomes {
            let Placed { pod, node } = placed;
            match outcome {
                Ok(()) => {
                    self.waiting.remove(&pod.uid);
                    self.queue.remove(&pod.uid);
                    let message = format!("Successfully assigned {} to {node}", pod.key());
                    self.events.event(&reference(&pod), EventType::Normal, "Scheduled", &message);
                }
                Err(why) => {
                    // Unless the API meanwhile told us that the pod is bound, the assumption was wrong.
                    let confirmed = self.pods.find(&pod.namespace, &pod.name).is_some_and(|known| {
                        refs::uid(known.as_ref()) == pod.uid
                            && known.spec.as_ref().is_some_and(|s| s.node_name.is_some())
                    });
                    if !confirmed {
                        self.release(&pod.uid);
                        self.queue.retry(&pod.uid, Instant::now());
                    }
                    if !why.is(Reason::NotFound) && !why.is(Reason::Conflict) {
                        warn!(pod = %pod.key(), %node, %why, "binding was refused");
                    }
                }
            }
        }
    }
}

/// Longest a batch of bindings may take; then the outcome is unknown and the API's watch decides.
const BIND_TIMEOUT: Duration = Duration::from_secs(30);

async fn bind(client: Client, placed: Vec<Placed>) -> Vec<(Placed, Result<(), Status>)> {
    let writes = placed
        .iter()
        .map(|Placed { pod, node }| {
            let body = json!({
                "apiVersion": "v1", "kind": "Binding",
                "metadata": {"namespace": pod.namespace, "name": pod.name, "uid": pod.uid},
                "target": {"apiVersion": "v1", "kind": "Node", "name": node},
            });
            let target = Target::new(resource(), &pod.namespace, &pod.name).subresource("binding");
            Write::Create(target, Bytes::from(body.to_string()))
        })
        .collect();
    let sent = client.objects().batch(writes, client.write_options());
    let outcome = match tokio::time::timeout(BIND_TIMEOUT, sent).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Status::timeout("the API did not answer to the bindings in time")),
    };
    match outcome {
        Ok(outcomes) => {
            let missing = || Err(Status::internal("the API answered to fewer bindings than it was sent"));
            let mut outcomes = outcomes.into_iter();
            placed.into_iter().map(|p| (p, outcomes.next().unwrap_or_else(missing).map(drop))).collect()
        }
        Err(status) => placed.into_iter().map(|p| (p, Err(status.clone()))).collect(),
    }
}

fn resource() -> GroupVersionResource {
    GroupVersionResource::new("", "v1", "pods")
}

fn reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(pod.namespace.clone()),
        name: Some(pod.name.clone()),
        uid: Some(pod.uid.clone()),
        ..ObjectReference::default()
    }
}
