//! The container runtime as the agent sees it: CRI v1 as a trait, its client over a unix socket, and an
//! in-memory fake that keeps the same promises.

pub mod fake;
pub mod labels;
mod remote;

use std::{collections::HashMap, pin::Pin};

use async_trait::async_trait;
use futures::Stream;
pub use proto::cri as v1;
pub use remote::Remote;

/// Why a call to the runtime failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What kind of failure.
    pub kind: Kind,
    /// The runtime's words, as users see them in events.
    pub message: String,
}

/// Kinds of failures the agent tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No such sandbox, container or image.
    NotFound,
    /// The runtime does not have this call.
    Unimplemented,
    /// The call took longer than it may.
    Timeout,
    /// The runtime is not there.
    Unavailable,
    /// Anything else.
    Failed,
}

impl Error {
    /// A failure of a kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

/// Outcome of a call.
pub type Result<T> = std::result::Result<T, Error>;

/// Events of containers; ends when the runtime goes away.
pub type Events = Pin<Box<dyn Stream<Item = Result<v1::ContainerEventResponse>> + Send>>;

/// Labels that must all match.
pub type Selector = HashMap<String, String>;

/// CRI v1, both services. Removing or stopping what does not exist is a success, as CRI demands.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Name and version of the runtime.
    async fn version(&self) -> Result<v1::VersionResponse>;
    /// Its conditions (`RuntimeReady`, `NetworkReady`).
    async fn status(&self) -> Result<v1::RuntimeStatus>;
    /// Tells it the pod network of this node.
    async fn update_pod_cidr(&self, cidr: &str) -> Result<()>;

    /// Creates and starts a sandbox, and answers its id.
    async fn run_sandbox(&self, config: v1::PodSandboxConfig, handler: &str) -> Result<String>;
    /// Stops a sandbox and all in it, and gives its network back.
    async fn stop_sandbox(&self, id: &str) -> Result<()>;
    /// Removes a sandbox and all in it.
    async fn remove_sandbox(&self, id: &str) -> Result<()>;
    /// One sandbox.
    async fn sandbox_status(&self, id: &str) -> Result<v1::PodSandboxStatus>;
    /// The sandboxes with these labels.
    async fn list_sandboxes(&self, labels: Selector) -> Result<Vec<v1::PodSandbox>>;

    /// Creates a container, and answers its id.
    async fn create_container(
        &self,
        sandbox_id: &str,
        config: v1::ContainerConfig,
        sandbox: v1::PodSandboxConfig,
    ) -> Result<String>;
    /// Starts a created container.
    async fn start_container(&self, id: &str) -> Result<()>;
    /// Stops a container: its stop signal, then SIGKILL after `grace_s` seconds.
    async fn stop_container(&self, id: &str, grace_s: i64) -> Result<()>;
    /// Removes a container, stopping it first if it must.
    async fn remove_container(&self, id: &str) -> Result<()>;
    /// The containers with these labels.
    async fn list_containers(&self, labels: Selector) -> Result<Vec<v1::Container>>;
    /// One container.
    async fn container_status(&self, id: &str) -> Result<v1::ContainerStatus>;
    /// Opens a container's log file anew after the agent moved it.
    async fn reopen_log(&self, id: &str) -> Result<()>;
    /// Runs a command in a container to its end; `timeout_s` 0 for none.
    async fn exec_sync(&self, id: &str, command: Vec<String>, timeout_s: i64)
    -> Result<v1::ExecSyncResponse>;
    /// Prepares a streaming exec, and answers where to connect.
    async fn exec(&self, request: v1::ExecRequest) -> Result<String>;
    /// Prepares a streaming attach, and answers where to connect.
    async fn attach(&self, request: v1::AttachRequest) -> Result<String>;
    /// Prepares port forwarding, and answers where to connect.
    async fn port_forward(&self, request: v1::PortForwardRequest) -> Result<String>;
    /// What containers use.
    async fn container_stats(&self) -> Result<Vec<v1::ContainerStats>>;
    /// What sandboxes use.
    async fn sandbox_stats(&self) -> Result<Vec<v1::PodSandboxStats>>;
    /// What happens to containers from now on.
    async fn events(&self) -> Result<Events>;

    /// The images present.
    async fn list_images(&self) -> Result<Vec<v1::Image>>;
    /// One image, if present.
    async fn image(&self, name: &str) -> Result<Option<v1::Image>>;
    /// Gets an image, and answers its id.
    async fn pull_image(
        &self,
        name: &str,
        auth: Option<v1::AuthConfig>,
        sandbox: v1::PodSandboxConfig,
    ) -> Result<String>;
    /// Removes an image.
    async fn remove_image(&self, id: &str) -> Result<()>;
    /// Where images are, and how much room they take.
    async fn image_fs(&self) -> Result<v1::ImageFsInfoResponse>;
}

/// The digests of an exec: what a probe needs.
pub fn exec_output(response: &v1::ExecSyncResponse) -> String {
    let mut text = String::from_utf8_lossy(&response.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&response.stderr));
    text
}
