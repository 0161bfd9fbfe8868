//! A runtime in memory, for tests: the same promises as a real one, without root, images or processes.
//!
//! Containers run until a test says otherwise ([`Fake::exit`]), or end by themselves as scripted for their
//! command ([`Fake::script_exit`]). A stopped container exits with 137 as if it had ignored its signal.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::broadcast;

use super::{Error, Events, Kind, Result, Runtime, Selector, v1};
use crate::sys::Clock;

/// Events kept for a slow reader.
const EVENTS_MAX: usize = 1_024;

/// The runtime in memory.
pub struct Fake {
    clock: Clock,
    state: Mutex<State>,
    events: broadcast::Sender<v1::ContainerEventResponse>,
}

#[derive(Default)]
struct State {
    next_id: u64,
    sandboxes: BTreeMap<String, Sandbox>,
    containers: BTreeMap<String, v1::ContainerStatus>,
    owners: BTreeMap<String, String>,
    configs: BTreeMap<String, v1::ContainerConfig>,
    images: BTreeSet<String>,
    registry: BTreeSet<String>,
    exits: BTreeMap<String, VecDeque<i32>>,
    execs: BTreeMap<String, i32>,
    refuse: BTreeMap<&'static str, (u32, Error)>,
    calls: Vec<String>,
    not_ready: bool,
    pod_cidr: String,
}

#[derive(Clone)]
struct Sandbox {
    status: v1::PodSandboxStatus,
    config: v1::PodSandboxConfig,
}

impl Fake {
    /// An empty runtime in which every image of `registry` can be pulled.
    pub fn new(clock: Clock, registry: &[&str]) -> Self {
        let registry = registry.iter().map(|name| (*name).to_owned()).collect();
        let state = Mutex::new(State { registry, ..State::default() });
        Self { clock, state, events: broadcast::channel(EVENTS_MAX).0 }
    }

    /// Ends a running container of a name, as if its process had exited.
    pub fn exit(&self, container: &str, code: i32) {
        let id = {
            let state = self.state.lock();
            let running = state.containers.values().find(|c| name_of(c) == container && is_running(c));
            running.map(|c| c.id.clone())
        };
        if let Some(id) = id {
            self.end(&id, code);
        }
    }

    /// The next starts of a container of this name end at once with these codes, in order.
    pub fn script_exit(&self, container: &str, codes: &[i32]) {
        self.state.lock().exits.entry(container.to_owned()).or_default().extend(codes);
    }

    /// What `exec_sync` in a container of this name answers from now on.
    pub fn script_exec(&self, container: &str, code: i32) {
        self.state.lock().execs.insert(container.to_owned(), code);
    }

    /// The next `times` calls of this name fail.
    pub fn refuse(&self, call: &'static str, times: u32, error: Error) {
        self.state.lock().refuse.insert(call, (times, error));
    }

    /// Whether the runtime says it is ready.
    pub fn set_ready(&self, ready: bool) {
        self.state.lock().not_ready = !ready;
    }

    /// What was asked so far: calls that change something, with the name of their subject.
    pub fn calls(&self) -> Vec<String> {
        self.state.lock().calls.clone()
    }

    /// The configuration of the newest container of a name.
    pub fn config(&self, container: &str) -> Option<v1::ContainerConfig> {
        let state = self.state.lock();
        let newest =
            state.containers.values().filter(|c| name_of(c) == container).max_by_key(|c| c.created_at)?;
        state.configs.get(&newest.id).cloned()
    }

    /// The configuration of the newest sandbox.
    pub fn sandbox_config(&self) -> Option<v1::PodSandboxConfig> {
        let state = self.state.lock();
        state.sandboxes.values().max_by_key(|s| s.status.created_at).map(|s| s.config.clone())
    }

    /// Names of the running containers.
    pub fn running(&self) -> Vec<String> {
        self.state
            .lock()
            .containers
            .values()
            .filter(|c| is_running(c))
            .map(|c| name_of(c).to_owned())
            .collect()
    }

