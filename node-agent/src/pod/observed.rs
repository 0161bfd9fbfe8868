//! What the runtime has of a pod: the only memory of running containers there is, so that a restarted agent
//! picks up where the last one ended (invariant N1).

use jiff::Timestamp;

use crate::{
    cri::{self, labels, v1},
    sys::clock::from_nanos,
};

/// A sandbox of the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// Its id.
    pub id: String,
    /// How many sandboxes the pod had before.
    pub attempt: u32,
    /// Whether it is up.
    pub ready: bool,
    /// When it was created.
    pub created_at: Timestamp,
    /// Its addresses; none with the node's network.
    pub ips: Vec<String>,
}

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not started yet.
    Created,
    /// Runs.
    Running,
    /// Ended.
    Exited,
    /// The runtime lost track of it.
    Unknown,
}

/// An incarnation of one of the pod's containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// The sandbox it is in.
    pub sandbox_id: String,
    /// Its name in the pod's specification.
    pub name: String,
    /// How often the container was restarted before this incarnation.
    pub restarts: u32,
    /// Where it is in its life.
    pub state: State,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// How it ended.
    pub exit_code: i32,
    /// Why it ended, in a word.
    pub reason: String,
    /// Its last words.
    pub message: String,
    /// The image as it was asked for.
    pub image: String,
    /// The image as it was resolved.
    pub image_id: String,
    /// Hash of the specification it was made from.
    pub hash: String,
    /// Whether its last words may be taken from its log.
    pub log_fallback: bool,
}

impl Container {
    /// Whether it ended with success.
    pub fn succeeded(&self) -> bool {
        self.state == State::Exited && self.exit_code == 0
    }
}

/// Everything the runtime has of one pod, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Its sandboxes.
    pub sandboxes: Vec<Sandbox>,
    /// Its containers, of all sandboxes.
    pub containers: Vec<Container>,
}

impl Observed {
    /// The newest incarnation of a container.
    pub fn newest(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|c| c.name == name)
    }

    /// The newest incarnation of a container in a given sandbox.
    pub fn newest_in(&self, sandbox_id: &str, name: &str) -> Option<&Container> {
        self.containers.iter().find(|c| c.name == name && c.sandbox_id == sandbox_id)
    }

    /// The incarnation before the newest.
    pub fn previous(&self, name: &str) -> Option<&Container> {
        self.containers.iter().filter(|c| c.name == name).nth(1)
    }

    /// The sandbox containers may start in: the newest, if it is up and has what it needs.
    pub fn usable_sandbox(&self, host_network: bool) -> Option<&Sandbox> {
        self.sandboxes.first().filter(|s| s.ready && (host_network || !s.ips.is_empty()))
    }

    /// Containers that run (or may run).
    pub fn running(&self) -> impl Iterator<Item = &Container> {
        self.containers.iter().filter(|c| matches!(c.state, State::Running | State::Unknown))
    }

    /// Asks the runtime for everything of a pod.
    pub async fn of(runtime: &dyn cri::Runtime, uid: &str) -> cri::Result<Self> {
        let selector = || cri::Selector::from([(labels::POD_UID.to_owned(), uid.to_owned())]);
        let mut observed = Self::default();
        for listed in runtime.list_sandboxes(selector()).await? {
            if let Some(status) = found(runtime.sandbox_status(&listed.id).await)? {
                observed.sandboxes.push(sandbox(status));
            }
        }
        for listed in runtime.list_containers(selector()).await? {
            if let Some(status) = found(runtime.container_status(&listed.id).await)? {
                observed.containers.push(container(&listed, status));
            }
        }
        observed.sandboxes.sort_by_key(|s| std::cmp::Reverse((s.attempt, s.created_at)));
        observed.containers.sort_by_key(|c| std::cmp::Reverse((c.created_at, c.restarts)));
        Ok(observed)
    }
}

/// What went away between listing and asking is simply not there.
fn found<T>(outcome: cri::Result<T>) -> cri::Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.kind == cri::Kind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn sandbox(status: v1::PodSandboxStatus) -> Sandbox {
    let network = status.network.unwrap_or_default();
    let more = network.additional_ips.into_iter().map(|more| more.ip);
    Sandbox {
        id: status.id,
        attempt: status.metadata.map_or(0, |m| m.attempt),
        ready: status.state == v1::PodSandboxState::SandboxReady as i32,
        created_at: from_nanos(status.created_at).unwrap_or(Timestamp::UNIX_EPOCH),
        ips: std::iter::once(network.ip).chain(more).filter(|ip| !ip.is_empty()).collect(),
    }
}

fn container(listed: &v1::Container, status: v1::ContainerStatus) -> Container {
    let annotation = |key: &str| status.annotations.get(key).cloned().unwrap_or_default();
    let metadata = status.metadata.clone().unwrap_or_default();
    let named = status.labels.get(labels::CONTAINER_NAME).cloned();
    Container {
        sandbox_id: listed.pod_sandbox_id.clone(),
        name: named.unwrap_or(metadata.name),
        restarts: annotation(labels::RESTART_COUNT).parse().unwrap_or(metadata.attempt),
        state: match v1::ContainerState::try_from(status.state) {
            Ok(v1::ContainerState::ContainerCreated) => State::Created,
            Ok(v1::ContainerState::ContainerRunning) => State::Running,
            Ok(v1::ContainerState::ContainerExited) => State::Exited,
            Ok(v1::ContainerState::ContainerUnknown) | Err(_) => State::Unknown,
        },
        created_at: from_nanos(status.created_at).unwrap_or(Timestamp::UNIX_EPOCH),
        started_at: from_nanos(status.started_at),
        finished_at: from_nanos(status.finished_at),
        exit_code: status.exit_code,
        hash: annotation(labels::HASH),
        log_fallback: annotation(labels::TERMINATION_POLICY) == "FallbackToLogsOnError",
        reason: status.reason,
        message: status.message,
        image: status
            .image
            .map(|i| if i.user_specified_image.is_empty() { i.image } else { i.user_specified_image })
            .unwrap_or_default(),
        image_id: if status.image_ref.is_empty() { status.image_id } else { status.image_ref },
        id: status.id,
    }
}
