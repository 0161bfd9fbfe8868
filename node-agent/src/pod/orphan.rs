//! Pods the runtime has but the API does not: they are stopped and removed, once the API's list is complete.
//! All that is known of them is on their labels and annotations.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use futures::future::join_all;
use tracing::{info, warn};

use super::effects;
use crate::{
    cri::{self, Selector, labels, v1},
    limits,
    shared::Shared,
    volume,
};

/// Removes everything of one pod. Runs again later if anything fails.
pub async fn remove(shared: Arc<Shared>, uid: String) {
    match remove_all(&shared, &uid).await {
        Ok(()) => info!(uid, "removed a pod that the API no longer has"),
        Err(e) => warn!(uid, error = %e, "a pod that the API no longer has could not be removed"),
    }
}

async fn remove_all(shared: &Shared, uid: &str) -> cri::Result<()> {
    let selector = || Selector::from([(labels::POD_UID.to_owned(), uid.to_owned())]);
    let containers = shared.runtime.list_containers(selector()).await?;
    let sandboxes = shared.runtime.list_sandboxes(selector()).await?;
    let running = containers.iter().filter(|c| c.state == v1::ContainerState::ContainerRunning as i32);
    let stops = running.map(|c| shared.runtime.stop_container(&c.id, grace_s(c)));
    for outcome in join_all(stops).await {
        outcome?;
    }
    let mut logs: Vec<PathBuf> = Vec::new();
    for sandbox in &sandboxes {
        shared.runtime.stop_sandbox(&sandbox.id).await?;
        shared.runtime.remove_sandbox(&sandbox.id).await?;
        if let Some(m) = &sandbox.metadata {
            logs.push(shared.options.pod_log_dir(&m.namespace, &m.name, &m.uid));
        }
    }
    for container in &containers {
        shared.runtime.remove_container(&container.id).await?;
    }
    remove_files(shared, uid, logs).await;
    Ok(())
}

/// Unmounts and removes the directories of a pod that runs nowhere.
pub async fn remove_files(shared: &Shared, uid: &str, mut dirs: Vec<PathBuf>) {
    let pod_dir = shared.options.pod_dir(uid);
    match volume::tear_down(Arc::clone(&shared.kernel), pod_dir.clone()).await {
        Ok(()) => dirs.push(pod_dir),
        Err(why) => warn!(uid, why, "volumes of a gone pod stay"),
    }
    effects::remove_dirs(dirs).await;
}

fn grace_s(container: &v1::Container) -> i64 {
    let noted = container.annotations.get(labels::GRACE).and_then(|text| text.parse().ok());
    noted.unwrap_or(limits::GRACE_S_DEFAULT).max(limits::GRACE_S_MIN)
}

/// The state of everything in the runtime, by pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Per pod, the ids of its sandboxes and containers with their states.
    pub pods: BTreeMap<String, BTreeMap<String, i32>>,
}

impl Inventory {
    /// Lists everything.
    pub async fn take(runtime: &dyn cri::Runtime) -> cri::Result<Self> {
        let mut pods: BTreeMap<String, BTreeMap<String, i32>> = BTreeMap::new();
        let mut add = |labels_of: &std::collections::HashMap<String, String>, id: &str, state: i32| {
            if let Some(uid) = labels_of.get(labels::POD_UID) {
                pods.entry(uid.clone()).or_default().insert(id.to_owned(), state);
            }
        };
        for sandbox in runtime.list_sandboxes(Selector::new()).await? {
            add(&sandbox.labels, &sandbox.id, sandbox.state);
        }
        for container in runtime.list_containers(Selector::new()).await? {
            add(&container.labels, &container.id, container.state);
        }
        Ok(Self { pods })
    }

    /// The pods that differ from an earlier inventory.
    pub fn changed(&self, before: &Self) -> Vec<String> {
        let uids = self.pods.keys().chain(before.pods.keys().filter(|uid| !self.pods.contains_key(*uid)));
        uids.filter(|uid| self.pods.get(*uid) != before.pods.get(*uid)).cloned().collect()
    }
}