    /// How many sandboxes and containers there are, dead ones included.
    pub fn counts(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.sandboxes.len(), state.containers.len())
    }

    /// The pod network that was set.
    pub fn pod_cidr(&self) -> String {
        self.state.lock().pod_cidr.clone()
    }

    fn begin(&self, call: &'static str, subject: &str) -> Result<()> {
        let mut state = self.state.lock();
        state.calls.push(format!("{call} {subject}"));
        if let Some((times, error)) = state.refuse.get_mut(call)
            && *times > 0
        {
            *times -= 1;
            return Err(error.clone());
        }
        Ok(())
    }

    fn nanos(&self) -> i64 {
        i64::try_from(self.clock.now().as_nanosecond()).unwrap_or(i64::MAX)
    }

    fn end(&self, id: &str, code: i32) {
        let now = self.nanos();
        let mut state = self.state.lock();
        let Some(container) = state.containers.get_mut(id) else { return };
        if container.state == v1::ContainerState::ContainerExited as i32 {
            return;
        }
        container.state = v1::ContainerState::ContainerExited as i32;
        container.exit_code = code;
        container.finished_at = now;
        container.reason = if code == 0 { "Completed".into() } else { "Error".into() };
        self.announce(&state, id, v1::ContainerEventType::ContainerStoppedEvent);
    }

    /// A reader that is gone needs no event.
    fn announce(&self, state: &State, id: &str, kind: v1::ContainerEventType) {
        let sandbox = state.owners.get(id).and_then(|owner| state.sandboxes.get(owner));
        let _ = self.events.send(v1::ContainerEventResponse {
            container_id: id.into(),
            container_event_type: kind as i32,
            created_at: self.nanos(),
            pod_sandbox_status: sandbox.map(|s| s.status.clone()),
            containers_statuses: Vec::new(),
        });
    }
}

fn name_of(container: &v1::ContainerStatus) -> &str {
    container.metadata.as_ref().map_or("", |m| &m.name)
}

fn is_running(container: &v1::ContainerStatus) -> bool {
    container.state == v1::ContainerState::ContainerRunning as i32
}

fn matches(labels: &std::collections::HashMap<String, String>, selector: &Selector) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn no_such(what: &str, id: &str) -> Error {
    Error::new(Kind::NotFound, format!("{what} {id:?} not found"))
}

fn image_of(name: &str) -> v1::Image {
    v1::Image {
        id: format!("sha256:{name}"),
        repo_tags: vec![name.to_owned()],
        size: 1_000,
        ..v1::Image::default()
    }
}

#[async_trait]
impl Runtime for Fake {
    async fn version(&self) -> Result<v1::VersionResponse> {
        Ok(v1::VersionResponse {
            version: "0.1.0".into(),
            runtime_name: "fake".into(),
            runtime_version: "1.0".into(),
            runtime_api_version: "v1".into(),
        })
    }

