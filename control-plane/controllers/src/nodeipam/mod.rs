//! Addresses of pods: each node gets its part of the cluster's network.
//!
//! Owns `spec.podCIDR` and `spec.podCIDRs` of nodes that have none.

mod plan;

use std::collections::BTreeMap;

use async_trait::async_trait;
use client::{
    Client, Error, Informer, ObjectKey, Queue,
    driver::{After, Reconcile},
    events::Recorder,
    refs,
};
use k8s_openapi::api::core::v1::Node;
use parking_lot::Mutex;
use serde_json::json;

use self::plan::Parts;
use crate::environment::{Environment, enqueue_changes, patch_seen};

struct Controller {
    client: Client,
    recorder: Recorder,
    nodes: Informer<Node>,
    parts: Parts,
    /// Parts promised to nodes whose change the cache may not show yet, by node.
    promised: Mutex<BTreeMap<String, u64>>,
}

pub(crate) fn start(env: &Environment) {
    let controller = Controller {
        client: env.client.clone(),
        recorder: env.recorder("cidrAllocator"),
        nodes: env.informers.get(),
        parts: Parts::new(env.options.cluster_cidr, env.options.node_cidr_prefix),
        promised: Mutex::default(),
    };
    let queue = Queue::default();
    enqueue_changes(&controller.nodes, &queue);
    env.drive("nodeipam", controller, queue);
}

#[async_trait]
impl Reconcile for Controller {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<After, Error> {
        let Some(node) = self.nodes.get(key).filter(|n| pod_cidr(n).is_none()) else {
            // Either the node is gone, or the cache shows its part: the promise is fulfilled.
            self.promised.lock().remove(&key.name);
            return Ok(After::Change);
        };
        let Some(part) = self.promise(&key.name) else {
            let message = format!("Node {} status is now: CIDRNotAvailable", key.name);
            self.recorder.normal(&*node, "CIDRNotAvailable", message);
            return Err(Error::internal("allocate a pod network for node", &key.name, "none is left"));
        };
        let cidr = self.parts.cidr(part).to_string();
        match patch_seen(&self.client, &*node, json!({"spec": {"podCIDR": cidr, "podCIDRs": [cidr]}})).await {
            Ok(_) => tracing::info!(node = refs::name(&*node), cidr, "pod network allocated"),
            // The next pass makes the same promise again.
            Err(error) => return Err(error),
        }
        Ok(After::Change)
    }
}

impl Controller {
    /// The part for a node: the one promised before, or the first that is free.
    fn promise(&self, node: &str) -> Option<u64> {
        let mut promised = self.promised.lock();
        if let Some(part) = promised.get(node) {
            return Some(*part);
        }
        let nodes = self.nodes.list();
        let taken = nodes.iter().filter_map(|n| pod_cidr(n)).filter_map(|cidr| self.parts.index(cidr));
        let part = self.parts.first_free(taken.chain(promised.values().copied()))?;
        promised.insert(node.to_owned(), part);
        Some(part)
    }
}

fn pod_cidr(node: &Node) -> Option<&str> {
    node.spec.as_ref()?.pod_cidr.as_deref().filter(|c| !c.is_empty())
}
