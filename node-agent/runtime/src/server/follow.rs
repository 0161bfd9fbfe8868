//! Listening to shims, and finding them again after a restart.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use proto::cri::{ContainerConfig, ContainerEventType, PodSandboxConfig};

use super::container::{Container, container_of};
use super::record::{self, ContainerRecord, SandboxRecord};
use super::sandbox::Sandbox;
use super::{Runtime, now_ns};
use crate::error::Result;
use crate::shim::protocol::{Phase, State};
use crate::sys::files;

/// Exit code of a container whose end nobody saw, as containerd reports it.
const UNKNOWN_EXIT_CODE: i32 = 255;

impl Runtime {
    /// Reads the records and takes up every sandbox where it is.
    pub(super) async fn recover(self: &Arc<Self>) -> Result<()> {
        for id in record::children(&self.options.root.join("sandboxes")) {
            if let Err(error) = self.recover_sandbox(&id).await {
                tracing::error!(
                    sandbox = id,
                    error = error.chain(),
                    "leaving a sandbox alone that cannot be read"
                );
            }
        }
        let known = self.sandboxes.lock().keys().cloned().collect();
        self.network.retain(&known)?;
        if let Err(error) = self.network.prepare().await {
            // Pods on the host's network do without; for others the next attempt says what is wrong.
            tracing::error!(error = crate::error::chain(&error), "preparing the pod network");
        }
        Ok(())
    }

    async fn recover_sandbox(self: &Arc<Self>, id: &str) -> Result<()> {
        let directory = self.sandbox_dir(id);
        let Some((config, found)) = record::load::<PodSandboxConfig, SandboxRecord>(&directory)? else {
            // The making was interrupted; nobody was told about it.
            let config = PodSandboxConfig::default();
            let sandbox = Arc::new(self.sandbox_of(id.to_string(), config, SandboxRecord::default()));
            self.tear_down(&sandbox).await?;
            return files::remove_all(&directory);
        };
        let sandbox = Arc::new(self.sandbox_of(id.to_string(), config, found));
        for container in record::children(&directory.join("containers")) {
            self.recover_container(&sandbox, container)?;
        }
        self.names.lock().insert(sandbox.name());
        self.sandboxes.lock().insert(id.to_string(), sandbox.clone());
        if sandbox.record.lock().stopped {
            return Ok(());
        }
        match sandbox.shim.describe().await {
            Ok(description) => {
                for state in description.containers.clone() {
                    self.learn_by_id(state);
                }
                *sandbox.description.lock() = Some(description);
                sandbox.alive.store(true, Ordering::Release);
                self.follow(sandbox);
            }
            Err(_) => self.bury(&sandbox).await,
        }
        Ok(())
    }

    fn recover_container(&self, sandbox: &Arc<Sandbox>, id: String) -> Result<()> {
        let directory = sandbox.directory.join("containers").join(&id);
        let Some((config, record)) = record::load::<ContainerConfig, ContainerRecord>(&directory)? else {
            return files::remove_all(&directory);
        };
        let state_path = directory.join("state.json");
        if !state_path.exists() {
            // The shim never made it; nobody was told about it.
            return files::remove_all(&directory);
        }
        let container = container_of(id.clone(), sandbox.id.clone(), config, record, directory);
        container.state.send_replace(Some(files::read_json(&state_path)?));
        self.names.lock().insert(container.name());
        self.containers.lock().insert(id, Arc::new(container));
        Ok(())
    }

    /// Listens to a shim until it ends or this runtime does.
    pub(super) fn follow(self: &Arc<Self>, sandbox: Arc<Sandbox>) {
        let runtime = self.clone();
        self.tasks.spawn(async move {
            let stopping = runtime.stopping.clone();
            tokio::select! {
                () = stopping.cancelled() => {}
                () = runtime.listen(&sandbox) => runtime.bury(&sandbox).await,
            }
        });
    }

    /// Returns when the shim does not answer any more.
    async fn listen(&self, sandbox: &Sandbox) {
        // A shim drops a listener that is too slow, so the end of a connection alone means nothing.
        while let Ok((description, mut changes)) = sandbox.shim.watch().await {
            for state in description.containers {
                self.learn_by_id(state);
            }
            while let Some(state) = changes.next().await {
                self.learn_by_id(state);
            }
        }
    }

    fn learn_by_id(&self, state: State) {
        // Unknown: its making is under way, and its first state is read when that is done.
        if let Ok(container) = self.container(&state.id) {
            self.learn(&container, state);
        }
    }

    /// Takes in a state and tells subscribers if it is news.
    pub(super) fn learn(&self, container: &Container, state: State) {
        let kind = match state.phase {
            Phase::Created => ContainerEventType::ContainerCreatedEvent,
            Phase::Running => ContainerEventType::ContainerStartedEvent,
            Phase::Exited => ContainerEventType::ContainerStoppedEvent,
        };
        if container.learn(state) && kind != ContainerEventType::ContainerCreatedEvent {
            self.announce(&container.id, &container.sandbox, kind);
        }
    }

    /// The shim is gone. If nobody stopped the sandbox, its containers are lost with it.
    async fn bury(&self, sandbox: &Arc<Sandbox>) {
        if sandbox.ending.load(Ordering::Acquire) || sandbox.record.lock().stopped {
            return;
        }
        sandbox.alive.store(false, Ordering::Release);
        if let Err(error) = self.clean_after_dead_shim(sandbox).await {
            tracing::error!(sandbox = sandbox.id, error = error.chain(), "cleaning up after a dead shim");
        }
        for container in self.containers_of(&sandbox.id) {
            let path = container.directory.join("state.json");
            let Ok(mut state) = files::read_json::<State>(&path) else { continue };
            if state.phase != Phase::Exited {
                state.phase = Phase::Exited;
                state.exit_code = UNKNOWN_EXIT_CODE;
                state.finished_ns = now_ns();
                if let Err(error) = files::write_json(&path, &state) {
                    tracing::error!(
                        container = container.id,
                        error = error.chain(),
                        "recording a lost container"
                    );
                }
            }
            self.learn(&container, state);
        }
        self.announce(&sandbox.id, &sandbox.id, ContainerEventType::ContainerStoppedEvent);
    }
}