    async fn status(&self) -> Result<v1::RuntimeStatus> {
        let status = !self.state.lock().not_ready;
        let condition = |r#type: &str| v1::RuntimeCondition {
            r#type: r#type.into(),
            status,
            reason: String::new(),
            message: String::new(),
        };
        Ok(v1::RuntimeStatus { conditions: vec![condition("RuntimeReady"), condition("NetworkReady")] })
    }

    async fn update_pod_cidr(&self, cidr: &str) -> Result<()> {
        self.state.lock().pod_cidr = cidr.to_owned();
        Ok(())
    }

    async fn run_sandbox(&self, config: v1::PodSandboxConfig, _handler: &str) -> Result<String> {
        let name = config.metadata.as_ref().map(|m| m.name.clone()).unwrap_or_default();
        self.begin("run_sandbox", &name)?;
        let created_at = self.nanos();
        let mut state = self.state.lock();
        state.next_id += 1;
        let id = format!("sandbox-{:04}", state.next_id);
        let ip = format!("10.0.0.{}", state.next_id % 250 + 1);
        let status = v1::PodSandboxStatus {
            id: id.clone(),
            metadata: config.metadata.clone(),
            state: v1::PodSandboxState::SandboxReady as i32,
            created_at,
            network: Some(v1::PodSandboxNetworkStatus { ip, additional_ips: Vec::new() }),
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            ..v1::PodSandboxStatus::default()
        };
        state.sandboxes.insert(id.clone(), Sandbox { status, config });
        Ok(id)
    }

    async fn stop_sandbox(&self, id: &str) -> Result<()> {
        self.begin("stop_sandbox", id)?;
        let inside: Vec<String> = {
            let mut state = self.state.lock();
            if let Some(sandbox) = state.sandboxes.get_mut(id) {
                sandbox.status.state = v1::PodSandboxState::SandboxNotready as i32;
            }
            state.owners.iter().filter(|(_, owner)| *owner == id).map(|(c, _)| c.clone()).collect()
        };
        for container in inside {
            self.end(&container, 137);
        }
        Ok(())
    }

    async fn remove_sandbox(&self, id: &str) -> Result<()> {
        self.stop_sandbox(id).await?;
        self.begin("remove_sandbox", id)?;
        let mut state = self.state.lock();
        state.sandboxes.remove(id);
        let inside: Vec<String> =
            state.owners.iter().filter(|(_, owner)| *owner == id).map(|(c, _)| c.clone()).collect();
        for container in inside {
            state.containers.remove(&container);
            state.owners.remove(&container);
        }
        Ok(())
    }

    async fn sandbox_status(&self, id: &str) -> Result<v1::PodSandboxStatus> {
        let state = self.state.lock();
        state.sandboxes.get(id).map(|s| s.status.clone()).ok_or_else(|| no_such("sandbox", id))
    }

    async fn list_sandboxes(&self, selector: Selector) -> Result<Vec<v1::PodSandbox>> {
        let state = self.state.lock();
        let chosen = state.sandboxes.values().filter(|s| matches(&s.status.labels, &selector));
        let row = |s: &Sandbox| v1::PodSandbox {
            id: s.status.id.clone(),
            metadata: s.status.metadata.clone(),
            state: s.status.state,
            created_at: s.status.created_at,
            labels: s.status.labels.clone(),
            annotations: s.status.annotations.clone(),
            runtime_handler: String::new(),
        };
        Ok(chosen.map(row).collect())
    }

    async fn create_container(
        &self,
        sandbox_id: &str,
        config: v1::ContainerConfig,
        _sandbox: v1::PodSandboxConfig,
    ) -> Result<String> {
        let name = config.metadata.as_ref().map(|m| m.name.clone()).unwrap_or_default();
        self.begin("create_container", &name)?;
        let created_at = self.nanos();
        let mut state = self.state.lock();
        let ready = state.sandboxes.get(sandbox_id).map(|s| s.status.state);
        if ready != Some(v1::PodSandboxState::SandboxReady as i32) {
            return Err(no_such("sandbox", sandbox_id));
        }
        state.next_id += 1;
        let id = format!("container-{:04}", state.next_id);
        let image = config.image.clone();
        let container = v1::ContainerStatus {
            id: id.clone(),
            metadata: config.metadata.clone(),
            state: v1::ContainerState::ContainerCreated as i32,
            created_at,
            image_ref: image.as_ref().map(|i| i.image.clone()).unwrap_or_default(),
            image_id: image.as_ref().map(|i| i.image.clone()).unwrap_or_default(),
            image,
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            ..v1::ContainerStatus::default()
        };
        state.containers.insert(id.clone(), container);
        state.owners.insert(id.clone(), sandbox_id.to_owned());
        state.configs.insert(id.clone(), config);
        Ok(id)
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        let now = self.nanos();
        let (name, scripted) = {
            let mut state = self.state.lock();
            let container = state.containers.get(id).ok_or_else(|| no_such("container", id))?;
            let name = name_of(container).to_owned();
            let scripted = state.exits.get_mut(&name).and_then(VecDeque::pop_front);
            (name, scripted)
        };
        self.begin("start_container", &name)?;
        {
            let mut state = self.state.lock();
            let container = state.containers.get_mut(id).ok_or_else(|| no_such("container", id))?;
            container.state = v1::ContainerState::ContainerRunning as i32;
            container.started_at = now;
            self.announce(&state, id, v1::ContainerEventType::ContainerStartedEvent);
        }
        if let Some(code) = scripted {
            self.end(id, code);
        }
        Ok(())
    }

    async fn stop_container(&self, id: &str, grace_s: i64) -> Result<()> {
        let name = self.state.lock().containers.get(id).map(|c| name_of(c).to_owned()).unwrap_or_default();
        self.begin("stop_container", &format!("{name} {grace_s}"))?;
        self.end(id, 137);
        Ok(())
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        let name = self.state.lock().containers.get(id).map(|c| name_of(c).to_owned()).unwrap_or_default();
        self.begin("remove_container", &name)?;
        self.end(id, 137);
        let mut state = self.state.lock();
        state.containers.remove(id);
        state.owners.remove(id);
        Ok(())
    }

    async fn list_containers(&self, selector: Selector) -> Result<Vec<v1::Container>> {
        let state = self.state.lock();
        let chosen = state.containers.values().filter(|c| matches(&c.labels, &selector));
        let row = |c: &v1::ContainerStatus| v1::Container {
            id: c.id.clone(),
            pod_sandbox_id: state.owners.get(&c.id).cloned().unwrap_or_default(),
            metadata: c.metadata.clone(),
            image: c.image.clone(),
            image_ref: c.image_ref.clone(),
            state: c.state,
            created_at: c.created_at,
            labels: c.labels.clone(),
            annotations: c.annotations.clone(),
            image_id: c.image_id.clone(),
        };
        Ok(chosen.map(row).collect())
    }

    async fn container_status(&self, id: &str) -> Result<v1::ContainerStatus> {
        self.state.lock().containers.get(id).cloned().ok_or_else(|| no_such("container", id))
    }

    async fn reopen_log(&self, id: &str) -> Result<()> {
        self.begin("reopen_log", id)
    }

    async fn exec_sync(
        &self,
        id: &str,
        command: Vec<String>,
        _timeout_s: i64,
    ) -> Result<v1::ExecSyncResponse> {
        let name = self.state.lock().containers.get(id).map(|c| name_of(c).to_owned());
        let name = name.ok_or_else(|| no_such("container", id))?;
        self.begin("exec_sync", &format!("{name} {}", command.join(" ")))?;
        let exit_code = self.state.lock().execs.get(&name).copied().unwrap_or(0);
        Ok(v1::ExecSyncResponse { exit_code, ..v1::ExecSyncResponse::default() })
    }

    async fn exec(&self, request: v1::ExecRequest) -> Result<String> {
        Err(Error::new(Kind::Unimplemented, format!("exec in {}", request.container_id)))
    }

    async fn attach(&self, request: v1::AttachRequest) -> Result<String> {
        Err(Error::new(Kind::Unimplemented, format!("attach to {}", request.container_id)))
    }

    async fn port_forward(&self, request: v1::PortForwardRequest) -> Result<String> {
        Err(Error::new(Kind::Unimplemented, format!("forward to {}", request.pod_sandbox_id)))
    }

    async fn container_stats(&self) -> Result<Vec<v1::ContainerStats>> {
        Ok(Vec::new())
    }

    async fn sandbox_stats(&self) -> Result<Vec<v1::PodSandboxStats>> {
        Ok(Vec::new())
    }

    async fn events(&self) -> Result<Events> {
        let stream = tokio_stream::wrappers::BroadcastStream::new(self.events.subscribe());
        let missed = |e| Error::new(Kind::Failed, format!("events missed: {e}"));
        Ok(Box::pin(futures::StreamExt::map(stream, move |item| item.map_err(missed))))
    }

    async fn list_images(&self) -> Result<Vec<v1::Image>> {
        Ok(self.state.lock().images.iter().map(|name| image_of(name)).collect())
    }

    async fn image(&self, name: &str) -> Result<Option<v1::Image>> {
        Ok(self.state.lock().images.get(name).map(|name| image_of(name)))
    }

    async fn pull_image(
        &self,
        name: &str,
        _auth: Option<v1::AuthConfig>,
        _sandbox: v1::PodSandboxConfig,
    ) -> Result<String> {
        self.begin("pull_image", name)?;
        let mut state = self.state.lock();
        if !state.registry.contains(name) {
            return Err(Error::new(Kind::NotFound, format!("image {name:?} not found")));
        }
        state.images.insert(name.to_owned());
        Ok(image_of(name).id)
    }

    async fn remove_image(&self, id: &str) -> Result<()> {
        self.begin("remove_image", id)?;
        self.state.lock().images.retain(|name| image_of(name).id != id);
        Ok(())
    }

    async fn image_fs(&self) -> Result<v1::ImageFsInfoResponse> {
        Ok(v1::ImageFsInfoResponse::default())
    }
}
