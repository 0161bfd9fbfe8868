//! The pods of the node: one worker for each, told what the API and the runtime have to say.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use client::{Informer, ObjectKey};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use tokio::{
    task::{Id, JoinSet},
    time::{Instant, interval_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    orphan::{self, Inventory},
    spec,
    worker::{Handle, Input},
};
use crate::{cri, limits, shared::Shared};

/// The supervisor.
pub struct Supervisor {
    shared: Arc<Shared>,
    pods: Informer<Pod>,
    workers: BTreeMap<String, Handle>,
    by_key: HashMap<ObjectKey, String>,
    tasks: JoinSet<()>,
    uids: HashMap<Id, String>,
    orphans: HashSet<String>,
    inventory: Inventory,
    events: Option<cri::Events>,
}

impl Supervisor {
    /// For the pods an informer shows.
    pub fn new(shared: Arc<Shared>, pods: Informer<Pod>) -> Self {
        Self {
            shared,
            pods,
            workers: BTreeMap::new(),
            by_key: HashMap::new(),
            tasks: JoinSet::new(),
            uids: HashMap::new(),
            orphans: HashSet::new(),
            inventory: Inventory::default(),
            events: None,
        }
    }

    /// Works until shutdown; then the workers are dropped and the containers run on.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let work = async {
            let mut changes = self.pods.changes();
            self.pods.wait_synced().await;
            info!(pods = self.pods.len(), "the API's list of pods is complete");
            self.listen().await;
            self.relist(&shutdown).await;
            self.remove_stray_dirs().await;
            let mut relist = relist_timer(self.events.is_some());
            let mut reopen = interval_at(Instant::now() + limits::EVENTS_RETRY, limits::EVENTS_RETRY);
            loop {
                tokio::select! {
                    key = changes.next() => self.take_change(&key, &shutdown),
                    event = next_event(&mut self.events) => match event {
                        Some(event) => self.take_event(event),
                        None => {
                            self.events = None;
                            relist = relist_timer(false);
                        }
                    },
                    _ = reopen.tick(), if self.events.is_none() => {
                        self.listen().await;
                        relist = relist_timer(self.events.is_some());
                    }
                    _ = relist.tick() => self.relist(&shutdown).await,
                    Some(done) = self.tasks.join_next_with_id() => {
                        let id = match done {
                            Ok((id, ())) => id,
                            Err(e) => e.id(),
                        };
                        self.take_end(id, &shutdown);
                    }
                }
            }
        };
        shutdown.run_until_cancelled(work).await;
    }

    fn take_change(&mut self, key: &ObjectKey, shutdown: &CancellationToken) {
        let pod = self.pods.get(key);
        let uid = pod.as_ref().map(|p| spec::uid(p).to_owned());
        if let Some(old) = self.by_key.get(key).filter(|old| Some(*old) != uid.as_ref()) {
            if let Some(worker) = self.workers.get(old) {
                worker.tell(Input::Removed);
            }
            self.by_key.remove(key);
        }
        let (Some(pod), Some(uid)) = (pod, uid) else { return };
        self.by_key.insert(key.clone(), uid.clone());
        match self.workers.get(&uid) {
            Some(worker) => worker.tell(Input::Desired(pod)),
            None => self.hire(uid, pod, shutdown),
        }
    }

    fn hire(&mut self, uid: String, pod: Arc<Pod>, shutdown: &CancellationToken) {
        if self.workers.len() >= limits::WORKERS_MAX {
            warn!(pod = spec::full_name(&pod), "too many pods; this one waits until another is gone");
            return;
        }
        debug!(pod = spec::full_name(&pod), "a worker begins");
        let (handle, worker) = Handle::new(Arc::clone(&self.shared), pod);
        let task = self.tasks.spawn(worker.run(shutdown.clone()));
        self.uids.insert(task.id(), uid.clone());
        self.workers.insert(uid, handle);
    }

    /// A worker or a clean-up ended. A worker that broke off is replaced.
    fn take_end(&mut self, id: Id, shutdown: &CancellationToken) {
        let Some(uid) = self.uids.remove(&id) else { return };
        self.orphans.remove(&uid);
        self.workers.remove(&uid);
        let key = self.by_key.iter().find(|(_, u)| **u == uid).map(|(key, _)| key.clone());
        if let Some(key) = key {
            self.take_change(&key, shutdown);
        }
        if self.workers.len() + 1 == limits::WORKERS_MAX {
            for pod in self.pods.list() {
                self.take_change(&ObjectKey::of(&pod.metadata), shutdown);
            }
        }
    }

    async fn listen(&mut self) {
        match self.shared.runtime.events().await {
            Ok(events) => self.events = Some(events),
            Err(e) => debug!(error = %e, "the runtime offers no events; it is asked instead"),
        }
    }

    fn take_event(&mut self, event: cri::Result<cri::v1::ContainerEventResponse>) {
        let sandbox = event.ok().and_then(|e| e.pod_sandbox_status);
        match sandbox.and_then(|s| s.metadata).map(|m| m.uid) {
            Some(uid) => {
                if let Some(worker) = self.workers.get(&uid) {
                    worker.wake();
                }
            }
            // Events were missed, or do not say about whom: everybody looks.
            None => self.workers.values().for_each(Handle::wake),
        }
    }

    /// Looks at everything in the runtime: whoever changed is told, whoever is unknown is removed.
    async fn relist(&mut self, shutdown: &CancellationToken) {
        let inventory = match Inventory::take(&*self.shared.runtime).await {
            Ok(inventory) => inventory,
            Err(e) => {
                warn!(error = %e, "the runtime does not say what it has");
                return;
            }
        };
        for uid in inventory.changed(&self.inventory) {
            if let Some(worker) = self.workers.get(&uid) {
                worker.wake();
            }
        }
        let known: HashSet<String> = self.pods.list().iter().map(|p| spec::uid(p).to_owned()).collect();
        let unknown = inventory.pods.keys().filter(|uid| {
            !known.contains(*uid) && !self.workers.contains_key(*uid) && !self.orphans.contains(*uid)
        });
        for uid in unknown.cloned().collect::<Vec<_>>() {
            self.orphans.insert(uid.clone());
            let (shared, subject, shutdown) = (Arc::clone(&self.shared), uid.clone(), shutdown.clone());
            let removal = async move {
                shutdown.run_until_cancelled(orphan::remove(shared, subject)).await;
            };
            let task = self.tasks.spawn(removal);
            self.uids.insert(task.id(), uid);
        }
        self.inventory = inventory;
    }

    /// Directories of pods that neither the API nor the runtime has.
    async fn remove_stray_dirs(&mut self) {
        let Ok(mut dirs) = tokio::fs::read_dir(self.shared.options.pods_dir()).await else { return };
        let known: HashSet<String> = self.pods.list().iter().map(|p| spec::uid(p).to_owned()).collect();
        while let Ok(Some(entry)) = dirs.next_entry().await {
            let uid = entry.file_name().to_string_lossy().into_owned();
            if !known.contains(&uid) && !self.inventory.pods.contains_key(&uid) {
                orphan::remove_files(&self.shared, &uid, Vec::new()).await;
            }
        }
    }
}

async fn next_event(
    events: &mut Option<cri::Events>,
) -> Option<cri::Result<cri::v1::ContainerEventResponse>> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}

fn relist_timer(has_events: bool) -> tokio::time::Interval {
    let period = if has_events { limits::RELIST_SLOW } else { limits::RELIST_FAST };
    interval_at(Instant::now() + period, period)
}
