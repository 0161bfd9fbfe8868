//! Pods that nobody else will remove: of nodes that are gone, unbound ones that end, and too many ended ones.

mod plan;

use std::{collections::HashMap, sync::Arc};

use client::{Client, Error, Informer, error::chain, events::Recorder, refs, typed::Deletion};
use k8s_openapi::api::core::v1::{Node, Pod, PodCondition};
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::warn;

use crate::{environment::Environment, limits, pods};

struct Controller {
    client: Client,
    recorder: Recorder,
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    terminated_max: usize,
    /// Nodes that pods name but that do not exist, and since when.
    missing: Mutex<HashMap<String, Instant>>,
}

pub(crate) fn start(env: &Environment) {
    let controller = Arc::new(Controller {
        client: env.client.clone(),
        recorder: env.recorder("pod-garbage-collector"),
        nodes: env.informers.get(),
        pods: env.informers.get(),
        terminated_max: env.options.terminated_pods_max,
        missing: Mutex::default(),
    });
    env.every(limits::POD_GC_PERIOD, move || {
        let controller = controller.clone();
        async move { controller.pass().await }
    });
}

impl Controller {
    async fn pass(&self) {
        let gone = self.gone_nodes().await;
        let exists = |node: &str| !gone.contains(&node.to_owned());
        for (pod, why) in plan::plan(&self.pods.list(), exists, self.terminated_max) {
            if let Err(error) = self.remove(&pod, why).await {
                warn!(
                    controller = "podgc",
                    pod = refs::name(&*pod),
                    error = chain(&error),
                    "cannot remove the pod"
                );
            }
        }
    }

    /// Nodes that have been missing for long enough, asked for once more.
    async fn gone_nodes(&self) -> Vec<String> {
        let suspects: Vec<String> = {
            let mut missing = self.missing.lock();
            let named: std::collections::BTreeSet<String> = self
                .pods
                .list()
                .iter()
                .map(|p| pods::node_name(p).to_owned())
                .filter(|n| !n.is_empty())
                .collect();
            missing.retain(|node, _| named.contains(node) && self.nodes.find("", node).is_none());
            for node in named {
                if self.nodes.find("", &node).is_none() {
                    missing.entry(node).or_insert_with(Instant::now);
                }
            }
            let long = |since: &Instant| since.elapsed() >= limits::NODE_GONE_QUARANTINE;
            missing.iter().filter(|(_, since)| long(since)).map(|(node, _)| node.clone()).collect()
        };
        let mut gone = Vec::new();
        for node in suspects {
            if matches!(self.client.find::<Node>("", &node).await, Ok(None)) {
                gone.push(node);
            }
        }
        gone
    }

    async fn remove(&self, pod: &Pod, why: plan::Why) -> Result<(), Error> {
        let (namespace, name) = (refs::namespace(pod), refs::name(pod));
        if why == plan::Why::NodeGone && !pods::is_terminal(pod) {
            match self.client.update_status(&failed(pod)).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
            let message = format!("PodGC: node {} no longer exists", pods::node_name(pod));
            self.recorder.normal(pod, "DeletionByPodGC", message);
        }
        let deletion = Deletion { grace_seconds: Some(0), ..Deletion::of_uid(refs::uid(pod)) };
        match self.client.delete::<Pod>(namespace, name, &deletion).await {
            Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
            _ => Ok(()),
        }
    }
}

/// The pod as its owner should see it: failed, because its node is gone.
fn failed(pod: &Pod) -> Pod {
    let mut pod = pod.clone();
    let status = pod.status.get_or_insert_default();
    status.phase = Some("Failed".to_owned());
    let conditions = status.conditions.get_or_insert_default();
    conditions.retain(|c| c.type_ != "DisruptionTarget");
    conditions.push(PodCondition {
        type_: "DisruptionTarget".to_owned(),
        status: "True".to_owned(),
        reason: Some("DeletionByPodGC".to_owned()),
        message: Some("PodGC: node no longer exists".to_owned()),
        last_transition_time: Some(client::clock::time()),
        ..PodCondition::default()
    });
    pod
}
