//! Lifecycles of pods: a worker on a runtime in memory, an API in memory, paused time.

mod lifecycle;
mod plan;

use std::{sync::Arc, time::Duration};

use client::{Informers, events::Recorder, fake, informer::Selection, typed::Client};
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Namespace, Pod, Service};
use parking_lot::RwLock;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Options,
    cri::{self, fake::Fake},
    limits,
    pod::{report, status, supervisor::Supervisor},
    references::References,
    shared::Shared,
    sys::{Clock, Facts, kernel},
};

/// A node on fakes. Dropping it ends the agent but neither the runtime nor the API.
struct Node {
    objects: fake::Objects,
    client: Client,
    runtime: Arc<Fake>,
    kernel: Arc<kernel::Fake>,
    clock: Clock,
    dir: tempfile::TempDir,
    agent: Option<(CancellationToken, TaskTracker)>,
}

impl Node {
    async fn start() -> Self {
        let clock = Clock::tokio();
        let objects = fake::Objects::new();
        let client = Client::new(Arc::new(objects.clone()));
        let namespace = json!({"metadata": {"name": "default"}});
        client.create::<Namespace>(&serde_json::from_value(namespace).unwrap()).await.unwrap();
        let mut node = Self {
            runtime: Arc::new(Fake::new(clock.clone(), &["web:1", "web:2", "setup:1", "side:1"])),
            kernel: Arc::default(),
            dir: tempfile::tempdir().unwrap(),
            agent: None,
            objects,
            client,
            clock,
        };
        node.start_agent();
        node
    }

    fn start_agent(&mut self) {
        let shutdown = CancellationToken::new();
        let objects: Arc<fake::Objects> = Arc::new(self.objects.clone());
        let informers = Informers::new(objects.clone(), shutdown.clone());
        let (recorder, writer) = Recorder::new(self.client.clone(), "kubelet", "n1");
        let reporter = report::Handle::default();
        let shared = Arc::new(Shared {
            options: Options {
                node_name: "n1".into(),
                root_dir: self.dir.path().to_owned(),
                resolv_conf: self.dir.path().join("resolv.conf"),
                ..Options::default()
            },
            runtime: self.runtime.clone() as Arc<dyn cri::Runtime>,
            client: self.client.clone(),
            recorder,
            kernel: self.kernel.clone(),
            clock: self.clock.clone(),
            references: References::new(objects, shutdown.clone()),
            services: informers.get::<Service>(),
            reporter: reporter.clone(),
            pulls: Semaphore::new(limits::PULLS_MAX),
            probes: Arc::new(Semaphore::new(limits::PROBES_AT_ONCE_MAX)),
            facts: Facts::default(),
            node: RwLock::new(status::Node { ips: vec!["192.0.2.1".into()], runtime: "fake".into() }),
        });
        let pods = informers.select::<Pod>(Selection::of_fields("spec.nodeName=n1"));
        let tasks = TaskTracker::new();
        tasks.spawn(writer.run(shutdown.clone()));
        tasks.spawn(reporter.run(self.client.clone(), shutdown.clone()));
        tasks.spawn(Supervisor::new(shared, pods).run(shutdown.clone()));
        self.agent = Some((shutdown, tasks));
    }

    async fn stop_agent(&mut self) {
        let (shutdown, tasks) = self.agent.take().expect("the agent runs");
        shutdown.cancel();
        tasks.close();
        tasks.wait().await;
    }

    async fn create(&self, spec: Value) -> Pod {
        let mut spec = spec;
        spec["nodeName"] = json!("n1");
        let pod = json!({"metadata": {"name": "p", "namespace": "default", "uid": "uid-1"}, "spec": spec});
        self.client.create::<Pod>(&serde_json::from_value(pod).unwrap()).await.unwrap()
    }

    /// Waits until the pod is as a test wants it; the error shows what it is instead.
    async fn wait_for_pod(&self, what: &str, check: impl Fn(&Pod) -> bool) -> Pod {
        let find = async |_: &fake::Objects| self.pod().await.filter(|pod| check(pod));
        let found = tokio::time::timeout(Duration::from_secs(3_600), self.objects.wait_for(find)).await;
        match found {
            Ok(pod) => pod,
            Err(_) => {
                panic!("{what} never held of {:#?}; calls: {:#?}", self.pod().await, self.runtime.calls())
            }
        }
    }

    async fn wait_for_no_pod(&self) {
        let gone = async |_: &fake::Objects| self.pod().await.is_none().then_some(());
        let found = tokio::time::timeout(Duration::from_secs(3_600), self.objects.wait_for(gone)).await;
        found.unwrap_or_else(|_| panic!("the pod stays; calls: {:#?}", self.runtime.calls()));
    }

    /// Waits for something that is not in the API.
    async fn wait_until(&self, what: &str, check: impl Fn() -> bool) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(3_600);
        while !check() {
            assert!(tokio::time::Instant::now() < deadline, "{what} never held; {:#?}", self.runtime.calls());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn pod(&self) -> Option<Pod> {
        self.client.find::<Pod>("default", "p").await.unwrap()
    }

    async fn wait_for_event(&self, reason: &str, part: &str) -> Event {
        let find = async |_: &fake::Objects| {
            let events = self.client.list::<Event>("default", "").await.unwrap();
            let is_it = |e: &Event| {
                e.reason.as_deref() == Some(reason) && e.message.as_deref().is_some_and(|m| m.contains(part))
            };
            events.into_iter().find(is_it)
        };
        let found = tokio::time::timeout(Duration::from_secs(3_600), self.objects.wait_for(find)).await;
        match found {
            Ok(event) => event,
            Err(_) => {
                let events = self.client.list::<Event>("default", "").await.unwrap();
                panic!(
                    "no event {reason} {part}: {:#?}",
                    events.iter().map(|e| (&e.reason, &e.message)).collect::<Vec<_>>()
                )
            }
        }
    }

    fn count(&self, call: &str) -> usize {
        self.runtime.calls().iter().filter(|c| c.starts_with(call)).count()
    }
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("")
}

fn is_ready(pod: &Pod) -> bool {
    pod.status.as_ref().is_some_and(crate::pod::conditions::is_ready)
}

fn row<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let mut rows = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    rows.find(|s| s.name == name)
}

fn waiting<'a>(pod: &'a Pod, name: &str) -> &'a str {
    let state = row(pod, name).and_then(|s| s.state.as_ref());
    state.and_then(|s| s.waiting.as_ref()).and_then(|w| w.reason.as_deref()).unwrap_or("")
}

fn restarts(pod: &Pod, name: &str) -> i32 {
    row(pod, name).map_or(-1, |s| s.restart_count)
}
