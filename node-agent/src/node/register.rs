//! Creating the Node, and keeping its status true.

use std::{sync::Arc, time::Duration};

use api::{Reason, objects::PatchType};
use client::error::chain;
use k8s_openapi::api::core::v1::{Node, NodeStatus};
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::status::{self, Inputs};
use crate::{
    cri, limits,
    shared::Shared,
    sys::{Facts, clock, facts::Usage},
};

/// Keeps the Node object.
pub struct Registrar {
    shared: Arc<Shared>,
    port: u16,
    ready: watch::Sender<bool>,
    pod_cidr: Option<String>,
}

impl Registrar {
    /// For a node whose server listens on `port` (0 for none). `ready` follows the Ready condition.
    pub fn new(shared: Arc<Shared>, port: u16, ready: watch::Sender<bool>) -> Self {
        Self { shared, port, ready, pod_cidr: None }
    }

    /// Registers, then writes the status whenever it changes, and at least every few minutes.
    pub async fn run(mut self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.work()).await;
    }

    async fn work(&mut self) {
        let options = self.shared.options.clone();
        let mut wait = limits::STATUS_RETRY_MIN;
        while let Err(error) = self.register().await {
            warn!(error = chain(&error), "the node could not be registered");
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(limits::STATUS_RETRY_MAX);
        }
        info!(node = options.node_name, "registered");
        let mut last: Option<(NodeStatus, jiff::Timestamp)> = None;
        loop {
            let pause = match self.update(&mut last).await {
                Ok(true) => options.status_interval,
                // Not ready yet: look again soon, so that a node that comes up is used at once.
                Ok(false) => options.status_interval.min(Duration::from_millis(500)),
                Err(error) if error.is_not_found() => {
                    warn!("the node is gone from the API; registering again");
                    last = None;
                    if let Err(error) = self.register().await {
                        warn!(error = chain(&error), "the node could not be registered");
                    }
                    limits::STATUS_RETRY_MIN
                }
                Err(error) => {
                    warn!(error = chain(&error), "the node's status could not be written");
                    limits::STATUS_RETRY_MAX.min(options.status_interval)
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn register(&self) -> Result<(), client::Error> {
        let options = &self.shared.options;
        let inputs = self.inputs().await;
        let node = status::registration(options, &inputs);
        match self.shared.client.create(&node).await {
            Ok(_) => Ok(()),
            Err(error) if error.is(Reason::AlreadyExists) => {
                let labels = status::labels(options, &inputs.facts);
                let patch = json!({"metadata": {"labels": labels}});
                self.shared.client.merge::<Node>("", &options.node_name, &patch).await.map(|_| ())
            }
            Err(error) => Err(error),
        }
    }

    /// Computes the status and writes it if it has to be; answers whether the node is ready.
    async fn update(
        &mut self,
        last: &mut Option<(NodeStatus, jiff::Timestamp)>,
    ) -> Result<bool, client::Error> {
        let options = self.shared.options.clone();
        let name = options.node_name.clone();
        let before = match last.as_ref() {
            Some((status, _)) => status.clone(),
            None => {
                let node = self.shared.client.get::<Node>("", &name).await?;
                self.take_pod_cidr(&node).await;
                node.status.unwrap_or_default()
            }
        };
        let inputs = self.inputs().await;
        let status = status::of(&options, &inputs, &before);
        let ready = status::is_ready(&status);
        let quiet_until = last.as_ref().map(|(_, at)| clock::after(*at, options.status_report_interval));
        let due = quiet_until.is_none_or(|until| inputs.now >= until) || status::differs(&before, &status);
        if due {
            let patch = json!({"status": diff(&before, &status)});
            let written: Node =
                self.shared.client.patch("", &name, "status", PatchType::Strategic, &patch).await?;
            debug!(node = name, ready, "wrote the node's status");
            *last = Some((status, inputs.now));
            self.take_pod_cidr(&written).await;
        } else if self.pod_cidr.is_none() {
            let node = self.shared.client.get::<Node>("", &name).await?;
            self.take_pod_cidr(&node).await;
        }
        self.ready.send_if_modified(|seen| std::mem::replace(seen, ready) != ready);
        Ok(ready && self.pod_cidr.is_some())
    }

    /// Hands the node's pod network to the runtime.
    async fn take_pod_cidr(&mut self, node: &Node) {
        let cidr = node.spec.as_ref().and_then(|s| s.pod_cidr.clone()).filter(|c| !c.is_empty());
        let Some(cidr) = cidr.filter(|c| self.pod_cidr.as_ref() != Some(c)) else { return };
        match self.shared.runtime.update_pod_cidr(&cidr).await {
            Ok(()) => {
                info!(cidr, "the runtime knows its pod network");
                self.pod_cidr = Some(cidr);
            }
            Err(e) => warn!(error = %e, "the runtime did not take its pod network"),
        }
    }

    async fn inputs(&self) -> Inputs {
        let root = self.shared.options.root_dir.clone();
        let read = tokio::task::spawn_blocking(move || (Facts::read(&root), Usage::read(&root))).await;
        let (facts, usage) = read.unwrap_or_default();
        let runtime = &self.shared.runtime;
        let (status, version, images) =
            tokio::join!(runtime.status(), runtime.version(), runtime.list_images());
        let version = version.unwrap_or_default();
        if !version.runtime_name.is_empty() {
            self.shared.node.write().runtime.clone_from(&version.runtime_name);
        }
        Inputs {
            facts,
            usage,
            port: self.port,
            runtime_version: format!("{}://{}", version.runtime_name, version.runtime_version),
            runtime: status.map_err(|e: cri::Error| e.message),
            images: images.unwrap_or_default(),
            now: self.shared.clock.now(),
        }
    }
}

/// The fields that changed. Conditions and addresses are merged by type, so they are sent as they are.
fn diff(before: &NodeStatus, after: &NodeStatus) -> Value {
    let encode = |status: &NodeStatus| match serde_json::to_value(status) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let before = encode(before);
    let changed = encode(after).into_iter().filter(|(key, value)| before.get(key) != Some(value));
    Value::Object(changed.collect())
}
